"""What a check has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "warn", "fail"]  # fail: the scripts cannot work like this


@dataclass(frozen=True)
class Finding:
    name: str
    status: Status
    found: str
    remedy: str = ""  # empty if ok
    details: Mapping[str, object] = field(default_factory=dict)  # the numbers behind it, for programs
    more: Sequence[str] = ()  # lines below ``found``
