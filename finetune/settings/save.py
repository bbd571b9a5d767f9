"""The values in force as a YAML file that gives the same again."""

import json
import re
from pathlib import Path

from finetune.errors import UserError
from finetune.records import files
from finetune.settings.config import FileConfig
from finetune.settings.config_file import INHERITED, ORIGIN
from finetune.settings.conflicts import given, without_effect
from finetune.settings.fields import flags_of, key

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NO_TEXT = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # to YAML, in any case


def save(config: FileConfig, path: Path, command: str) -> None:
    """Write every value that has an effect: those that were given, and, by their origin, those that nobody gave.

    UserError (exit 4) if the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder", exit_code=4)
    idle = {name for name, _ in without_effect(config)}
    own, inherited = [], dict[str, list[str]]()
    for field in flags_of(type(config)):
        name, value = field.name, getattr(config, field.name)
        if field.metadata["in_file"] and name not in idle and value is not None:
            line, origin = f"{key(name)}: {scalar(value)}", config.origins[name]
            if given(config, name):
                own.append(f"{line}  # {origin}")
            else:
                inherited.setdefault(origin, []).append(f"  {line}")
    lines = [f"# {command}", *own, f"{INHERITED}:  # nobody gave these; a value above this line or a flag is stronger"]
    for origin, values in inherited.items():
        lines += [f"- {ORIGIN}: {scalar(origin)}", *values]
    files.write_text(path, "\n".join(line.translate(_ONE_LINE) for line in lines) + "\n")


def scalar(value: object) -> str:
    """A text, path, number or bool, or several of them, as YAML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXT:
        return text
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False))


_ONE_LINE = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233), " ")
