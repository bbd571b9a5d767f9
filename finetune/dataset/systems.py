"""--system: the system message of rows that have none; and what the chat template writes there if nobody does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from finetune.errors import UserError, path_of, shortened
from finetune.models.conversation import Message
from finetune.models.encoder import ChatEncoder
from finetune.terminal import counted

ADDED = "--system added to rows without a system message"
KEPT = "rows with a system message of their own keep it"
_LARGEST = 100_000  # bytes of a file
_NAMES = (".txt", ".md", ".prompt", ".jinja", ".j2")  # of files; no text ends so


@cache
def given(value: str | None) -> str | None:
    """The text of --system, which may be in a file. UserError if it cannot be read, or has no text."""
    if value is None:
        return None
    if not value.strip():
        raise UserError("--system: the text is empty (omit it, or give a text)")
    if len(value) > 1000 or "\n" in value or not _is_file(value):
        return value.strip()
    path = path_of(value, "--system")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise UserError(
            f"--system {value}: cannot be read: {error.strerror} (give the text, or another file)"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"--system {value}: not UTF-8 text (save the file as UTF-8)") from None
    if len(content) > _LARGEST:
        raise UserError(f"--system {value}: larger than {_LARGEST // 1000} kB, which is in every row (shorten it)")
    if not text:
        raise UserError(f"--system {value}: the file has no text (write the message into it)")
    return text.replace("\r\n", "\n")


def _is_file(value: str) -> bool:
    """Whether a value names a file: there is one, or it has such a name and no blanks."""
    try:
        if Path(value).expanduser().exists():
            return True
    except (OSError, ValueError, RuntimeError):
        return False
    return value.lower().endswith(_NAMES) and len(value.split()) == 1


def has_one(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "system" for message in messages)


def added(messages: list[Message], text: str | None, told: Counter[str]) -> list[Message]:
    """The messages after the system message ``text``, if they have none; ``told`` counts what became of rows."""
    if text is None:
        return messages
    if has_one(messages):
        told[KEPT] += 1
        return messages
    told[ADDED] += 1
    return [{"role": "system", "content": text}, *messages]


def of_template(encoder: ChatEncoder, plain: int, with_tools: int) -> Iterator[str]:
    """What the chat template writes into so many rows that have no system message, without and with tools."""
    rows = plain + (with_tools if with_tools and encoder.default_system(tools=True) else 0)
    if rows and (text := encoder.default_system()):
        what = (
            f"{counted(rows, 'row')} without a system message, where the chat template of {encoder.name} writes its own"
        )
        yield f"{what}: {shortened(text, 100)!r} (--system TEXT gives another)"
