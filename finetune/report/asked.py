"""What a model was asked beside the last turn of the user, as the page and the terminal show it."""

from collections.abc import Sequence

from finetune.records.evaluation import EvaluationRecord, RowRecord, TurnRecord

SYSTEM = "system"


def common_system(evaluation: EvaluationRecord) -> str:
    """The system message that all rows begin with; "" if they have none or different ones."""
    found = {system_of(row) for row in evaluation.rows}
    return found.pop() if len(found) == 1 else ""


def system_of(row: RowRecord) -> str:
    """The system message that the row begins with; "" if there is none."""
    return row.before[0].text if row.before and row.before[0].role == SYSTEM else ""


def told(row: RowRecord, known: str = "") -> list[TurnRecord]:
    """The system message, unless it is the ``known`` one, and the functions that can be called."""
    system = system_of(row)
    first = [TurnRecord(SYSTEM, system)] if system and system != known else []
    return [*first, TurnRecord("can call", ", ".join(row.tools))] if row.tools else first


def history(row: RowRecord) -> Sequence[TurnRecord]:
    """The turns before the prompt, apart from the system message."""
    return row.before[1:] if system_of(row) else row.before


def conversation(row: RowRecord, known: str = "") -> list[TurnRecord]:
    """All that the row's answer follows; none if that is the prompt alone. ``known`` is a system message that is shown
    elsewhere."""
    before = [*told(row, known), *history(row)]
    asked = [TurnRecord("user", row.prompt)] if row.prompt else []
    return [*before, *asked, *row.after] if before or row.after else []
