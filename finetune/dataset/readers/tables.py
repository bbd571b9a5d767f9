"""Tables as text: CSV, and the same with tabs, semicolons or vertical bars between the columns."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import LONGEST, MOST_FIELDS, BlankLines, SourcedRow, Wanted
from finetune.errors import UserError, shortened
from finetune.terminal import say

_LONGEST = LONGEST
_MOST_FIELD = 1 << 26  # characters
_SAMPLE = 1 << 16  # characters, from which the delimiter is found
_SAMPLED = 50  # rows
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UNPAIRED = "an unpaired quote? quotes inside a field are doubled; or write JSON lines"


def read(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    csv.field_size_limit(_MOST_FIELD)
    with part.open() as file:
        begin = file.read(_SAMPLE)
    skipped, delimiter = _delimiter(part, begin.decode("utf-8-sig", "replace"), is_whole=len(begin) < _SAMPLE)
    with part.open() as file:
        tabs: list[int] = []
        reader = csv.reader(_text_lines(file, part.place, skipped, delimiter, tabs), delimiter=delimiter, strict=True)
        try:
            names = _header(part, next(filter(any, reader), []), delimiter, wanted)
            yield from _rows(part, reader, names, skipped, tabs)
        except csv.Error as error:  # where the next row begins cannot be told
            line = reader.line_num + skipped
            raise UserError(f"{part.place}:{line}: not CSV: {error} ({_UNPAIRED})") from None


def _text_lines(file: BinaryIO, place: str, skipped: int, delimiter: str, tabs: list[int]) -> Iterator[str]:
    """The lines; how many tabs each has is added to ``tabs``, -1 if they do not separate the columns."""
    # a byte that is not UTF-8 becomes half a surrogate pair, which is found with its row
    blank = BlankLines(place)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    for number, line in enumerate(iter(lambda: text.readline(_LONGEST), ""), start=1):
        if len(line) == _LONGEST and not line.endswith(("\r", "\n")):
            raise UserError(f"{place}:{number}: a line of more than {_LONGEST >> 20} MB, which is no row")
        blank.see(number, is_blank=line.isspace())
        if number > skipped:
            tabs.append(line.count("\t") if delimiter == "\t" else -1)
            yield line


def _delimiter(part: Part, sample: str, *, is_whole: bool) -> tuple[int, str]:
    """How many lines stand before the header, and what separates the columns: by the header, and the rows below it."""
    if named := re.match(r'"?sep=(.)"?\r?\n?', sample):
        return 1, named[1]
    usual = "\t" if part.suffix == ".tsv" else ","
    counts = {delimiter: _widths(sample, delimiter, is_whole=is_whole) for delimiter in _DELIMITERS}
    found = {delimiter: widths for delimiter, widths in counts.items() if widths and widths[0] > 1}

    def fits(delimiter: str) -> tuple[bool, bool, int]:
        widths = found[delimiter]
        return len(set(widths)) == 1, delimiter == usual, widths[0]

    best = max(found, key=fits, default=usual)
    if best != usual:
        say(f"Note: {part.place}: its columns are separated by {_DELIMITERS[best]}")
    return 0, best


def _widths(sample: str, delimiter: str, *, is_whole: bool) -> list[int]:
    """The number of fields in each of the first rows."""
    widths = []
    lines = io.StringIO(sample, newline="")
    try:
        for fields in csv.reader(lines, delimiter=delimiter, strict=True):
            widths += [len(fields)] if fields else []
            if len(widths) >= _SAMPLED:
                return widths
    except csv.Error as error:  # at the end of a sample, a quoted field may be cut
        return widths if "unexpected end" in str(error) and not is_whole else widths[:1]
    return widths if is_whole else widths[:-1] or widths  # the last row of a sample may be cut


def _header(part: Part, fields: Sequence[str], delimiter: str, wanted: Wanted) -> list[str]:
    """The names of the columns; "" becomes the name that pandas gives. UserError if they are no names."""
    names = [name.strip() for name in fields]
    while names and not names[-1]:  # of the empty columns that a spreadsheet writes at the end
        names.pop()
    names = [name or f"Unnamed: {number}" for number, name in enumerate(names)]
    if len(names) > MOST_FIELDS:
        raise UserError(
            f"{part.place}:1: {len(names):,} columns, more than the {MOST_FIELDS:,} that a row can have"
            " (keep those that are used)"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{part.place}:1: more than one column is named {shortened(twice[0], 40)!r} (give each a name of its own)"
        )
    if not set(names) & wanted.names and _is_row(names):
        example = delimiter.join(
            ["prompt", "completion", *(f"column{n}" for n in range(3, len(names) + 1))][: len(names)]
        )
        raise UserError(
            f"{part.place}:1: its first line does not name the columns: {shortened(names[0], 40)!r}"
            f" (put a line with their names before it, such as {shortened(example, 80)!r}; if they are names, --column)"
        )
    return names


def _is_row(names: Sequence[str]) -> bool:
    """Whether a first line is a row: it has sentences or numbers. Tables without names that pandas wrote count them."""
    if names == [str(number) for number in range(len(names))]:
        return False
    stops = [name for name in names if re.fullmatch(r".*\w\.", name, re.DOTALL)]
    if 2 * len(stops) < len(names):  # "Ticket no." among others that have no full stop
        stops = [name for name in stops if len(name.split()) > 3]
    return bool(stops) or any(
        len(name) > 60 or len(name.split()) > 5 or re.fullmatch(r"-?[\d.,]+|.*\w[?!;]", name, re.DOTALL)
        for name in names
    )


def _rows(
    part: Part, reader: "Iterable[list[str]]", names: Sequence[str], skipped: int, tabs: list[int]
) -> Iterator[SourcedRow]:
    """``tabs``: how many separate columns in each line that the reader took; -1 if another character does."""
    split, width = part.split, len(names)
    begin = _line(reader, skipped) + 1
    tabs.clear()
    for fields in reader:
        place, begin = f"{part.place}:{begin}", _line(reader, skipped) + 1
        if len(tabs) > 1 < width and {*tabs} == {
            width - 1
        }:  # most programs that write tabs put no quotes around fields
            raise UserError(
                f"{place}: a quote makes one row of {len(tabs)} lines that are rows by themselves ({_UNPAIRED})"
            )
        tabs.clear()
        while len(fields) > width and not fields[-1]:
            fields.pop()
        if not any(fields):  # a spreadsheet writes empty rows as separators alone
            yield SourcedRow(place, None)
        elif len(fields) > width:
            yield SourcedRow(place, None, "more fields than the first line names (put quotes around each)", split)
        else:
            mended = ("fewer fields than the first line names: the rest is null",) if len(fields) < width else ()
            row = dict.fromkeys(names) | dict(zip(names, fields, strict=False))
            yield SourcedRow(place, row, split=split, mended=mended)


def _line(reader: "Iterable[list[str]]", skipped: int) -> int:
    return int(reader.line_num) + skipped  # type: ignore[attr-defined]
