"""What was measured of long answers, as the page and the terminal show it."""

from collections import Counter
from collections.abc import Iterator

from finetune.records.drafts import Drafts, Origin, SideDrafts, StyleMark
from finetune.records.evaluation import EvaluationRecord
from finetune.report.answers import Measure
from finetune.report.texts import Cell, fixed, percent
from finetune.terminal import counted

_SHOWN = 8  # doubtful facts, named
_LONGEST = 40  # characters of one


def measures(evaluation: EvaluationRecord) -> list[Measure]:
    """Rows of the table of measures; none if the answers are short."""
    found = evaluation.drafts
    if not found:
        return []
    rows = [("length / reference", [f"{fixed(side.length, 2)}\N{NO-BREAK SPACE}×" for side in found.sides.values()])]
    if found.openings:
        rows.append(("usual opening", [f"{side.opening} of {found.n}" for side in found.sides.values()]))
    if found.closings:
        rows.append(("usual closing", [f"{side.closing} of {found.n}" for side in found.sides.values()]))
    rows.append(("facts from the prompt", [_said(side, "prompt") for side in found.sides.values()]))
    rows.append(("facts invented", [_said(side, "invented") for side in found.sides.values()]))
    return [Measure(label, [Cell(text) for text in cells], None) for label, cells in rows]


def _said(side: SideDrafts, origin: str) -> str:
    of = sum(counts.said for counts in side.facts.values())
    return f"{sum(getattr(counts, origin) for counts in side.facts.values())} of {of}"


def remarks(evaluation: EvaluationRecord) -> Iterator[str]:
    """Sentences below the table: the marks, the facts that come from nowhere, and what could not be told."""
    found = evaluation.drafts
    if not found:
        return
    of = (
        f"{counted(found.trained, 'training answer')}"
        if found.trained
        else "the references (the training rows are gone)"
    )
    for what, marks in (("Usual opening", found.openings), ("Usual closing", found.closings)):
        if marks:
            yield f"{what}: {', '.join(map(_mark, marks))} of {of}."
        else:
            yield f"{what}: none that many of {of} share."
    for name, side in found.sides.items():
        yield from _doubtful(name, side, found)
    if found.no_names:
        yield f"Names are not looked for: {found.no_names}."


def _mark(mark: StyleMark) -> str:
    return f"“{mark.text}” in {percent(mark.share, 0)}"


def _doubtful(name: str, side: SideDrafts, found: Drafts) -> Iterator[str]:
    origins: tuple[tuple[Origin, str, str], ...] = (
        ("invented", "invented", "in neither prompt, reference nor training answers"),
        ("other rows", "taken from other rows", "in neither prompt nor reference, but in another training row"),
    )
    for origin, word, meaning in origins:
        facts = [fact for fact in side.doubtful if fact.origin == origin]
        if not facts:
            if origin == "invented":
                what = "no invented facts found, names apart," if found.no_names else "no invented facts found"
                yield f"{name}: {what} in {counted(found.n, 'answer')}."
            continue
        kinds = ", ".join(
            counted_kind(count, kind) for kind, count in Counter(fact.kind for fact in facts).most_common()
        )
        first = ", ".join(f"row {fact.row + 1} “{fact.text[:_LONGEST]}”" for fact in facts[:_SHOWN])
        more = f" and {len(facts) - _SHOWN} more" if len(facts) > _SHOWN else ""
        yield f"{name}, {word} ({meaning}): {kinds} in {side.rows(origin)} of {counted(found.n, 'answer')}: {first}{more}."


def counted_kind(count: int, kind: str) -> str:
    return f"{count} {kind}{'es' if kind.endswith('ss') else 's'}" if count != 1 else f"1 {kind}"
