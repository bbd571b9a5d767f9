"""Answers that can only be objects of the rows' schema (--restrict), beside the free ones: what does the restriction change?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from finetune.errors import UserError
from finetune.evaluation.evaluate import Scored
from finetune.evaluation.tuned_run import TunedRun
from finetune.evaluation.verdict import judge, wilson_interval
from finetune.models.constraint import Restrict
from finetune.models.grammar import JsonGrammar
from finetune.records.evaluation import EvaluationRecord, RestrictedRecord, RestrictedSide
from finetune.records.files import Row
from finetune.tasks.extract.grammar import grammar_schema
from finetune.tasks.extract.reading import SCHEMA
from finetune.tasks.extract.schema import of_row


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
    right = {name: [one.score.value == 1.0 for one in scored] for name, scored in restricted.items()}
    sides = {name: _side(free[name], restricted[name]) for name in restricted}
    found = RestrictedRecord(tuned=sides["tuned"], base=sides.get("base"))
    if "base" in right:
        verdict = judge(right["base"], right["tuned"])
        found = replace(found, verdict=verdict.verdict, explanation=verdict.explanation)
    return replace(record, restricted=found)


def _side(free: Sequence[Scored], restricted: Sequence[Scored]) -> RestrictedSide:
    before, after = ([one.score.value == 1.0 for one in scored] for scored in (free, restricted))
    verdict = judge(before, after)
    n = len(after)
    return RestrictedSide(
        accuracy=sum(after) / n,
        right=sum(after),
        interval=wilson_interval(sum(after), n),
        stopped=sum(one.answer.stopped for one in restricted) / n,
        mean_tokens=sum(one.answer.tokens for one in restricted) / n,
        parts={part: sum(one.score.parts[part] for one in restricted) / n for part in restricted[0].score.parts},
        verdict=verdict.verdict,
        explanation=verdict.explanation,
        answers=[one.record() for one in restricted],
    )
