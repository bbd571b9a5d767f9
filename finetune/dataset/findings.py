"""What is found in rows before any of them is trained on: errors, and counts of what was dropped or repaired."""

import json
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from finetune.dataset.temporary import told
from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.terminal import counted

_PLACES = 3  # kept of each finding
_LISTED = 20  # different errors that are printed
_KINDS = 1000  # different reasons, or names of fields, that are counted each by itself
_EACH = 3  # different reasons that are told each by itself
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_NAME = 100  # characters of a field's name


@dataclass(frozen=True)
class RowError:
    """A row that cannot be trained on; ``row`` is its beginning as text if it is not a row at all."""

    place: str
    reason: str
    row: Row | str
    remedy: str = ""


class Errors(Collection[Row]):
    """Rows that cannot be trained on: how many for each reason, and where first. The rows themselves are on the disk.

    Iterate for the rows of rejected.jsonl. The temporary file has no name, so nothing is left however the process ends.
    """

    def __init__(self) -> None:
        self.groups: Counter[str] = Counter()
        self.first: dict[str, str] = {}  # reason -> the first place
        self.others: dict[str, list[str]] = {}  # reason -> a few further places
        self.remedy = ""  # the first that there is
        self._count = 0
        self._file: IO[bytes] | None = None

    def append(self, error: RowError) -> None:
        self._count += 1
        reason = _bounded(error.reason, self.groups, "further reasons")
        self.groups[reason] += 1
        if self.first.setdefault(reason, error.place) != error.place:
            others = self.others.setdefault(reason, [])
            others += [error.place] if len(others) < _PLACES - 1 else []
        self.remedy = self.remedy or error.remedy
        line = json.dumps({"place": error.place, "reason": error.reason, "row": error.row}) + "\n"
        with told():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.write(line.encode())

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: object) -> bool:
        return any(row == one for one in self)

    def __iter__(self) -> Iterator[Row]:
        if self._file is None:
            return
        with told():
            self._file.flush()
            at = 0
            while True:
                self._file.seek(at)
                lines = self._file.readlines(1 << 20)
                at = self._file.tell()
                if not lines:
                    break
                yield from map(json.loads, lines)
            self._file.seek(0, 2)


def _bounded(name: str, counts: Counter[str], others: str) -> str:
    """The name to count under: memory, and dataset.json, stay small whatever a source has."""
    return name if name in counts or len(counts) < _KINDS else others


def _unused(name: str) -> str:
    return f"the field {shortened(name)} is not used (--ignore, if that is meant)"


@dataclass
class Findings:
    """Errors, and for each thing that was dropped or repaired how often and where first."""

    errors: Errors = field(default_factory=Errors)
    dropped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)  # what is to be known of rows that were kept as they are
    unused: Counter[str] = field(default_factory=Counter)  # fields that are neither learned nor used for scoring
    places: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)  # reason -> what was said about the first such row
    remedies: dict[str, None] = field(default_factory=dict)  # what would keep rows that were dropped
    blank_lines: int = 0

    @property
    def handled(self) -> Mapping[str, int]:
        """What --strict refuses: everything dropped, repaired or not used, except rows that were not sampled."""
        changed = {reason: count for reason, count in (self.dropped + self.mended).items() if reason in self.places}
        return changed | {_unused(name): count for name, count in self.unused.items()}

    @property
    def rejected(self) -> Errors:
        """The rows of rejected.jsonl."""
        return self.errors

    def drop(self, reason: str, place: str, detail: str = "", remedy: str = "") -> None:
        reason = _bounded(reason, self.dropped, "further reasons")
        self.dropped[reason] += 1
        self._remember(reason, place)
        if detail:
            self.details.setdefault(reason, shortened(detail, 200))
        if remedy and len(self.remedies) < _PLACES:
            self.remedies[remedy] = None

    def mend(self, reason: str, place: str) -> None:
        reason = _bounded(reason, self.mended, "further repairs")
        self.mended[reason] += 1
        self._remember(reason, place)

    def note(self, reason: str, place: str, detail: str = "") -> None:
        reason = _bounded(reason, self.noted, "further remarks")
        self.noted[reason] += 1
        self._remember(reason, place)
        if detail:
            self.details.setdefault(reason, shortened(detail, 200))

    def leave(self, name: str, place: str) -> None:
        """Count a field that is not used."""
        name = _bounded(shortened(name, _NAME), self.unused, "further fields")
        self.unused[name] += 1
        self._remember(_unused(name), place)

    def first_places_of(self, name: str) -> list[str]:
        """Where a field that is not used was found first."""
        return self.places[_unused(name)]

    def _remember(self, reason: str, place: str) -> None:
        places = self.places.setdefault(reason, [])
        if len(places) < _PLACES:
            places.append(place)

    def explained(self, most: int) -> str:
        """The most frequent reasons for which rows were dropped, each with a place, and what would keep them."""
        reasons = []
        for reason, count in self.dropped.most_common(most):
            first = f" (for example {self.places[reason][0]})" if reason in self.places else ""
            detail = f": {self.details[reason]}" if reason in self.details else ""
            reasons.append(f"{count} x {reason}{detail}{first}")
        return "; ".join(reasons) + "".join(f" ({remedy})" for remedy in self.remedies)

    def error(self, read: int, *, fixable: bool, remedy: str = "") -> UserError:
        """All errors as one: rows with the same problem share a line with the first of them. ``remedy`` replaces theirs."""
        groups = _alike(self.errors.groups)
        lines = []
        for reason, alike in list(groups.items())[:_LISTED]:
            count = sum(self.errors.groups[one] for one in alike)
            lines.append(f"{self.errors.first[reason]}: {reason}{self._more(count - 1, alike)}")
        remedies = [*filter(None, [remedy or self.errors.remedy]), *(["--fix skips them"] if fixable else [])]
        hint = f" ({'; '.join(remedies)})" if remedies else ""
        if len(groups) == 1:
            return UserError(lines[0] + hint)
        if len(groups) > _LISTED:
            lines.append(f"... and {counted(len(groups) - _LISTED, 'more problem')}")
        head = f"{len(self.errors)} of {read} rows cannot be trained on, and nothing was written{hint}"
        return UserError(head, details=lines)

    def _more(self, count: int, alike: Sequence[str]) -> str:
        """How many further rows have a problem, and where two of them are."""
        if not count:
            return ""
        first, *rest = alike
        others = [*self.errors.others.get(first, ()), *(self.errors.first[one] for one in rest)][: _PLACES - 1]
        file = self.errors.first[first].rpartition(":")[0]
        shown = ", ".join(place.removeprefix(file) if file else place for place in others)
        like = " like it" if rest else ""
        return (
            f" (and {counted(count, 'more row')}{like}{f', such as {shown}' if count > len(others) else f': {shown}'})"
        )


def _alike(groups: Mapping[str, int]) -> dict[str, list[str]]:
    """The reasons by the first one that says the same: if there are many, those alike but for values and numbers are one."""
    found: dict[str, list[str]] = {}
    keys: dict[str, str] = {}
    for reason in groups:
        key = _VALUE.sub("*", reason) if len(groups) > _EACH else reason
        found.setdefault(keys.setdefault(key, reason), []).append(reason)
    return found
