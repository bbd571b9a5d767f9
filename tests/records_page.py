"""docs/records.md, every key of the JSON files, made of the records' fields and their comments.

Renewed by python tests/records_page.py; compared by tests/records/test_page.py.
"""

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune.records.benchmark import BenchmarkRecord  # noqa: E402
from finetune.records.blind import BlindRecord  # noqa: E402
from finetune.records.dataset import DatasetRecord  # noqa: E402
from finetune.records.evaluation import EvaluationRecord  # noqa: E402
from finetune.records.export import ExportRecord  # noqa: E402
from finetune.records.record import Record  # noqa: E402
from finetune.records.run import RunRecord  # noqa: E402

PAGE = ROOT / "docs" / "records.md"
RECORDS: dict[str, type[Record]] = {
    "data/dataset.json": DatasetRecord,
    "checkpoints/run.json": RunRecord,
    "results/evaluation.json": EvaluationRecord,
    "results/blind.json": BlindRecord,
    "results/benchmark.json": BenchmarkRecord,
    "exported/export.json": ExportRecord,
}
HEAD = """# The keys of the JSON files

Every key, with its type and meaning. A file of an older format is read too; one of a newer format is refused. The files are in
UTF-8. A program that reads these files should ignore keys that it does not know.
"""
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", object: "any", Any: "any"}


def comments(kind: type) -> dict[str, str]:
    """Field -> the comment beside it, or on the lines above it."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    (body,) = ast.parse("\n".join(lines)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            above = []
            while lines[first - 1].lstrip().startswith("#"):
                first -= 1
                above.insert(0, lines[first])
            beside = [lines[last - 1][node.end_col_offset :]]
            found[node.target.id] = " ".join(line.strip().lstrip("# ") for line in [*above, *beside]).strip()
    return found


def shown(kind: Any) -> str:
    """A field's type in words; a record or a part of one links to its own table."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_dataclass(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join([shown(one) for one in inner if one is not type(None)] + ["null"] * (type(None) in inner))
    if origin is Literal:
        return " or ".join(f'"{one}"' for one in inner)
    if origin in (dict, Mapping):
        return f"object of {shown(inner[1])}"
    if origin in (list, tuple, Sequence):
        return f"list of {shown(inner[0])}" + (f", {len(inner)}" if origin is tuple and Ellipsis not in inner else "")
    return "text"


def parts(kind: Any) -> list[type]:
    """The dataclasses that a type names."""
    if is_dataclass(kind):
        return [kind]
    return [part for one in get_args(kind) for part in parts(one)]


def table(kind: type) -> str:
    rows = ["| key | type | meaning |", "|---|---|---|"]
    if issubclass(kind, Record):
        rows.append(f"| `format` | whole number | {kind.FORMAT} |")
    said, hints = comments(kind), get_type_hints(kind)
    rows += [f"| `{field.name}` | {shown(hints[field.name])} | {said[field.name]} |" for field in fields(kind)]
    return "\n".join(row.replace("<", "&lt;") for row in rows) + "\n"


def tables() -> dict[type, str]:
    """Each record and each part of one, once, with its heading; parts follow the record that names them first."""
    found: dict[type, str] = {}
    for name, record in RECORDS.items():
        waiting: list[type] = [record]
        while waiting:
            kind = waiting.pop(0)
            if kind in found or (kind in RECORDS.values() and kind is not record):
                continue
            about = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
            heading = f"### {kind.__name__}\n\n{about}"
            if kind is record:
                heading = f"## {kind.__name__}\n\n`{name}`, written by `{record.MADE_BY}`. {about}"
            found[kind] = f"{heading}\n\n{table(kind)}"
            waiting += [part for hint in get_type_hints(kind).values() for part in parts(hint)]
    return found


def page() -> str:
    return "\n".join([HEAD, *tables().values()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
