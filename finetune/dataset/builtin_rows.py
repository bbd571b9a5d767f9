"""The builtin rows of a task alone: they are generated for their splits, so that nothing is sampled or divided."""

from collections import Counter
from collections.abc import Sequence

from finetune.dataset import splits
from finetune.dataset.findings import Findings
from finetune.dataset.opening import BUILTIN_ROWS, refuse
from finetune.dataset.preflight import token_problem
from finetune.errors import UserError
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.records.files import SPLITS, Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind


def generated(
    config: DatasetConfig, task: RowKind, encoder: ChatEncoder | None
) -> tuple[dict[str, list[Row]], Findings, Counter[int]]:
    """The rows of each split, what was found, and how many rows have how many tokens, if ``encoder`` is given.

    UserError if there are not as many, or if a flag has no effect.
    """
    if task.builtin is None:
        raise UserError(f"--dataset-name: --type {task.name} has no builtin rows")
    refuse(
        config,
        (
            *(
                "revision",
                "subset",
                "split",
                "column",
                "ignore",
                "split_by",
                "keep_splits",
                "same_prompt",
                "check_answers",
            ),
            *("system", "learn", "thinking", "dialect", "schema", "fields", "multi_label", "labels_in_prompt"),
        ),
        "the builtin rows",
    )
    counts = splits.shares(config.sample_size or BUILTIN_ROWS, config.valid_fraction, config.test_fraction)
    if counts["train"] < 1:
        raise UserError("--valid-fraction and --test-fraction leave no rows to train on")
    try:
        rows = task.builtin(counts, config.seed)
    except ValueError as error:
        raise UserError(f"--sample-size: {error}") from None
    made = {split: [{"messages": task.to_messages(row), **row} for row in rows[split]] for split in SPLITS}
    findings, lengths = Findings(), Counter[int]()
    if encoder:
        for split in SPLITS:
            made[split] = _fitting(split, made[split], encoder, config, findings, lengths)
    return made, findings, lengths


def _fitting(
    split: str,
    rows: Sequence[Row],
    encoder: ChatEncoder,
    config: DatasetConfig,
    findings: Findings,
    lengths: Counter[int],
) -> list[Row]:
    """The builtin rows that the model can learn; their lengths in tokens are added to ``lengths``."""
    fitting = []
    examples = encoder.examples(map(Conversation.of, rows))
    for number, (row, made) in enumerate(zip(rows, examples, strict=True), start=1):
        if problem := token_problem(encoder, made, config.max_seq_length):
            findings.drop(problem, f"builtin {split} row {number}")
        elif isinstance(made, list):
            fitting.append(row)
            lengths[max(len(example.tokens) for example in made)] += 1
    return fitting
