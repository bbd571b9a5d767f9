"""The values in force as a YAML file that gives the same again."""

import json
import re
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.records import files
from finetune.settings.config import FileConfig
from finetune.settings.conflicts import without_effect
from finetune.settings.fields import flags_of

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NO_TEXT = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # to YAML, in any case


def save(config: FileConfig, path: Path, command: str) -> None:
    """Write every value that has an effect, and where it came from. UserError (exit 4) where that cannot be written."""
    if path.is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder", exit_code=4)
    lines = [f"# {command}".translate(_ONE_LINE)]
    idle = {name for name, _ in without_effect(config)}
    for field in flags_of(type(config)):
        value = getattr(config, field.name)
        if field.metadata["in_file"] and field.name not in idle and value is not None:
            lines.append(f"{field.name}: {scalar(value)}  # {config.origins[field.name]}".translate(_ONE_LINE))
    files.write_text(path, "\n".join(lines) + "\n")


def scalar(value: Any) -> str:
    """A text, path, number or bool as YAML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXT:
        return text
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False))


_ONE_LINE = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233), " ")
