"""A YAML file as values for the fields of a configuration: flat, or with a section for each of several scripts.

Values below ``inherited`` are those that nobody chose, which ``--save-config`` writes by their origin: weaker than all others
of the file, and never refused for having no effect.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from finetune.errors import UserError, closest, shortened
from finetune.settings.fields import Given, Layer, check_value, flag, flags_of, key
from finetune.settings.yaml_file import Entry

Sections = Mapping[str, type]  # the name of each script's section, and its configuration
INHERITED, ORIGIN = "inherited", "origin"
_ALIASES = {"test_finetuned": "test"}


def layers(path: Path, document: Entry, own: str, sections: Sections) -> list[Layer]:
    """The layers for the script whose section is ``own``, strongest first. UserError names the line of what no script knows.

    All sections are checked, those of the other scripts too: one file describes a whole run.
    """
    entries: dict[str, Entry] = document.value
    named = {name: _ALIASES.get(name, name) for name in entries if _ALIASES.get(name, name) in sections}
    if not named:
        return _of_class(path, entries, sections[own], sections)
    for name, entry in entries.items():
        if name not in named:
            raise UserError(f"{path}:{entry.line}: {name!r} stands beside sections (move it into one of them)")
        if list(named.values()).count(named[name]) > 1:
            raise UserError(f"{path}:{entry.line}: the section {named[name]} is given twice")
        if not isinstance(entry.value, dict | None):
            raise UserError(f"{path}:{entry.line}: {name}: not a mapping of names to values")
    found = {named[name]: _of_class(path, entry.value or {}, sections[named[name]]) for name, entry in entries.items()}
    for section, of_section in found.items():
        for _, values in of_section:
            for field, value in values.items():
                check_value(sections[section], field, value)
    if own not in found:
        raise UserError(f"{path}: no section {own!r} (found: {', '.join(named)})")
    return found[own]


def _of_class(
    path: Path, entries: Mapping[str, Entry], config_class: type, sections: Sections = MappingProxyType({})
) -> list[Layer]:
    inherited = entries.get(INHERITED)
    own = {name: entry for name, entry in entries.items() if name != INHERITED}
    found: list[Layer] = [(str(path), _values(path, own, config_class, sections))]
    if inherited is None or inherited.value is None:
        return found
    place = f"{path}:{inherited.line}: {INHERITED}"
    for part in inherited.value if isinstance(inherited.value, list) else [inherited]:
        values = dict(part.value) if isinstance(part.value, dict) else {}
        origin = values.pop(ORIGIN, None)
        if part is inherited or origin is None or not isinstance(origin.value, str):
            raise UserError(f"{place}: not a list of mappings with an {ORIGIN} each (as --save-config writes it)")
        found.append((origin.value, _values(path, values, config_class)))
    return found


def _values(
    path: Path, entries: Mapping[str, Entry], config_class: type, sections: Sections = MappingProxyType({})
) -> dict[str, Given]:
    fields = {key(field.name): field for field in flags_of(config_class)}
    known = [name for name, field in fields.items() if field.metadata["in_file"]]
    for name, entry in entries.items():
        if name in fields and name not in known:
            raise UserError(
                f"{path}:{entry.line}: {name!r} cannot stand in a file (give {flag(name)} on the command line)"
            )
        if name not in known:
            raise _of_another(path, name, entry.line, sections) or unknown(path, name, entry.line, [*known, *sections])
    # without line numbers: a list or a mapping is refused by whatever takes it
    bare = {
        name: type(value)() if isinstance(value := entry.value, list | dict) else value
        for name, entry in entries.items()
    }
    for name, entry in entries.items():
        if fields[name].metadata["several"] and isinstance(entry.value, list):
            bare[name] = [
                type(value)() if isinstance(value := one.value, list | dict) else value for one in entry.value
            ]
    return {fields[name].name: Given(bare[name], f"{path}:{entry.line}: {name}") for name, entry in entries.items()}


def _of_another(path: Path, name: str, line: int, sections: Sections) -> UserError | None:
    """What to say of a key that is one of another script; None if it is none of any."""
    owners = [
        section
        for section, config_class in sections.items()
        if any(key(field.name) == name and field.metadata["in_file"] for field in flags_of(config_class))
    ]
    if not owners:
        return None
    others = " or ".join(f"{one}:" for one in owners)
    what = f"{shortened(name)!r} is a setting of another script"
    return UserError(f"{path}:{line}: {what} (for several scripts in one file: sections, this one in {others})")


def unknown(path: Path, name: str, line: int, known: list[str], why: str = "") -> UserError:
    """What to say of a key that is none of ``known``: the nearest of them, else ``why``."""
    near = closest(name, known)
    hint = f"did you mean {near}?" if near else why
    return UserError(f"{path}:{line}: unknown key {shortened(name)!r}" + (f" ({hint})" if hint else ""))
