"""The score of an answer, and the table of fields over all answers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from finetune.models.thinking import answer_of
from finetune.records.evaluation import FieldRecord, FieldSide, WrongField
from finetune.records.files import Row
from finetune.tasks.base import UNFINISHED, Score
from finetune.tasks.extract.comparing import INVENTED, MISSING, UNWANTED, WRONG_TYPE, Compared, Fault, compare, flat
from finetune.tasks.extract.fits import problems, shown
from finetune.tasks.extract.objects import Read, read_answer
from finetune.tasks.extract.prompt import kind_of
from finetune.tasks.extract.reading import SCHEMA
from finetune.tasks.extract.schema import Node, of_row
from finetune.tasks.values import strictly

VALID, FITS, FIELDS = "valid JSON", "fits the schema", "fields right"
NO_OBJECT = "no object to read"  # the fault of every field then
_TOLD = 5  # faults of an answer
_INVENTED = 20  # fields in the table that do not exist
KIND_WORDS = {
    "no_json": "not JSON",
    "not_an_object": "JSON, but no object",
    UNFINISHED: "an object without its end",
    "fence": "the object in a fence",
    "text_around": "text around the object",
    "missing_field": "a field is missing",
    "invented_field": "a field that does not exist, or that the text does not have",
    "wrong_type": "a value of another type",
    "wrong_value": "a wrong value",
}
MALFORMED = frozenset({"no_json", "not_an_object", UNFINISHED, "fence", "text_around"})
# rewards of wrong answers, so that answers differ before one is right: an object that can be found, one that can be read
PARTIAL = {
    "fence": 0.1,
    "text_around": 0.1,
    "missing_field": 0.2,
    "invented_field": 0.2,
    "wrong_type": 0.2,
    "wrong_value": 0.4,
}
_KINDS = {MISSING: "missing_field", INVENTED: "invented_field", UNWANTED: "invented_field", WRONG_TYPE: "wrong_type"}


def _parts(row: Row, answer: str) -> tuple[Node, Read, Compared | None]:
    root = of_row(row[SCHEMA])
    read = read_answer(answer_of(answer))
    if read.found is None:
        return root, read, None
    return root, read, compare(strictly(row["messages"][-1]["content"]), read.found, root)


def score(row: Row, answer: str) -> Score:
    """1 if the answer is the object of the row and nothing else, field by field; else 0. The parts are the rest.

    The fields of an object in a fence, or with text around it, are compared, although no program could read the answer.
    """
    root, read, compared = _parts(row, answer)
    valid, fits = float(not read.kind), 0.0
    if read.found is not None:
        fits = float(valid and not any(problems(read.found, root)))
    right = 0.0 if compared is None else 1 - len(compared.faults) / max(1, compared.fields)
    parts = {VALID: valid, FITS: fits, FIELDS: right}
    faults = compared.faults if compared else ()
    told = [*([read.reason] if read.reason else []), *(fault.reason for fault in faults[:_TOLD])]
    if len(faults) > _TOLD:
        told.append(f"and {len(faults) - _TOLD} more")
    kind = read.kind or _kind(faults)
    return Score(float(kind == "ok"), kind, "; ".join(told), parts)


def _kind(faults: Sequence[Fault]) -> str:
    found = {_KINDS.get(fault.kind, "wrong_value") for fault in faults}
    return next((kind for kind in KIND_WORDS if kind in found), "ok")


def _unread(expected: Mapping[str, object]) -> list[Fault]:
    return [Fault(path, NO_OBJECT, "", shown(value), None) for path, value in expected.items()]


def field_table(rows: Sequence[Row], answers: Mapping[str, Sequence[str]]) -> tuple[FieldRecord, ...]:
    """What each side did with each field. ``answers``: of "tuned" and perhaps "base", one for each row.

    Rows of other kinds are left out. Fields that the schema does not have come last, the most frequent first.
    """
    abouts: dict[str, str] = {}
    has, right = Counter[str](), {side: Counter[str]() for side in answers}
    faults: dict[str, dict[str, Counter[str]]] = {side: {} for side in answers}
    wrong: dict[str, list[WrongField]] = {}
    for at, row in enumerate(rows):
        if SCHEMA not in row:
            continue
        expected = dict(flat(strictly(row["messages"][-1]["content"])))
        has.update(expected.keys())
        for side, texts in answers.items():
            root, _, compared = _parts(row, texts[at])
            abouts |= {path: kind_of(node) for path, node in root.leaves() if path not in abouts}
            found = _unread(expected) if compared is None else compared.faults
            right[side].update(expected.keys() - {fault.path for fault in found})
            for fault in found:
                faults[side].setdefault(fault.path, Counter())[fault.kind] += 1
                if side == "tuned":
                    wrong.setdefault(fault.path, []).append(WrongField(at, fault.kind, fault.wanted, fault.found))
    names = [*abouts, *(path for path in has if path not in abouts)]
    invented = Counter[str]()
    for of_side in faults.values():
        invented.update({path: counts.total() for path, counts in of_side.items() if path not in names})
    names += [path for path, _ in invented.most_common(_INVENTED)]

    def side_of(side: str, path: str) -> FieldSide:
        return FieldSide(right[side][path], dict(faults[side].get(path, Counter()).most_common()))

    return tuple(
        FieldRecord(
            path,
            abouts.get(path, "not in the schema" if path in invented else ""),
            has[path],
            tuned=side_of("tuned", path),
            base=side_of("base", path) if "base" in answers else None,
            wrong=wrong.get(path, []),
        )
        for path in names
    )
