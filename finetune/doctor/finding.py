"""What a check has found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]  # fail: the scripts cannot work like this


@dataclass(frozen=True)
class Finding:
    name: str
    status: Status
    found: str
    remedy: str = ""  # where it is not ok
