"""Answers that can only be objects of the rows' schema (--restrict), beside the free ones: what does the restriction change?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from finetune.errors import UserError
from finetune.evaluation.evaluate import Scored
from finetune.evaluation.tuned_run import HeldOut, TunedRun, restriction_rows
from finetune.evaluation.verdict import Verdict, judge, wilson_interval
from finetune.models.constraint import Restrict
from finetune.models.conversation import Conversation
from finetune.models.grammar import JsonGrammar
from finetune.records.evaluation import EvaluationRecord, RestrictedRecord, RestrictedSide
from finetune.records.files import Row
from finetune.tasks.extract.grammar import grammar_schema
from finetune.tasks.extract.reading import SCHEMA
from finetune.tasks.extract.schema import of_row
from finetune.terminal import counted, say


def tell_cut(run: TunedRun, rows: Sequence[Row], max_tokens: int) -> None:
    """Say how many references are longer than an answer may be: an object without its end is wrong."""
    if run.task.field_table is None:
        return
    examples = run.encoder.examples(map(Conversation.of, rows))
    lengths = [sum(made[-1].loss_mask) for made in examples if isinstance(made, list)]
    if long := [length for length in lengths if length > max_tokens]:
        what = counted(len(long), "reference")
        say(f"Note: {what} longer than --max-tokens {max_tokens}: such answers are cut off ({max(long)} holds all).")


class Restriction(TypedDict):
    """What ``Comparison`` is told of --restrict."""

    restrict: bool  # to the labels of the rows
    valid: Sequence[Row]  # to calibrate the confidence on
    by_form: Callable[[Sequence[Row]], Restrict] | None  # to objects of the schema of the rows


def restriction(run: TunedRun, held_out: HeldOut, *, asked: bool) -> Restriction:
    """What answers are restricted to, if that is ``asked`` for. UserError if the rows have nothing of the kind."""
    if asked and run.task.field_table:
        return {"restrict": False, "valid": [], "by_form": open_grammar(run, held_out.rows)}
    return {"restrict": asked, "valid": restriction_rows(run, held_out) if asked else [], "by_form": None}


def open_grammar(run: TunedRun, rows: Sequence[Row]) -> Callable[[Sequence[Row]], Restrict]:
    """What the answer to each row may be, of those of these ``rows`` that are asked.

    UserError if there are rows without a schema, or with one that the grammar lacks something of.
    """
    if any(SCHEMA not in row for row in rows):
        raise UserError("--restrict has no effect with rows of several types (omit it)")
    grammar = JsonGrammar(run.encoder)
    schemas = _schemas(rows)
    for schema in {str(schema): schema for schema in schemas}.values():
        try:
            grammar.constraint(schema)
        except ValueError as error:
            raise UserError(f"--restrict: the grammar cannot hold the schema of the rows: {error} (omit it)") from None

    def restrict(asked: Sequence[Row]) -> Restrict:
        of_each = _schemas(asked)
        return lambda index: grammar.constraint(of_each[index])

    return restrict


def _schemas(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [grammar_schema(of_row(row[SCHEMA])) for row in rows]


def add(
    record: EvaluationRecord, free: Mapping[str, Sequence[Scored]], restricted: Mapping[str, Sequence[Scored]]
) -> EvaluationRecord:
    """The record with the restricted answers of each side, compared with its free ones and with each other."""
    sides = {name: _side(free[name], restricted[name]) for name in restricted}
    found = RestrictedRecord(tuned=sides["tuned"], base=sides.get("base"))
    if "base" in restricted:
        verdict = _judged(restricted["base"], restricted["tuned"])
        found = replace(found, verdict=verdict.verdict, explanation=verdict.explanation)
    return replace(record, restricted=found)


def _side(free: Sequence[Scored], restricted: Sequence[Scored]) -> RestrictedSide:
    verdict, n = _judged(free, restricted), len(restricted)
    scored = [one.score.value == 1.0 for one in restricted if one.score.value is not None]
    parts = dict.fromkeys(part for one in restricted for part in one.score.parts)
    return RestrictedSide(
        accuracy=sum(scored) / max(1, len(scored)),
        right=sum(scored),
        interval=wilson_interval(sum(scored), len(scored)),
        stopped=sum(one.answer.stopped for one in restricted) / n,
        mean_tokens=sum(one.answer.tokens for one in restricted) / n,
        parts={part: _mean([one.score.parts[part] for one in restricted if part in one.score.parts]) for part in parts},
        verdict=verdict.verdict,
        explanation=verdict.explanation,
        answers=[one.record() for one in restricted],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _judged(before: Sequence[Scored], after: Sequence[Scored]) -> Verdict:
    """The verdict on the rows of which both answers have a score."""
    values = [(one.score.value, other.score.value) for one, other in zip(before, after, strict=True)]
    both = [(one == 1.0, other == 1.0) for one, other in values if one is not None and other is not None]
    return judge([one for one, _ in both], [other for _, other in both])
