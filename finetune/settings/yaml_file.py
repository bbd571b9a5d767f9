"""A YAML file as plain values that know their lines. Knows nothing of this project.

Values are read as written: a number stays text, so that ``1e-5``, ``010`` and ``1_000`` mean here
what they mean on a command line; only true, false and null are more than text. Keys may be written with - or _.
"""

from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError, first_line

_MOST_BYTES = 1 << 20
_MOST_VALUES = 10_000
_DEEPEST = 4
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}


class Entry(NamedTuple):
    value: Any  # text, bool, None, a list of entries, or a mapping of names to entries
    line: int  # from 1


def read(path: Path) -> Entry:
    """The mapping that the file holds. UserError, with file and line, if it holds anything else or is not YAML."""
    text = _text(path)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: a megabyte in a second instead of twenty
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=loader)):  # libyaml's compose dies of deep nesting
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST or number > 2 * _MOST_VALUES:
                raise _not_settings(f"{path}:{event.start_mark.line + 1}", deep=depth > _DEEPEST)
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax(path, text, error)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {first_line(error)}") from None
    if node is None:
        raise UserError(f"{path}: the file is empty (write names and values, such as batch_size: 4)")
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}:{node.start_mark.line + 1}: not a mapping of names to values (such as batch_size: 4)")
    return _Reader(path).entry(node, 1)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"{path}: larger than 1 MB: not a file of settings")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text (save the file as UTF-8)") from None


def _syntax(path: Path, text: str, error: Any) -> str:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    line = min(mark.line if mark else 0, max(len(lines) - 1, 0))
    # the tab stands on the line of the mark, or on the one before it
    for number in (line, line - 1):
        written = lines[number] if 0 <= number < len(lines) else ""
        if "\t" in written[: len(written) - len(written.lstrip())] or "\\t" in str(error.problem):
            return f"{path}:{number + 1}: a tab in the indentation (YAML is indented with spaces)"
    return f"{path}:{line + 1}: cannot be read as YAML: {error.problem or first_line(error)}"


def _not_settings(place: str, *, deep: bool) -> UserError:
    why = "nested too deeply" if deep else f"more than {_MOST_VALUES} values"
    return UserError(f"{place}: {why}: not a file of settings")


class _Reader:
    """Counts what it has read: aliases of aliases end here, not when memory does."""

    def __init__(self, path: Path):
        self._path, self._count = path, 0

    def entry(self, node: Any, depth: int) -> Entry:
        import yaml

        self._count += 1
        line = node.start_mark.line + 1
        place = f"{self._path}:{line}"
        deep = depth > _DEEPEST and not isinstance(node, yaml.ScalarNode)
        if self._count > _MOST_VALUES or deep:
            raise _not_settings(place, deep=deep)
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return Entry(self._scalar(node, place), line)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return Entry([self.entry(part, depth + 1) for part in node.value], line)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return Entry(self._mapping(node, depth), line)
        tag = node.tag.replace(_TAG, "!!")
        raise UserError(f"{place}: unsupported YAML tag {tag} (only plain values can be read)")

    def _mapping(self, node: Any, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                raise UserError(f"{self._path}:{line}: a setting's name must be text, not a list or a mapping")
            name = key.value.replace("-", "_")
            if name in entries:
                raise UserError(f"{self._path}:{line}: {name!r} is given twice (first on line {entries[name].line})")
            entries[name] = self.entry(value, depth + 1)._replace(line=line)
        return entries

    def _scalar(self, node: Any, place: str) -> str | bool | None:
        import yaml

        text: str = node.value
        if node.tag == _TAG + "null":
            return None
        if node.tag != _TAG + "bool":
            return text
        try:
            return bool(yaml.SafeLoader.bool_values[text.lower()])
        except KeyError:
            raise UserError(f"{place}: {text[:40]!r} is not true or false") from None
