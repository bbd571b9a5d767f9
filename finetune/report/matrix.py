"""The confusion matrix as inline SVG: what was answered to the rows of each label."""

from collections.abc import Sequence

from markupsafe import Markup

from finetune.report.svg import BAD, INK, LINE, MUTED, PAPER, TUNED, cell, figure, line, text, turned

_FITS = 16  # columns that a phone shows at a size that can be read; of more the picture is as wide as it needs
_WIDTH = 400.0
_NARROWEST = 19.0  # units of a cell, for two digits
_CHARACTER = 6.6  # of a label at the size of the text
_LONGEST = 22  # characters of a label
_MOST = 80  # labels
_NONE = "no label"


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup | None:
    """A row for each label, a column for each answer; None for a single label, or more than can be drawn.

    ``counts``: [label][answer], the last column for what is no label.
    """
    if not 1 < len(labels) <= _MOST or len(counts) != len(labels):
        return None
    some = [at for at in range(len(labels)) if sum(counts[at]) or any(row[at] for row in counts)]
    has_none = any(row[-1] for row in counts)
    columns = [*some, *([len(labels)] if has_none else [])]
    names = [_shortened(label) for label in (*labels, _NONE)]
    room = _CHARACTER * max(len(names[at]) for at in columns) + 10
    size = max(_NARROWEST, min(34.0, (_WIDTH - room) / len(columns)))
    width, height = room + size * len(columns) + 2, room + size * len(some)
    shapes: list[Markup] = []
    for number, column in enumerate(columns):
        x = room + size * (number + 0.5)
        shapes.append(turned(x + 4, room - 6, names[column], MUTED if column == len(labels) else INK))
    for number, row in enumerate(some):
        y, total = room + size * number, sum(counts[row])
        shapes += [text(room - 6, y + size / 2 + 4, names[row], INK, "end")]
        shapes += [line([(0, y), (width, y)], LINE, 0.5)]
        for at, column in enumerate(columns):
            if count := counts[row][column]:
                share = count / total
                strength = 0.15 + 0.85 * share
                colour = TUNED if column == row else BAD
                shapes.append(cell(room + size * at, y, size, colour, strength))
                words = PAPER if strength > 0.55 else INK
                shapes.append(text(room + size * (at + 0.5), y + size / 2 + 4, str(count), words, "middle"))
    right = sum(counts[at][at] for at in some)
    wrong = sum(map(sum, counts)) - right
    label = (
        f"Confusion matrix of {len(some)} labels: {right} rows on the diagonal are right, {wrong} beside it are wrong"
    )
    return figure(label, width, height + 1, shapes, own_size=len(columns) > _FITS)


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
