"""Pairs that a model makes itself: it answers each row several times, the answers are judged as its task does (SQL is run), and
each that is right stands beside one that is not."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from finetune.backends.interface import Model
from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun, open_run
from finetune.methods.base import Sample, never
from finetune.methods.pairs import REJECTED
from finetune.models.encoder import Example
from finetune.models.examples import TrainingRow
from finetune.records import files
from finetune.records.dataset import DatasetRecord, OwnAnswers, Source, read_dataset_record, read_split, write_dataset
from finetune.records.files import Row
from finetune.rollouts.groups import Group, sample_groups
from finetune.rollouts.rewards import RewardWeights, weighted_judge
from finetune.settings.config import DatasetConfig
from finetune.terminal import Progress, say


def make(config: DatasetConfig) -> None:
    """Write train and valid of pairs, and the test rows as they are. UserError where there would be none to train on."""
    assert config.from_adapter is not None
    run = open_run(config.from_adapter)
    folder = config.data_dir or run.data_dir
    if folder.resolve() == config.output_dir.resolve():
        raise UserError(f"--output-dir: {config.output_dir} holds the rows themselves (give the pairs another folder)")
    dataset = read_dataset_record(folder)
    if dataset.type != run.task.name:
        raise UserError(f"{folder}: {dataset.type} rows, but {config.from_adapter} was trained on {run.task.name} rows")
    rows = {
        split: [row for _, row in read_split(folder, split, dataset, may_be_empty=split != "train")]
        for split in files.SPLITS
    }
    files.make_folder(config.output_dir)
    model = run.load()
    say(run.backend.describe())
    # as many to validate, of those to train on, as there are of the rows themselves
    wanted = {"train": config.sample_size, "valid": -(-config.sample_size * len(rows["valid"]) // len(rows["train"]))}
    why: Counter[str] = Counter()
    kept: dict[str, list[Row]] = {}
    read = 0
    for split, count in wanted.items():
        path = files.split_file(folder, split)
        with Progress(f"Answering ({split})", len(rows[split]), "rows") as bar:
            kept[split] = []
            for row, group in _answered(config, run, model, rows[split], path):
                made = pairs(row, group, config.reference_chosen)
                read += 1
                if isinstance(made, str):
                    why[made] += 1
                else:
                    kept[split] += made
                bar.advance(note=f"{len(kept[split])} pairs")
                if len(kept[split]) >= count:
                    del kept[split][count:]
                    break
    if not kept["train"]:
        reasons = "; ".join(f"{number} x {reason}" for reason, number in why.most_common())
        raise UserError(f"no pairs: {reasons} (--reference-chosen, more --answers, or a higher --temperature)")
    _write(config, folder, dataset, kept | {"test": rows["test"]}, read, why)


def _answered(
    config: DatasetConfig, run: TunedRun, model: Model, rows: Sequence[Row], path: Path
) -> Iterator[tuple[Row, Group]]:
    """Each row of ``path`` with a group of the model's answers to it, some rows at a time."""

    def sample(prompts: Sequence[Sequence[int]], seed: str, stop: Callable[[], bool]) -> list[Sample] | None:
        return model.sample(prompts, max_tokens=config.max_tokens, temperature=config.temperature, seed=seed, stop=stop)

    together = max(1, model.batch_hint // config.answers)
    with weighted_judge(run.task, RewardWeights()) as judge:
        for at in range(0, len(rows), together):
            prompts: list[TrainingRow] = []
            for index, row in enumerate(rows[at : at + together]):
                try:
                    tokens = run.encoder.prompt(row["messages"][:-1])
                except ValueError as error:
                    raise UserError(f"{path}: {error}") from None
                prompts.append(TrainingRow(index + 1, row, (Example(tokens, [False] * len(tokens)),)))
            seed = f"{config.seed} pairs {path.stem} {at}"
            found = sample_groups(sample, run.encoder, judge, prompts, config.answers, seed, never)
            assert found is not None
            yield from zip(rows[at : at + together], found.groups, strict=True)


def pairs(row: Row, group: Group, reference_chosen: bool) -> list[Row] | str:
    """The row with a right answer as its own and a wrong one as ``rejected``, as often as there are both, or why not.

    In the order in which they were drawn, the same answer as often as it came: then log p(chosen) - log p(rejected) has in the
    mean the gradient of the log-odds of a right answer, and to the first order that is what DPO raises (arXiv 2305.18290,
    section 4). Answers picked by how likely or how long they are would teach that too. What was cut off is neither right nor
    wrong.
    """
    if group.totals is None:
        return "cannot be judged"
    whole = [at for at, answer in enumerate(group.samples) if answer.stopped]
    right = [group.texts[at] for at in whole if group.totals[at] == 1]
    wrong = [group.texts[at] for at in whole if group.totals[at] < 1 and group.texts[at].strip()]
    if not wrong:
        return "no answer is wrong" if right else "every answer is cut off"
    if not right:
        if not reference_chosen:
            return "no answer is right"
        right = [row["messages"][-1]["content"]]
    return [
        {**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": chosen}], REJECTED: rejected}
        for chosen, rejected in zip(right, wrong, strict=False)  # what is left over of one kind has no partner
    ]


def _write(
    config: DatasetConfig,
    folder: Path,
    dataset: DatasetRecord,
    kept: dict[str, list[Row]],
    read: int,
    why: Counter[str],
) -> None:
    counts = {split: len(rows) for split, rows in kept.items()}
    record = DatasetRecord(
        type=dataset.type,
        source=Source(
            f"answers of {config.from_adapter}",
            own_answers=OwnAnswers(
                adapter=str(config.from_adapter),
                rows=str(folder.resolve()),
                rows_source=dataset.source,
                answers=config.answers,
                temperature=config.temperature,
                max_tokens=config.max_tokens,
            ),
        ),
        seed=config.seed,
        split_rule="that of the rows answered; test holds them as they are",
        rows_read=read,
        kept=counts["train"] + counts["valid"],
        rows=counts,
        files={},
        dropped=dict(why.most_common()),
    )
    write_dataset(config.output_dir, kept, [], record)
    print(f"{read} rows answered {config.answers} times each: {record.kept} pairs of a right and a wrong answer")
    for reason, number in why.most_common():
        print(f"  {number:>6} without one: {reason}")
    for split, count in counts.items():
        what = "as they were" if split == "test" else "pairs"
        print(f"  {files.split_file(config.output_dir, split)}  {count} {what}")
