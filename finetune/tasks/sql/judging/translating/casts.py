"""Casts of other dialects: which round, cut, or refuse, where SQLite takes what it can read of a text."""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating import times
from finetune.tasks.sql.judging.translating.calls import Node, call, typed, whole_literal
from finetune.tasks.sql.judging.translating.tables import Untranslated, kind_of

ONLY_TYPE = "only_type"  # marks a cast that was not written


def cast(node: exp.Cast | exp.TryCast, dialect: str) -> Node:
    if node.meta.get(ONLY_TYPE):
        return node.this
    if isinstance(node, exp.TryCast) and dialect != "postgres" and dialect != "mysql":
        raise Untranslated("TRY_CAST has no equivalent in SQLite")
    return as_type(node.this, node.to, dialect)


def convert(node: exp.Convert, dialect: str) -> Node:
    style = node.args.get("style")
    if style is not None and style.name not in ("120", "121", "23", "20", "21"):
        raise Untranslated(f"CONVERT with style {style.name}")
    if style is not None and style.name == "23":
        return as_type(times.day(node.expression), node.this, dialect)
    return as_type(node.expression, node.this, dialect)


def as_type(value: Node, to: exp.DataType, dialect: str) -> Node:
    kind, own = kind_of(to), kind_of(value)
    sizes = [size.this for size in to.expressions if isinstance(size, exp.DataTypeParam)]
    if kind == "text":
        value = call("bool_text", value) if own == "bool" else value
        if sizes and sizes[0].name.isdigit():
            return call("left", value, sizes[0], kind="text")
        return exp.Cast(this=value, to=exp.DataType(this=exp.DType.TEXT))
    if kind == "int":
        return value if own == "int" else call("int", value, whole_literal(dialect != "tsql"), kind="int")
    if kind == "real":
        scaled = to.this == exp.DType.DECIMAL and len(sizes) > 1
        return call("numeric", value, sizes[1], kind="real") if scaled else call("real", value, kind="real")
    if kind == "date":
        return value if own == "date" else times.day(value)
    if kind == "moment":
        return value if own == "moment" else times.moment(value)
    if kind == "bool":
        return value if own == "bool" else call("bool", value, kind="bool")
    if kind == "interval":
        return typed(value, "interval") if own == "interval" else times.interval_seconds(exp.Interval(this=value))
    if kind == "json" or to.this == exp.DType.USERDEFINED:
        return value
    raise Untranslated(f"a cast to {to.sql(dialect)}")


HANDLERS: dict[str, Callable[[Any, str], Node]] = {"cast": cast, "trycast": cast, "convert": convert}
