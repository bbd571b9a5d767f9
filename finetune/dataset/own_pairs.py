"""Preference pairs of a model's own answers: it answers each row several times, its task scores the answers (SQL is run), and
each right answer is paired with a wrong one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from finetune.backends.interface import Model
from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun, open_run
from finetune.methods.base import Sample
from finetune.methods.pairs import REJECTED
from finetune.models.conversation import Conversation
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.models.other_answers import as_text, with_sampled
from finetune.models.thinking import parted
from finetune.records import files
from finetune.records.dataset import (
    DatasetRecord,
    OwnAnswers,
    Source,
    check_output,
    read_dataset_record,
    read_split,
    write_dataset,
)
from finetune.records.files import Row
from finetune.rollouts.groups import Group, sample_groups
from finetune.rollouts.rewards import RewardWeights, weighted_judge
from finetune.settings.config import DatasetConfig
from finetune.tasks.mixed import for_rows
from finetune.terminal import Progress, counted, say, show

# why a row has no pair
_UNSCORED, _NONE_WRONG, _NONE_RIGHT = "its answers cannot be scored", "no answer is wrong", "no answer is right"
_CUT_OFF, _EMPTY = "every answer is cut off at the token limit", "every answer that ends is empty, or thinking alone"


def make(config: DatasetConfig) -> None:
    """Write pairs for train and valid, and the test rows unchanged. UserError if there are no pairs to train on."""
    assert config.from_adapter is not None
    run = open_run(config.from_adapter)
    if run.task.plain_text:
        raise UserError(
            f"--from-adapter: {config.from_adapter} was trained on plain text, which has no prompts to answer (name adapters"
            " that were trained on prompts and answers)"
        )
    folder = config.data_dir or run.data_dir
    others = {"the folder of the rows to answer": folder, "the folder of the adapters": config.from_adapter}
    files.check_apart("--output-dir", config.output_dir, others)
    dataset = read_dataset_record(folder)
    if dataset.type != run.task.name:
        raise UserError(f"{folder}: {dataset.type} rows, but {config.from_adapter} was trained on {run.task.name} rows")
    rows = {
        split: [row for _, row in read_split(folder, split, dataset, may_be_empty=split != "train")]
        for split in files.SPLITS
    }
    files.make_output(config.output_dir)
    check_output(config.output_dir)
    model = run.load()
    say(run.backend.describe())
    # as many pairs to validate for each to train on as there are rows
    size = config.sample_size
    wanted = {"train": size, "valid": size and -(-size * len(rows["valid"]) // len(rows["train"]))}
    why: Counter[str] = Counter()
    kept: dict[str, list[Row]] = {}
    read = 0
    for split, count in wanted.items():
        path = files.split_file(folder, split)
        with Progress(f"Answering ({split})", len(rows[split]), "rows") as bar:
            kept[split] = []
            for row, group in _answered(config, run, model, rows[split], path):
                made = pairs(row, group, reference_chosen=config.reference_chosen)
                read += 1
                if isinstance(made, str):
                    why[made] += 1
                else:
                    kept[split] += made
                bar.advance(note=f"{len(kept[split])} pairs")
                if count is not None and len(kept[split]) >= count:
                    del kept[split][count:]
                    break
    if not kept["train"]:
        reasons = "; ".join(f"{number} x {reason}" for reason, number in why.most_common())
        raise UserError(f"no pairs: {reasons} ({no_pairs_remedy(why)})")
    _write(config, folder, dataset, kept | {"test": rows["test"]}, read, why)


def no_pairs_remedy(why: Counter[str]) -> str:
    """What would make pairs where there are none, by the reasons for it."""
    tries = []
    if why[_CUT_OFF]:
        tries.append("raise --max-tokens")
    if why[_NONE_RIGHT]:
        tries.append("give --reference-chosen")
    if why[_NONE_RIGHT] or why[_NONE_WRONG]:
        tries.append("ask for more --answers, or raise --temperature")
    if why[_UNSCORED]:
        tries.append("use rows whose answers can be scored")
    return "; or ".join(tries) or "train the adapters first"


def _answered(
    config: DatasetConfig, run: TunedRun, model: Model, rows: Sequence[Row], path: Path
) -> Iterator[tuple[Row, Group]]:
    """Each row of ``path`` with a group of the model's answers to it, some rows at a time."""

    def sample(prompts: Sequence[Sequence[int]], seed: str, stop: Callable[[], bool]) -> list[Sample] | None:
        return model.sample(prompts, max_tokens=config.max_tokens, temperature=config.temperature, seed=seed, stop=stop)

    together = max(1, model.batch_hint // config.answers)
    with weighted_judge(for_rows(run.task, rows), RewardWeights()) as judge:
        for at in range(0, len(rows), together):
            prompts: list[TrainingRow] = []
            for index, row in enumerate(rows[at : at + together]):
                try:
                    tokens = run.encoder.prompt(Conversation.of(row).prompt)
                except ValueError as error:
                    raise UserError(f"{path}: {error}") from None
                prompts.append(TrainingRow(index + 1, row, (Example(tokens, [False] * len(tokens)),)))
            seed = f"{config.seed} pairs {path.stem} {at}"
            found = sample_groups(sample, run.encoder, judge, prompts, config.answers, seed)
            assert found is not None
            yield from zip(rows[at : at + together], found.groups, strict=True)


def pairs(row: Row, group: Group, *, reference_chosen: bool) -> list[Row] | str:
    """Copies of the row, each with a right answer as its own and a wrong one as ``rejected``; or why there are none.

    Answers are paired in the order in which they were sampled, repeated ones included: then the mean gradient of
    log p(chosen) - log p(rejected) is that of the log-odds of a right answer, which DPO raises to first order
    (arXiv 2305.18290, section 4). Choosing answers by likelihood or length would teach those too. An answer that was cut off
    is neither right nor wrong.
    """
    if group.totals is None:
        return _UNSCORED
    conversation = Conversation.of(row)
    whole = [
        at
        for at, answer in enumerate(group.samples)
        if answer.stopped and _is_whole(conversation, group.with_thinking(at))
    ]
    right = [group.with_thinking(at) for at in whole if group.totals[at] == 1]
    wrong = [group.with_thinking(at) for at in whole if group.totals[at] < 1 and group.texts[at].strip()]
    if not wrong:
        is_cut_off = not any(answer.stopped for answer in group.samples)
        return _NONE_WRONG if right else _CUT_OFF if is_cut_off else _EMPTY
    if not right:
        if not reference_chosen:
            return _NONE_RIGHT
        right = [as_text(row["messages"][-1])]
    return [
        {**row, "messages": _answered_with(conversation, chosen), REJECTED: _worse(conversation, rejected)}
        for chosen, rejected in zip(right, wrong, strict=False)  # those left over of one kind have no partner
    ]


def _answered_with(conversation: Conversation, text: str) -> list[object]:
    """The messages with another answer, and what was thought before it in its own field."""
    *before, last = with_sampled(conversation, text).messages
    return [*before, parted(last)]


def _is_whole(conversation: Conversation, text: str) -> bool:
    """Whether the thinking in an answer, if it is read as such, has an end."""
    try:
        conversation.answered(text)
    except ValueError:
        return False
    return True


def _worse(conversation: Conversation, text: str) -> str:
    """An answer as the field ``rejected`` has it: its calls, in whatever form, as training reads them."""
    return as_text(with_sampled(conversation, text).messages[-1]) if conversation.uses_tools else text


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
        split_rule="that of the rows that were answered; test holds them unchanged",
        rows_read=read,
        kept=counts["train"] + counts["valid"],
        rows=counts,
        files={},
        dropped=dict(why.most_common()),
    )
    write_dataset(config.output_dir, kept, [], record)
    show(
        f"{counted(read, 'row')}, {counted(config.answers, 'answer')} each:"
        f" {counted(record.kept, 'pair')} of a right and a wrong answer"
    )
    for reason, number in why.most_common():
        show(f"  {number:>6} row{'s' if number != 1 else ''} without a pair: {reason}")
    for split, count in counts.items():
        what = f"{counted(count, 'row')}, unchanged" if split == "test" else counted(count, "pair")
        show(f"  {files.split_file(config.output_dir, split)}  {what}")
