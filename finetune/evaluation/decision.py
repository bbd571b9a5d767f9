"""What decides between two models: the scores of their answers, the loss of the references, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.evaluation.verdict import Verdict, judge, judge_means, paired_bootstrap, paired_shares, unjudged
from finetune.records.difference import Difference
from finetune.records.evaluation import LOSS, NOTHING, SCORE
from finetune.records.files import Row
from finetune.tasks import Task

if TYPE_CHECKING:
    from finetune.evaluation.evaluate import Side


@dataclass(frozen=True)
class Compared:
    """What a comparison says; see EvaluationRecord for the fields."""

    verdict: Verdict
    decided_by: str
    measure: str
    differences: dict[str, Difference]
    worse_rows: list[int]


def compared(base: "Side", tuned: "Side", task: Task, rows: Sequence[Row]) -> Compared:
    """The verdict and what decided it, the differences of all measures, and the rows that got worse.

    Right or wrong decides if every score is one of the two, else the mean score. If most rows have no score, the loss does
    for tasks whose references are good without being a measure; for others it says nothing of right and wrong.
    """
    # a row whose answers cannot both be scored says nothing of the difference
    pairs = [
        (i, one.score.value, other.score.value)
        for i, (one, other) in enumerate(zip(base.scored, tuned.scored, strict=True))
        if one.score.value is not None and other.score.value is not None
    ]
    before, after = [value == 1.0 for _, value, _ in pairs], [value == 1.0 for _, _, value in pairs]
    losses, tokens = (base.losses.sums, tuned.losses.sums), tuned.losses.tokens
    changes = {i: a - b for i, b, a in pairs}
    decided_by, measure = task.metric, task.measures(rows[i] for i, _, _ in pairs)
    if not pairs or (task.loss_decides and 2 * len(pairs) < len(base.scored)):
        of = "text" if task.plain_text else "reference"
        verdict = judge_means(f"Loss per token of the {of}", *losses, tokens, higher_is_better=False)
        if task.loss_decides:
            decided_by, measure = LOSS, _by_loss(len(pairs), len(base.scored), plain_text=task.plain_text)
            changes = {i: b - a for i, (b, a) in enumerate(zip(*losses, strict=True))}
        else:
            decided_by, verdict = NOTHING, unjudged(verdict)
    elif all(value in (0.0, 1.0) for _, *values in pairs for value in values):
        verdict = judge(before, after)
    else:
        decided_by = SCORE
        values = [value for _, value, _ in pairs], [value for _, _, value in pairs]
        verdict = judge_means("Mean score", *values, [1.0] * len(pairs), higher_is_better=True)
    differences = {task.metric: paired_shares(before, after)} if pairs else {}
    differences |= {LOSS: paired_bootstrap(*losses, tokens), **_part_differences(base, tuned)}
    worse = sorted((i for i, change in changes.items() if change < 0), key=changes.__getitem__)
    return Compared(verdict, decided_by, measure, differences, worse)


def _by_loss(judged: int, n: int, *, plain_text: bool) -> str:
    if plain_text:
        return "the loss of the text"
    if judged:
        return f"loss only: {n - judged} of {n} answers could not be judged"
    return "loss only: no answer could be judged"


def _part_differences(base: "Side", tuned: "Side") -> dict[str, Difference]:
    """The other measures, each on the rows that have it on both sides."""
    found = {}
    for name in sorted({name for one in tuned.scored for name in one.score.parts}):
        both = [
            (one.score.parts[name], other.score.parts[name])
            for one, other in zip(base.scored, tuned.scored, strict=True)
            if name in one.score.parts and name in other.score.parts
        ]
        if both:
            found[name] = paired_bootstrap([b for b, _ in both], [a for _, a in both], [1.0] * len(both))
    return found
