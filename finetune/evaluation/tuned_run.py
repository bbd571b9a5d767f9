"""A run as the later stages open it: its record, its model and the rows that it is judged on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.backends import BACKENDS, load_backend
from finetune.backends.interface import Backend, Model
from finetune.errors import UserError, path_of, shortened
from finetune.evaluation import answer_log
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import last_answer
from finetune.models.find import cache_to_avoid, check_folder
from finetune.models.fingerprint import fingerprint
from finetune.records import files, lock
from finetune.records.dataset import read_dataset_record, read_split
from finetune.records.files import Row
from finetune.records.record import Record
from finetune.records.run import RunRecord, read_run
from finetune.settings.config import QUICK_ROWS, BenchmarkConfig, EvaluationConfig
from finetune.settings.recorded import training_config
from finetune.tasks import TASKS, Task
from finetune.terminal import counted, say


@dataclass(frozen=True)
class TunedRun:
    """A run as train.py recorded it, with the defaults that a later stage inherits: its model, template, task and rows."""

    adapter_path: Path
    record: RunRecord
    backend: Backend
    encoder: ChatEncoder
    task: Task

    @property
    def model_path(self) -> Path:
        return Path(self.record.model.path)

    @property
    def data_dir(self) -> Path:
        return Path(self.record.data.folder)

    @property
    def dialect(self) -> str | None:
        """The SQL dialect of the rows it was trained on; None for SQLite, for other rows, and if their record is gone."""
        try:
            return read_dataset_record(self.data_dir).dialect
        except UserError:
            return None

    @property
    def system(self) -> str:
        """The system message of the rows it was trained on, if it names their labels or fields, or was given; ""."""
        try:
            record = read_dataset_record(self.data_dir)
        except UserError:
            return ""
        of_fields = record.system if record.type == self.task.name else None
        return record.labels.prompt if record.labels else of_fields or record.added_system or ""

    def load(self, *, tuned: bool = True) -> Model:
        """The tuned model, or the base model alone. UserError (exit 3) if the adapters are damaged or do not fit."""
        adapter = self.adapter_path if tuned else None
        return self.backend.load(self.model_path, self.encoder, adapter, fingerprint(self.model_path))


def open_run(adapter_path: Path) -> TunedRun:
    """The run of an adapter folder. UserError if a part is missing; exit 3 if the chat template has changed since training."""
    record, path = read_run(adapter_path), adapter_path / files.RUN_RECORD
    if record.task not in TASKS:
        raise UserError(f"{path}: unknown task {shortened(record.task)!r} (run again: {record.made_by(path.parent)})")
    model_path = path_of(record.model.path, f"{path}: model.path")
    path_of(record.data.folder, f"{path}: data.folder")
    name = training_config(record, path).backend
    if name not in BACKENDS:
        raise UserError(f"{path}: unknown backend {shortened(name)!r} (run again: {record.made_by(path.parent)})")
    backend = load_backend(name)
    if lock.is_held(adapter_path / ".lock"):
        say(
            f"Warning: a run is still training in {adapter_path}: these are its best adapters so far, not its last ones."
        )
    for name in (backend.FORMAT.file, files.ADAPTER_CONFIG):
        if not (adapter_path / name).is_file():
            raise UserError(f"{adapter_path / name}: not found (run: {record.made_by(adapter_path)})")
    if not model_path.is_dir():
        raise UserError(f"{model_path}: the model of this run is gone (restore it, or train again: {record.command})")
    check_folder(model_path, weights=True)
    task = _knowing_labels(TASKS[record.task], Path(record.data.folder))
    encoder = ChatEncoder(
        model_path,
        record.template,
        name=record.model.name,
        chats=not task.plain_text,
        now=record.began,
        switches=record.switches,
        added=dict.fromkeys(record.new_tokens, f"{path}: new_tokens"),
    )
    if files.text_hash(encoder.template) != record.template_sha256:
        raise UserError(
            f"{model_path}: the chat template has changed since training (restore it, or train again)", exit_code=3
        )
    return TunedRun(adapter_path, record, backend, encoder, task)


def _knowing_labels(task: Task, data_dir: Path) -> Task:
    """The task with the labels of the rows that it was trained on, if it has labels and their record is there."""
    if task.knowing is None:
        return task
    try:
        labels = read_dataset_record(data_dir).labels
    except UserError:
        return task
    return task.knowing(labels.rows) if labels else task


def open_other(adapter_path: Path, run: TunedRun) -> TunedRun:
    """The run that takes the place of the base model. UserError if it cannot be compared with ``run``."""
    if adapter_path.resolve() == run.adapter_path.resolve():
        raise UserError(f"--against: {adapter_path} is --adapter-path itself (name the folder of other adapters)")
    other = open_run(adapter_path)
    if other.task.name != run.task.name:
        raise UserError(
            f"{adapter_path}: trained on {other.task.name} rows, {run.adapter_path} on {run.task.name} rows (name a run"
            " of the same type)"
        )
    if other.record.model.fingerprint != run.record.model.fingerprint:
        raise UserError(
            f"{adapter_path}: trained on another model than {run.adapter_path} (name a run of the same model)"
        )
    return other


@dataclass(frozen=True)
class HeldOut:
    """Rows of a split that the model was not trained on."""

    rows: list[Row]
    split: str  # "test" or "valid"
    data_dir: Path


def held_out_rows(run: TunedRun, config: EvaluationConfig | BenchmarkConfig, *, quick: bool) -> HeldOut:
    """The rows that the settings ask for; ``quick``: a few of them.

    A quick look by test_finetuned.py at a run whose rows are gone takes builtin rows, and says so.
    """
    data_dir, split = config.data_dir or run.data_dir, "valid" if config.use_validation else "test"
    num_samples = config.num_samples or (QUICK_ROWS if quick else None)
    replaceable = isinstance(config, EvaluationConfig) and config.data_dir is None and split == "test"
    if quick and replaceable and not (data_dir / files.DATASET_RECORD).exists():
        say(f"Note: {data_dir} is gone; builtin rows are used instead.")
        return HeldOut(_builtin_rows(run, num_samples or QUICK_ROWS, config.seed), split, data_dir)
    return HeldOut(read_rows(run, data_dir, split, num_samples, config.seed), split, data_dir)


def check_results(
    folder: Path, run: TunedRun, data_dir: Path, record: type[Record], written: Sequence[str], log: str
) -> None:
    """UserError if the files ``written`` and ``log`` cannot be written to ``folder``, or would replace somebody else's.

    The first of ``written`` is the ``record``, which says that the others are ours.
    """
    others = {
        "the folder of the rows": data_dir,
        "the folder of the adapters": run.adapter_path,
        **cache_to_avoid(),
    }
    files.check_apart("--results-dir", folder, others)
    files.check_targets(folder, (*written, log))
    answer_log.demand_replaceable(folder / log)
    record.demand_replaceable(folder / written[0], "--results-dir")
    foreign = [folder / name for name in written if (folder / name).exists()]
    if foreign and not (folder / written[0]).exists():
        raise UserError(
            f"{foreign[0]}: no {written[0]} beside it, so it is not of earlier results and will not be replaced (move it"
            " away, or use another --results-dir)"
        )


def read_rows(run: TunedRun, data_dir: Path, split: str, num_samples: int | None, seed: int) -> list[Row]:
    """The rows of a split, or a random sample of them, in the order of the file. UserError if they are of another type."""
    data = read_dataset_record(data_dir)
    if data.type != run.task.name:
        raise UserError(
            f"{data_dir}: {data.type} rows, but {run.adapter_path} was trained on {run.task.name} rows (name other rows with"
            " --data-dir)"
        )
    rows = [row for _, row in read_split(data_dir, split, data)]
    if data.files != run.record.data.files:
        say(f"Note: {data_dir} is not the data set that {run.adapter_path} was trained on.")
    if num_samples is not None and num_samples > len(rows):
        path = files.split_file(data_dir, split)
        say(f"Note: {path} has only {counted(len(rows), 'row')}, not {num_samples}; all of them are used.")
    elif num_samples is not None:
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), num_samples))]
    return rows


def answer_limit(run: TunedRun, rows: Sequence[Row], config: EvaluationConfig | BenchmarkConfig) -> int:
    """The most tokens of an answer: --max-tokens, or of labels, which are short, twice the longest one if it was not given."""
    if run.task.knowing is None or config.origins.get("max_tokens") != "default":
        return config.max_tokens
    examples = (made[-1] for made in run.encoder.examples(map(Conversation.of, rows)) if isinstance(made, list))
    longest = max((sum(last_answer(example).loss_mask) for example in examples), default=config.max_tokens)
    if (limit := min(config.max_tokens, 2 * longest)) < config.max_tokens:
        say(f"Note: answers are cut off after {limit} tokens, twice the longest label (--max-tokens).")
    return limit


def restriction_rows(run: TunedRun, held_out: HeldOut) -> list[Row]:
    """The validation rows on which --restrict calibrates the confidence; none if they are those that are scored.

    UserError if the rows have no labels that answers can be restricted to.
    """
    if run.task.knowing is None:
        raise UserError(f"--restrict has no effect with {run.task.name} rows (omit it)")
    data = read_dataset_record(held_out.data_dir)
    if data.labels and data.labels.several:
        raise UserError("--restrict has no effect with rows of several labels (omit it)")
    if len({part.type for part in data.sources or ()}) > 1:
        raise UserError("--restrict has no effect with rows of several types (omit it)")
    if held_out.split == "valid":
        return []
    return [row for _, row in read_split(held_out.data_dir, "valid", data, may_be_empty=True)]


def _builtin_rows(run: TunedRun, count: int, seed: int) -> list[Row]:
    """UserError if the task has no builtin rows."""
    if run.task.builtin is None:
        raise UserError(
            f"{run.data_dir}: not found, and {run.task.name} has no builtin rows (name yours with --data-dir)"
        )
    rows = run.task.builtin({"train": 0, "valid": 0, "test": count}, seed)["test"]
    return [{"messages": run.task.to_messages(row), **row} for row in rows]
