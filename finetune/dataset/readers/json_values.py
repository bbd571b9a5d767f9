"""JSON as a stream: lines with a value each, or values one after the other and the parts of long arrays, whatever the lines."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from finetune.dataset.readers.sourced import BlankLines, row_problem
from finetune.errors import UserError, shortened

_CHUNK = 1 << 20  # bytes
_RAW = 10_000  # bytes kept of a line with a problem
_NEAR = 16  # characters: so near to the end of what is read, an error can come from what is not read yet
_BLANKS = re.compile(r"[ \t\n\r]*")


class LineTooLong(UserError):
    """A line is longer than what was to be read at most."""


class Value(NamedTuple):
    number: int  # from 1; of a line, or of a value in its array
    value: Any = None
    problem: str = ""
    text: str = ""  # the beginning of a line with a problem
    mended: tuple[str, ...] = ()
    is_part: bool = False  # of an array
    is_blank: bool = False


class _Twice:
    """Notes the fields that an object has twice."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen = set[str]()
            for name, _ in pairs:
                if name in seen:
                    self.names[name] = None
                seen.add(name)
        return made

    def told(self) -> tuple[str, ...]:
        names, self.names = self.names, {}
        return tuple(f"the last of several fields {shortened(name, 40)!r} in an object taken" for name in names)


def lines(file: BinaryIO, place: str, most: int) -> Iterator[Value]:
    """The value of each line, or its problem. UserError if one is longer than ``most`` bytes."""
    twice, blank = _Twice(), BlankLines(place)
    decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=twice)
    for number, line in enumerate(iter(lambda: file.readline(most), b""), start=1):
        if len(line) == most and not line.endswith(b"\n"):
            raise LineTooLong(
                f"{place}:{number}: a line of more than {most >> 20} MB, which is no row (write one row a line)"
            )
        blank.see(number, is_blank=line.isspace())
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            value = decoder.decode(text) if text else None
            problem = _problem(value, line) if text else ""
        except UnicodeDecodeError:
            text, value, problem = "", None, "not UTF-8 text (save the file as UTF-8)"
        except (ValueError, RecursionError) as error:
            value, problem = None, explained(error, text)
        begin = line[:_RAW].decode(errors="backslashreplace").rstrip() if problem else ""
        yield Value(number, value, problem, begin, twice.told(), is_blank=not problem and not text)


def explained(error: Exception, text: str) -> str:
    """Why a text is not JSON."""
    if isinstance(error, RecursionError):
        return "not JSON that can be read: nested too deeply"
    if "integer string conversion" in str(error):
        return "not JSON that can be read: a number of more than 4,300 digits (write it as text)"
    if re.match(r"\s*[\[{]\s*\[?\{?\s*'", text):
        return f"not JSON, but what Python shows of a value: {error} (write it with json.dumps)"
    return f"not JSON: {error}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value (write null)")


def _problem(value: Any, line: bytes) -> str:
    if b"\\u" in line:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair (\\ud800 to \\udfff without its other half)"
    return row_problem(value) if isinstance(value, dict) else ""


class _Buffer:
    """A window on a text, and the number of its first line."""

    def __init__(self, file: BinaryIO, place: str, most: int):
        self._file, self._place, self.most = file, place, most
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.ended = "", 0, False
        self.line, self._column = 1, 0  # of the first character, from 1 and from 0

    def more(self) -> bool:
        """Read on; False at the end. What lies before ``at`` is forgotten. UserError if one value is too long."""
        if self.ended:
            return False
        if newlines := self.text.count("\n", 0, self.at):
            self.line, self._column = self.line + newlines, self.at - self.text.rfind("\n", 0, self.at) - 1
        else:
            self._column += self.at
        self.text, self.at = self.text[self.at :], 0
        if len(self.text) > self.most:
            raise UserError(
                f"{self._place}:{self.line}: a value of more than {self.most >> 20} MB, which is no row"
                " (write one row a line, as .jsonl)"
            )
        data = self._file.read(max(_CHUNK, len(self.text)))
        try:
            self.text += self._decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            raise UserError(f"{self._place}: not UTF-8 text (save the file as UTF-8)") from None
        self.ended = not data
        return True

    def next_mark(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def wrong(self, error: json.JSONDecodeError | str, where: int | None = None) -> UserError:
        where = self.at if where is None else where
        line = self.line + self.text.count("\n", 0, where)
        newline = self.text.rfind("\n", 0, where)
        column = where - newline if newline >= 0 else self._column + where + 1
        reason = error if isinstance(error, str) else f"{error.msg}: line {line} column {column}"
        return UserError(f"{self._place}:{line}: {explained(ValueError(reason), self.text[self.at : self.at + 40])}")


def values(file: BinaryIO, place: str, most: int, most_part: int) -> Iterator[Value]:
    """Each value of the text, and instead of an array each of its parts.

    UserError if it is not JSON, if a value is longer than ``most`` characters, or a part longer than ``most_part``.
    """
    twice = _Twice()
    decoder = json.JSONDecoder(object_pairs_hook=twice)
    buffer = _Buffer(file, place, most)
    number, whole = 0, 0
    while mark := buffer.next_mark():
        buffer.most = most if mark != "[" else most_part
        if mark != "[":
            whole += 1
            yield Value(whole, _next_value(buffer, decoder), mended=twice.told())
            continue
        buffer.at += 1
        if buffer.next_mark() == "]":
            buffer.at += 1
            continue
        while True:
            if not buffer.next_mark():
                raise buffer.wrong("the array has no end")
            number += 1
            yield Value(number, _next_value(buffer, decoder), mended=twice.told(), is_part=True)
            mark = buffer.next_mark()
            if mark not in (",", "]"):
                raise buffer.wrong("Expecting ',' delimiter" if mark else "the array has no end")
            buffer.at += 1
            if mark == "]":
                break


def _next_value(buffer: _Buffer, decoder: json.JSONDecoder) -> Any:
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text, buffer.at)
            if end < len(buffer.text) or not buffer.more():  # a number may go on
                buffer.at = end
                return value
        except json.JSONDecodeError as error:
            is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(buffer.text) - _NEAR
            if not is_cut or not buffer.more():
                raise buffer.wrong(error, error.pos) from None
        except (ValueError, RecursionError) as error:
            raise buffer.wrong("nested too deeply" if isinstance(error, RecursionError) else str(error)) from None
