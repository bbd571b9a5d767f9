"""What is found in rows before any of them is trained on: errors, and counts of what was dropped or repaired."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.terminal import counted

_PLACES = 3  # kept of each finding
_LISTED = 20  # different errors that are printed


@dataclass(frozen=True)
class RowError:
    """A row that cannot be trained on; ``row`` is its beginning as text if it is not a row at all."""

    place: str
    reason: str
    row: Row | str
    remedy: str = ""


def _unused(name: str) -> str:
    return f"the field {shortened(name)} is not used (--ignore, if that is meant)"


@dataclass
class Findings:
    """Errors, and for each thing that was dropped or repaired how often and where first."""

    errors: list[RowError] = field(default_factory=list)
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
    def rejected(self) -> list[Row]:
        """The rows of rejected.jsonl."""
        return [{"place": error.place, "reason": error.reason, "row": error.row} for error in self.errors]

    def drop(self, reason: str, place: str, detail: str = "", remedy: str = "") -> None:
        self.dropped[reason] += 1
        self._remember(reason, place)
        if detail:
            self.details.setdefault(reason, shortened(detail, 200))
        if remedy:
            self.remedies[remedy] = None

    def mend(self, reason: str, place: str) -> None:
        self.mended[reason] += 1
        self._remember(reason, place)

    def note(self, reason: str, place: str, detail: str = "") -> None:
        self.noted[reason] += 1
        self._remember(reason, place)
        if detail:
            self.details.setdefault(reason, shortened(detail, 200))

    def leave(self, name: str, place: str) -> None:
        """Count a field that is not used."""
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

    def error(self, read: int, *, fixable: bool) -> UserError:
        """All errors as one: rows with the same problem share a line that names the first of them."""
        groups = Counter(error.reason for error in self.errors)
        first = {error.reason: error for error in reversed(self.errors)}
        lines = []
        for reason, count in list(groups.items())[:_LISTED]:
            more = f" (and {counted(count - 1, 'more row')})" if count > 1 else ""
            lines.append(f"{first[reason].place}: {reason}{more}")
        remedies = list(dict.fromkeys(error.remedy for error in self.errors if error.remedy))[:1]
        remedies += ["--fix skips them"] if fixable else []
        hint = f" ({'; '.join(remedies)})" if remedies else ""
        if len(groups) == 1:
            return UserError(lines[0] + hint)
        if len(groups) > _LISTED:
            lines.append(f"... and {counted(len(groups) - _LISTED, 'more problem')}")
        head = f"{len(self.errors)} of {read} rows cannot be trained on, and nothing was written{hint}"
        return UserError(head, details=lines)
