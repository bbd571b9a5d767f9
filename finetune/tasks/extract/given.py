"""The JSON schema of a file for --schema."""

import json
from pathlib import Path

from finetune.errors import UserError
from finetune.tasks.extract.schema import Node, UnknownSchema, root_of
from finetune.tasks.values import strictly

_LARGEST = 1_000_000  # bytes


def given_schema(path: Path) -> Node:
    """The node of the schema in a file. UserError if it cannot be read, is none, or has a feature that is not known."""
    place = f"--schema {path}"
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise UserError(f"{place}: {what} (give a file with a JSON schema)")
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{place}: more than {_LARGEST // 1000:,} kB (give a file with a JSON schema)")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{place}: not UTF-8 text (give a file with a JSON schema)") from None
    except OSError as error:
        raise UserError(f"{place}: cannot be read: {error.strerror}") from None
    try:
        return root_of(strictly(text))
    except UnknownSchema as error:
        raise UserError(f"{place}: {error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{place}:{error.lineno}: not JSON: {error.msg} (give a file with a JSON schema)") from None
    except ValueError as error:
        raise UserError(f"{place}: not JSON: {error} (give a file with a JSON schema)") from None
