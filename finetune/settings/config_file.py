"""A YAML file as values for the fields of a configuration: flat, or with a section for each of several scripts."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune.errors import UserError, shortened
from finetune.settings.fields import Given, check_value, flag, flags_of
from finetune.settings.yaml_file import Entry

Sections = Mapping[str, type]  # the name of each script's section, and its configuration
_ALIASES = {"test_finetuned": "test"}


def values(path: Path, document: Entry, own: str, sections: Sections) -> dict[str, Given]:
    """The values for the script whose section is ``own``. UserError names the line of what no script knows.

    All sections are checked, those of the other scripts too: one file describes a whole run.
    """
    entries: dict[str, Entry] = document.value
    named = {key: _ALIASES.get(key, key) for key in entries if _ALIASES.get(key, key) in sections}
    if not named:
        return _of_class(path, entries, sections[own], sections)
    for key, entry in entries.items():
        if key not in named:
            raise UserError(f"{path}:{entry.line}: {key!r} stands beside sections (put it into one of them)")
        if list(named.values()).count(named[key]) > 1:
            raise UserError(f"{path}:{entry.line}: the section {named[key]} is given twice")
        if not isinstance(entry.value, dict | None):
            raise UserError(f"{path}:{entry.line}: {key}: not a mapping of names to values")
    found = {named[key]: _of_class(path, entry.value or {}, sections[named[key]]) for key, entry in entries.items()}
    for name, given in found.items():
        for field, value in given.items():
            check_value(sections[name], field, value)
    if own not in found:
        raise UserError(f"{path}: no section {own!r} in it (it has {', '.join(named)})")
    return found[own]


def _of_class(
    path: Path, entries: Mapping[str, Entry], config_class: type, sections: Iterable[str] = ()
) -> dict[str, Given]:
    known = [field.name for field in flags_of(config_class) if field.metadata["in_file"]]
    named = {field.name for field in flags_of(config_class)} - set(known)
    for key, entry in entries.items():
        if key in named:
            raise UserError(
                f"{path}:{entry.line}: {key!r} cannot stand in a file (give {flag(key)} on the command line)"
            )
        if key not in known:
            raise unknown(path, key, entry.line, [*known, *sections])
    return given(path, entries)


def unknown(path: Path, key: str, line: int, known: list[str], why: str = "") -> UserError:
    """What to say of a key that is none of ``known``: the nearest of them, else ``why``."""
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else why
    return UserError(f"{path}:{line}: unknown key {shortened(key)!r}" + (f" ({hint})" if hint else ""))


def given(path: Path, entries: Mapping[str, Entry]) -> dict[str, Given]:
    return {key: Given(_bare(entry.value), f"{path}:{entry.line}: {key}") for key, entry in entries.items()}


def _bare(value: Any) -> Any:
    """Without line numbers: a list or a mapping is refused by whatever takes it."""
    return type(value)() if isinstance(value, (list, dict)) else value
