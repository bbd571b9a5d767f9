"""What a person preferred who did not know which model wrote which, as the page and the terminal show it."""

from collections.abc import Iterator

from finetune.records.blind import BlindRecord, BlindResult
from finetune.records.evaluation import EvaluationRecord
from finetune.report.answers import Measure
from finetune.report.texts import Cell, fixed, percent
from finetune.terminal import counted

_WORDS = {
    "better": "{tuned} is better than {base} to this person",
    "worse": "{tuned} is worse than {base} to this person",
    "no evidence": "no evidence that this person prefers one of the two",
}
_MOST_ONE_SIDED = 0.01  # p of as many choices of A, or of B, by chance


def sentence(evaluation: EvaluationRecord, result: BlindResult) -> str:
    """How often, and how sure that is; of whole rows, in one sentence without a full stop."""
    names = ("the tuned model", "the base model")
    if evaluation.against:
        names = (evaluation.adapter_path, evaluation.against)
    tuned, base = names
    decided = result.base + result.tuned
    same = f"; the same on {counted(result.same, 'row')}" if result.same else ""
    if not decided:
        return f"Judged blind by a person: the two answers were the same on all {counted(result.same, 'row')}"
    low, high = result.interval
    interval = f"95 % interval {fixed(100 * low, 0)} to {percent(high, 0)}"
    share = f"{percent(result.share or 0, 0)}, {interval}"
    return (
        f"Judged blind by a person: the answer of {tuned} was better on {result.tuned} of {counted(decided, 'row')} ({share}),"
        f" that of {base} on {result.base}{same}. Exact sign test: p = {result.p:.2g},"
        f" {_WORDS[result.verdict].format(tuned=tuned, base=base)}"
    )


def measure(evaluation: EvaluationRecord, blind: BlindRecord | None) -> list[Measure]:
    """The row of the table of measures; none without a result."""
    if not blind or not blind.result:
        return []
    counts = {"base": blind.result.base, "tuned": blind.result.tuned}
    decided = sum(counts.values())
    return [
        Measure(
            "preferred (blind)", [Cell(f"{counts[side]} of {decided}") for side in evaluation.sides], difference=None
        )
    ]


def remarks(evaluation: EvaluationRecord, blind: BlindRecord, result: BlindResult) -> Iterator[str]:
    """Which rows, and what makes the result weaker than it looks."""
    for what, side in (("tuned better", "tuned"), ("base better", "base"), ("the same", None)):
        if rows := sorted(one.row + 1 for one in blind.judged if one.preferred == side):
            yield f"Rows, {what}: {', '.join(map(str, rows))}."
    if blind.equal:
        yield f"Both answers are equal on {counted(blind.equal, 'further row')}, which nobody had to judge."
    answers = [one for judged in blind.judged for one in evaluation.rows[judged.row].sides.values()]
    if cut := sum(not one.stopped for one in answers):
        yield f"{cut} of these {len(answers)} answers were cut off at --max-tokens: how they would have ended was not judged."
    if blind.seen:
        yield (
            f"A result was seen after {' and '.join(map(str, blind.seen))} rows already: who goes on until a result pleases"
            " will find one, so p is too small."
        )
    if result.one_sided < _MOST_ONE_SIDED:
        yield (
            f"You chose A {result.chose_a} times and B {result.chose_b} times. The sides are random, so this is a habit, and"
            " it hides a difference."
        )
