"""What init proposes for some files: settings of the four scripts, and what dataset.py makes of the rows with them.

The rows are prepared by dataset.py's own function, with the settings of the very file that will be written; nothing of it is
kept. So what is proposed is what happens.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.backends import load_backend, resolved
from finetune.commands.init.settings_file import Line, written
from finetune.dataset import preview
from finetune.dataset.guess import Guess
from finetune.dataset.looking import Look
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.find import DEFAULT_MODEL, find_model
from finetune.records.dataset import DatasetRecord, write_dataset
from finetune.settings import conflicts
from finetune.settings.config import BenchmarkConfig, DatasetConfig, EvaluationConfig, FileConfig, TrainingConfig
from finetune.settings.fields import build
from finetune.settings.layers import file_layers
from finetune.tasks import ROW_KINDS
from finetune.terminal import say
from finetune.training import plan, start
from finetune.training.plan import Plan

_FEW_ROWS = 1000  # with fewer the usual shares leave too little to test on
_FEW_TESTED = 100
_EPOCHS, _MOST_STEPS = 3, 2000
_FEWEST_STEPS = 60  # of a run on few rows, as long as no row is seen more often than that:
_MOST_EPOCHS = 10
_LOOKED_AT = 2000  # answers whose length is counted
_LONGEST_ANSWER = 1024


@dataclass(frozen=True)
class Folders:
    """Where the four scripts write: free names, those of earlier rows and runs are left alone."""

    data: str = "data"
    checkpoints: str = "checkpoints"
    results: str = "results"

    @classmethod
    def free(cls, source: str) -> "Folders":
        """The usual names; others, made of the name of the source, if one of them is taken."""
        stem = "".join(c if c.isalnum() else "-" for c in Path(source).name.split(".")[0]).strip("-") or "rows"
        for number in range(1000):
            end = "" if number == 0 else f"-{stem}" if number == 1 else f"-{stem}-{number}"
            found = cls(f"data{end}", f"checkpoints{end}", f"results{end}")
            if all(
                not (path := Path(name)).exists() or (path.is_dir() and not any(path.iterdir())) for name in found.all
            ):
                return found
        raise UserError("data: this name and a thousand others are taken (run init in another folder)")

    @property
    def all(self) -> tuple[str, str, str]:
        return self.data, self.checkpoints, self.results


@dataclass(frozen=True)
class Found:
    """The model to train: its name, and its tokenizer if it could be found."""

    name: str | None  # None: the default one of train.py, nobody has asked for it
    encoder: ChatEncoder | None = None
    problem: str = ""


@dataclass(frozen=True)
class Proposal:
    """Settings by section, and what they make of the rows."""

    guess: Guess
    folders: Folders
    sections: Mapping[str, Mapping[str, Line]]
    dataset: Dataset
    record: DatasetRecord
    model: Found
    plan: Plan | None = None
    not_planned: str = ""  # why there is no plan


def model_of(name: str | None) -> Found:
    """The model of that name, or the default one; if the Hub cannot be reached, the builtin one in its place."""
    try:
        folder = find_model(name, say, weights=False)
    except UserError as error:
        return Found(name or DEFAULT_MODEL, problem=str(error))
    own = "builtin" if folder.source == "builtin" else folder.name
    return Found(own, ChatEncoder(folder.path, None, name=folder.name, chats=False))


def of_rows(names: Sequence[str], seen: Look, guess: Guess, model: Found, folders: Folders) -> Proposal:
    """The settings for a type of rows, and what dataset.py makes of them. UserError if it refuses them."""
    settings: dict[str, Line] = {"type": Line(guess.type_, guess.why)}
    settings["dataset_name"] = Line(names[0] if len(names) == 1 else tuple(names))
    if guess.column:
        settings["column"] = Line(guess.column, "part=field of the rows")
    settings |= {key: Line(value) for key, value in guess.flags.items()}
    if ROW_KINDS[guess.type_].plain_text:
        settings["model"] = Line(model.name, "documents are cut by the tokenizer of this model")
    if folders.data != DatasetConfig.output_dir.name:
        settings["output_dir"] = Line(folders.data, "data/ has other rows")
    settings |= _of_splits(seen, guess)
    settings["fix"] = Line(value=True)
    dataset, record = _prepared(settings)
    if dataset.findings.errors:
        why = f"{len(dataset.findings.errors)} of {record.rows_read} rows cannot be used: to {folders.data}/rejected.jsonl"
        settings["fix"] = Line(value=True, why=why)
    else:
        del settings["fix"]
    return Proposal(guess, folders, {"dataset": settings}, dataset, record, model)


def _of_splits(seen: Look, guess: Guess) -> dict[str, Line]:
    if seen.splits["train"] and seen.splits["test"]:
        return {"keep_splits": Line(value=True, why="the files are named train and test")}
    if guess.type_ not in ("classify", "text") and seen.whole and seen.rows < _FEW_ROWS:
        test, valid = (0.3, 0.1) if seen.rows < _FEW_TESTED else (0.2, 0.1)
        return {"test_fraction": Line(test, "of few rows more are needed to test"), "valid_fraction": Line(valid)}
    return {}


def _prepared(settings: Mapping[str, Line]) -> tuple[Dataset, DatasetRecord]:
    config = _built(DatasetConfig, {"dataset": settings})
    encoder = preview.encoder(config, say)
    dataset = prepare(config, ROW_KINDS[config.type_], say, encoder)
    return dataset, dataset.record(config)


def _built(config_class: type[FileConfig], sections: Mapping[str, Mapping[str, Line]], **flags: object) -> Any:
    """The configuration of a script with these settings in its file, and with flags besides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yml"
        path.write_text(written([], sections, {}), encoding="utf-8")
        explicit = {"config": path, **flags}
        is_training = config_class is TrainingConfig
        below = start.layers(explicit) if is_training else file_layers(config_class, explicit)
        config = build(config_class, [("flag", explicit), *below], {"row_kinds": ROW_KINDS})
    conflicts.check(config)
    return config


def with_training(proposal: Proposal, *, estimate: bool) -> Proposal:
    """The proposal with the settings of the other three scripts, and with ``estimate`` the memory and time of the run."""
    folders, rows = proposal.folders, len(proposal.dataset.splits["train"])
    model, training = proposal.model, dict[str, Line]()
    if model.name:
        training["model"] = Line(model.name, "a Hub name, a folder, a .gguf file, or builtin")
    if ROW_KINDS[proposal.guess.type_].name == "preference":
        training["method"] = Line("dpo", "from pairs of answers")
    training |= _steps(rows, int(bool(len(proposal.dataset.splits["valid"]))))
    if folders.data != TrainingConfig.data_dir.name:
        training["data_dir"] = Line(folders.data)
        training["adapter_path"] = Line(folders.checkpoints)
    test: dict[str, Line] = {}
    bench = {"compare": Line(value=True, why="measure the base model too")}
    if folders.checkpoints != EvaluationConfig.adapter_path.name:
        test = {"adapter_path": Line(folders.checkpoints), "results_dir": Line(folders.results)}
        bench |= test
    if model.encoder and (longest := _longest_answer(proposal, model.encoder)):
        room = Line(
            min(_LONGEST_ANSWER, 16 * math.ceil(1.25 * longest / 16)), f"the longest answer has {longest} tokens"
        )
        test["max_tokens"] = bench["max_tokens"] = room
    sections = {**proposal.sections, "train": training, "test": test, "benchmark": bench}
    proposal = replace(proposal, sections=sections, not_planned=model.problem)
    _built(EvaluationConfig, sections)
    _built(BenchmarkConfig, sections)
    return _planned(proposal) if estimate and not model.problem else proposal


def _steps(rows: int, validated: int) -> dict[str, Line]:
    """Three times over the rows, more of few; at most the steps of the standard mode."""
    batch = TrainingConfig.batch_size
    per_epoch = math.ceil(rows / batch)
    epochs = min(_MOST_EPOCHS, max(_EPOCHS, math.ceil(_FEWEST_STEPS / per_epoch)))
    steps = epochs * per_epoch
    if steps > _MOST_STEPS:
        seen = _MOST_STEPS / per_epoch
        return {"iters": Line(_MOST_STEPS, f"steps of {batch} rows: {seen:.1f} times over the rows")}
    found = {"epochs": Line(epochs, f"times over the {rows} rows: {steps} steps of {batch} rows")}
    if validated and steps < 5 * TrainingConfig.steps_per_eval:
        found["steps_per_eval"] = Line(max(5, steps // 5), "steps between two validations")
    if steps < 2 * TrainingConfig.warmup:
        found["warmup"] = Line(steps // 4, "steps")
    return found


def _longest_answer(proposal: Proposal, encoder: ChatEncoder) -> int:
    """Tokens of the longest answer of the rows, of many of a part of them; 0 for documents."""
    if ROW_KINDS[proposal.guess.type_].plain_text:
        return 0
    texts: list[str] = []
    for rows in proposal.dataset.splits.values():
        texts += [Conversation.of(row).reference for row, _ in zip(rows, range(_LOOKED_AT), strict=False)]
    longest = sorted(texts, key=len)[-20:]
    return max((len(encoder.tokenizer.encode(text)) for text in longest), default=0)


def _planned(proposal: Proposal) -> Proposal:
    """With the plan of train.py --dry-run, for rows that are written for it and removed; if they do not fit, with the smallest
    change with which they do."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data, proposal.dataset.splits, (), proposal.record)
        flags = {"data_dir": data, "adapter_path": Path(folder) / "checkpoints"}
        config = resolved(_built(TrainingConfig, proposal.sections, **flags))
        try:
            found = plan.make(config, METHODS[config.method], load_backend(config.backend))
        except UserError as error:
            return replace(proposal, not_planned=str(error))
    if found and found.remedy and (changed := _changes(found.remedy.change)):
        training = {**proposal.sections["train"], **changed}
        proposal = replace(proposal, sections={**proposal.sections, "train": training})
    return replace(proposal, plan=found)


def _changes(change: str) -> dict[str, Line]:
    """The flags of a remedy as settings; none if it is another model."""
    words = change.partition(" (")[0].split()
    if "--model" in words:
        return {}
    found: dict[str, Line] = {}
    for word in words:
        if word.startswith("--"):
            key = word.removeprefix("--").replace("-", "_")
            found[key] = Line(value=True, why="so that it fits into the memory")
        else:
            found[key] = Line(int(word), "so that it fits into the memory")
    return found
