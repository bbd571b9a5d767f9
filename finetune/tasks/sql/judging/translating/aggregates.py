"""Aggregates of other dialects as calls of ``judging/functions/aggregates.py``."""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating.calls import Node, call, text_literal, whole_literal
from finetune.tasks.sql.judging.translating.tables import Untranslated, kind_of


def average(node: exp.Avg, dialect: str) -> Node:
    return call("whole_average", node.this, kind=kind_of(node.this)) if dialect == "tsql" else node


def count(node: exp.Count, dialect: str) -> Node:
    if isinstance(node.this, exp.Distinct) and len(node.this.expressions) > 1:
        raise Untranslated("COUNT(DISTINCT ...) of several columns")
    return node


def spread(node: Node, dialect: str) -> Node:
    population = node.key.endswith("pop") or (dialect == "mysql" and node.key in ("stddev", "variance"))
    root = node.key.startswith("stddev")
    return aggregate("spread", node, node.this, whole_literal(not population), whole_literal(root), kind="real")


def aggregate(name: str, node: Node, *given: Node, kind: str) -> Node:
    if isinstance(node.parent, exp.Window) or any(isinstance(one, exp.Distinct) for one in given):
        raise Untranslated(f"{name} over a window or DISTINCT")
    return call(name, *given, kind=kind)


def joined(node: exp.GroupConcat, dialect: str) -> Node:
    value, distinct, keys = _keys(node.this)
    separator = node.args.get("separator") or text_literal("," if dialect != "postgres" else "")
    return aggregate("joined", node, value, separator, whole_literal(distinct), *keys, kind="text")


def array_agg(node: exp.ArrayAgg, dialect: str) -> Node:
    value, distinct, keys = _keys(node.this)
    return aggregate("listed", node, value, whole_literal(distinct), *keys, kind="")


def _keys(node: Node) -> tuple[Node, bool, list[Node]]:
    keys: list[Node] = []
    if isinstance(node, exp.Order):
        for term in node.expressions:
            nulls = "first" if term.args.get("nulls_first") else "last"
            keys += [text_literal(f"{'desc' if term.args.get('desc') else 'asc'} {nulls}"), term.this]
        node = node.this
    if isinstance(node, exp.Distinct):
        return node.expressions[0], True, keys
    return node, False, keys


def within_group(node: exp.WithinGroup, dialect: str) -> Node:
    """The percentile was rewritten already; its values are in the ORDER BY behind it."""
    inner, order = node.this, node.expression
    if (
        isinstance(inner, exp.Anonymous)
        and inner.this in ("ft_percentile", "ft_discrete")
        and len(order.expressions) == 1
    ):
        term = order.expressions[0]
        fraction = inner.expressions[-1]
        if not term.args.get("desc"):
            return aggregate(inner.this.removeprefix("ft_"), node, term.this, fraction, kind="real")
    if isinstance(inner, exp.Anonymous) and inner.this == "ft_joined" and len(inner.expressions) == 3:
        _, _, keys = _keys(exp.Order(this=exp.null(), expressions=order.expressions))
        return aggregate("joined", node, *inner.expressions, *keys, kind="text")
    raise Untranslated("WITHIN GROUP has no equivalent in SQLite")


def percentile(name: str, value: Node, fraction: Node | None) -> Node:
    return call(name, *([value, fraction] if fraction is not None else [value]), kind="real")


HANDLERS: dict[str, Callable[[Any, str], Node]] = {
    "avg": average, "count": count, "stddev": spread, "stddevsamp": spread, "stddevpop": spread, "variance": spread,
    "variancepop": spread, "groupconcat": joined, "arrayagg": array_agg, "withingroup": within_group,
    "percentilecont": lambda node, dialect: percentile("percentile", node.this, node.expression),
    "percentiledisc": lambda node, dialect: percentile("discrete", node.this, node.expression),
    "median": lambda node, dialect: percentile("percentile", node.this, exp.Literal.number("0.5")),
}  # fmt: skip
