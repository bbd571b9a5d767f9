"""What a check has found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]  # fail: the scripts cannot work like this


@dataclass(frozen=True)
class Finding:
    name: str
    status: Status
    found: str
    remedy: str = ""  # where it is not ok
    details: Mapping[str, Any] = field(default_factory=dict)  # the numbers behind it, for programs
