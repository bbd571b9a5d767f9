"""What becomes of a cell of the matrix: one word, and for a hole its reason."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import Stopped, UserError

# the words of a cell that are as good as they can be for a kind of model; any other word needs a reason
GOOD = {"ok", "fast", "batches", "on"}
# right, only slower or with more memory
SLOWER = {"full", "slower", "one by one", "some", "off", "told", "close"}


@dataclass(frozen=True)
class Cell:
    """``word``: one of GOOD or SLOWER; refused (one line, exit code 2 or 3), crash (anything else), wrong (something else is
    computed), none (there is nothing of it here)."""

    word: str
    why: str = ""


class CannotBuildError(Exception):
    """There is no model of this kind; the text is the reason."""


def wrong(why: str) -> Cell:
    return Cell("wrong", why)


def cell_of(measure: Callable[..., Cell], *arguments: Any) -> Cell:
    """What ``measure`` returns; its exception as a cell."""
    try:
        return measure(*arguments)
    except UserError as error:
        return Cell("refused", cleaned(str(error)))
    except (Stopped, KeyboardInterrupt, SystemExit) as error:
        return Cell("crash", f"{type(error).__name__}: {cleaned(str(error))}")
    except Exception as error:  # noqa: BLE001  whatever happens is a cell
        return Cell("crash", f"{type(error).__name__}: {cleaned(str(error))}")


def cleaned(text: str) -> str:
    """A message without what differs from run to run: paths, and all but the first line."""
    line = " ".join(text.strip().split("\n")[0].split())
    line = re.sub(r"/[^ :;,()]+/([\w.,-]+)", r"\1", line)
    return re.sub(r"^(model|new|saved): ", "", line)[:240]


def differ(name: str, found: Any, wanted: Any, tolerance: float) -> Cell | None:
    """A wrong cell if two arrays, or numbers, differ by more than ``tolerance`` of the larger one's size."""
    from finetune.backends.mlx.runtime import mx

    found, wanted = mx.array(found), mx.array(wanted)
    if found.shape != wanted.shape:
        return wrong(f"{name}: shape {found.shape}, not {wanted.shape}")
    size = max(float(mx.abs(wanted).max()), 1e-12)
    off = float(mx.abs(found - wanted).max()) / size
    return wrong(f"{name}: off by {off:.0e}") if not off <= tolerance else None


def append(path: Path, **line: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
