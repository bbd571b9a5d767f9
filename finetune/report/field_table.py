"""The table of the fields that were to be extracted, as the page and the terminal show it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune.records.evaluation import EvaluationRecord, FieldRecord, FieldSide, RestrictedSide, SideRecord, WrongField
from finetune.report.texts import Cell, number, percent

_NONE = "–"
_FAULTS = 3  # kinds of fault that are named
_ROWS = 50  # rows of a field that are listed


@dataclass(frozen=True)
class FieldRow:
    """A row of the table."""

    name: str
    about: str
    n: int
    cells: Mapping[str, Cell]  # of each side: the share of the rows in which it is right
    fault: str  # the most frequent one of the tuned model
    faults: str  # the most frequent ones, with their numbers
    wrong: list[WrongField]  # the first rows in which the tuned model is wrong on it
    wrong_count: int


def rows(evaluation: EvaluationRecord) -> list[FieldRow]:
    """A row for each field, in the order of the schema, then those that were invented; none for rows of other kinds."""
    return [_row(field) for field in evaluation.fields or ()]


def _row(field: FieldRecord) -> FieldRow:
    faults = [f"{count} × {kind}" for kind, count in field.tuned.faults.items()]
    more = len(faults) - _FAULTS
    named = ", ".join([*faults[:_FAULTS], *(["others"] if more > 0 else [])])
    cells = {name: _cell(field, side) for name, side in field.sides.items()}
    return FieldRow(
        field.name, field.about, field.n, cells, next(iter(faults), ""), named, field.wrong[:_ROWS], len(field.wrong)
    )


def _cell(field: FieldRecord, side: FieldSide) -> Cell:
    if not field.n:
        count = sum(side.faults.values())
        return Cell(f"{count} ×", "", "bad") if count else Cell(_NONE)
    colour = "good" if side.right == field.n else ""
    return Cell(percent(side.right / field.n), "", colour)


@dataclass(frozen=True)
class RestrictedRow:
    """A measure of free answers beside restricted ones: for each side both cells."""

    label: str
    cells: Mapping[str, tuple[Cell, Cell]]


def restricted(evaluation: EvaluationRecord) -> list[RestrictedRow]:
    """The measures of free and restricted answers of each side; none without --restrict."""
    found = evaluation.restricted
    if found is None:
        return []
    pairs = {name: (evaluation.sides[name], side) for name, side in found.sides.items()}

    def row(label: str, value: Callable[[SideRecord | RestrictedSide], str]) -> RestrictedRow:
        return RestrictedRow(label, {name: (Cell(value(free)), Cell(value(by))) for name, (free, by) in pairs.items()})

    def of_part(part: str) -> Callable[[SideRecord | RestrictedSide], str]:
        return lambda side: number(side.parts[part]) if part in side.parts else _NONE

    parts = [row(part, of_part(part)) for part in found.tuned.parts]
    return [
        row(evaluation.metric, lambda side: percent(side.accuracy or 0.0)),
        *parts,
        row("finished (EOS)", lambda side: percent(side.stopped)),
        row("tokens per answer", lambda side: number(side.mean_tokens)),
    ]


def restriction(evaluation: EvaluationRecord) -> list[str]:
    """What the restriction changed, a sentence for each side and one for both."""
    found = evaluation.restricted
    if found is None:
        return []
    words = {"better": "better", "worse": "worse", "no evidence": "no evidence of a difference"}
    lines = [
        f"Restricted against free, {name}: {words[side.verdict]}; {side.explanation}."
        for name, side in found.sides.items()
    ]
    cut = sum(not answer.stopped for answer in found.tuned.answers)
    if cut:
        lines.append(
            f"{cut} restricted answers of the tuned model were cut off at the token limit: their objects have no end."
        )
    if found.verdict:
        lines.append(f"Tuned against base, both restricted: {words[found.verdict]}; {found.explanation}.")
    return lines
