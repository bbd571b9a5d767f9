"""Clauses of other dialects that SQLite has in part: limits, windows, what is written and deleted."""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating.calls import Node
from finetune.tasks.sql.judging.translating.tables import Untranslated


def delete(node: exp.Delete, dialect: str) -> Node:
    if node.args.get("using") or node.args.get("tables"):
        raise Untranslated("DELETE of joined tables")
    return node


def update(node: exp.Update, dialect: str) -> Node:
    if isinstance(node.this, exp.Table) and node.this.args.get("joins"):
        raise Untranslated("UPDATE of joined tables")
    return node


def on_conflict(node: exp.OnConflict, dialect: str) -> Node:
    if node.args.get("duplicate") or node.args.get("constraint"):
        raise Untranslated("ON DUPLICATE KEY and ON CONSTRAINT have no equivalent in SQLite")
    keys = node.args.get("conflict_keys") or []
    node.set("conflict_keys", [key.this if isinstance(key, exp.Ordered) else key for key in keys])
    return node


def limit(node: exp.Limit | exp.Fetch, dialect: str) -> Node:
    options = node.args.get("limit_options")
    if options is not None and any(options.args.values()):
        text = options.sql().upper()
        if "TIES" in text or "PERCENT" in text:
            raise Untranslated(f"{text.strip()} has no equivalent in SQLite")
    return node


def window_spec(node: exp.WindowSpec, dialect: str) -> Node:
    if any(isinstance(node.args.get(name), exp.Interval) for name in ("start", "end")):
        raise Untranslated("a window of days or times")
    return node


HANDLERS: dict[str, Callable[[Any, str], Node]] = {
    "delete": delete, "update": update, "onconflict": on_conflict, "limit": limit, "fetch": limit, "windowspec": window_spec,
}  # fmt: skip
