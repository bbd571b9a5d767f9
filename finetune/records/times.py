"""How long the parts of a piece of work took, to be told and recorded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from finetune import signals
from finetune.terminal import format_seconds

_LEAST = 1.0  # seconds of a part that is named


class Times:
    """Seconds by part, in ``parts``, of the work that ``began`` at a time of time.monotonic() (default: with the script)."""

    def __init__(self, parts: dict[str, float] | None = None, began: float | None = None):
        self.parts = {} if parts is None else parts
        self._began = signals.began() if began is None else began

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count the time of the ``with`` block as one of ``part``."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = self.parts.get(part, 0.0) + time.monotonic() - begun

    def rest(self, part: str) -> None:
        """Count all the time that no part has yet as one of ``part``."""
        self.parts[part] = self.parts.get(part, 0.0) + self.total - sum(self.parts.values())

    def __str__(self) -> str:
        return in_parts(self.total, self.parts)


def in_parts(total: float, parts: dict[str, float]) -> str:
    """A time and its parts of a second or more, the longest first: "2 min 3 s (answers 80 s, losses 40 s, other 3 s)"."""
    other = total - sum(parts.values())
    named = [(seconds, part) for part, seconds in {**parts, "other": other}.items() if seconds >= _LEAST]
    named.sort(key=lambda one: (one[1] == "other", -one[0]))
    text = ", ".join(f"{part} {format_seconds(seconds)}" for seconds, part in named)
    return format_seconds(total) + (f" ({text})" if len(named) > 1 else "")
