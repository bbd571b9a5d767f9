"""Functions of texts and numbers of other dialects as calls of ``judging/functions/texts.py``."""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating.calls import Node, call, text_literal, typed, whole_literal
from finetune.tasks.sql.judging.translating.tables import INSENSITIVE, Untranslated, Wrong, kind_of

_ZERO_FAILS = frozenset("postgres tsql oracle snowflake bigquery".split())  # dialects that do not divide by zero


def concat(node: exp.Concat, dialect: str) -> Node:
    given = [_shown(one, dialect) for one in node.expressions]
    if node.args.get("coalesce"):
        return call("concat", *given, kind="text")
    made = given[0]
    for one in given[1:]:
        made = exp.DPipe(this=made, expression=one)
    return typed(made, "text")


def _shown(node: Node, dialect: str) -> Node:
    """A value within CONCAT: PostgreSQL writes t and f there."""
    if kind_of(node) != "bool":
        return node
    word = call("bool_text", node, kind="text")
    return call("left", word, whole_literal(1), kind="text") if dialect == "postgres" else word


def divisor(node: Node, dialect: str) -> Node:
    """What is divided by: a statement that divides by zero fails, where SQLite goes on with NULL."""
    inner = node.unnest()
    is_safe = isinstance(inner, exp.Nullif) or (isinstance(inner, exp.Literal) and inner.name.strip("0.") != "")
    return node if is_safe or dialect not in _ZERO_FAILS else call("divisor", node, kind=kind_of(node))


def substring(node: exp.Substring, dialect: str) -> Node:
    start = node.args.get("start")
    if isinstance(start, exp.Literal) and start.is_string:
        if dialect != "postgres" or node.args.get("length"):
            raise Untranslated("SUBSTRING by a pattern")
        return call("regexp_substr", node.this, start, kind="text")
    if dialect in ("postgres", "tsql") and (isinstance(start, exp.Neg) or (start is not None and start.name == "0")):
        raise Untranslated("SUBSTRING from before the beginning")
    return node


def extreme(node: exp.Greatest | exp.Least, dialect: str) -> Node:
    given = [node.this, *node.expressions]
    name = node.key if node.args.get("ignore_nulls") else f"{node.key}_all"
    return call(name, *given, kind=kind_of(node.this))


def rounded(node: exp.Round, dialect: str) -> Node:
    if node.args.get("truncate"):
        raise Untranslated("ROUND that truncates")
    return call("numeric", node.this, node.args.get("decimals") or whole_literal(0), kind="real")


def truncate(node: exp.Trunc, dialect: str) -> Node:
    if kind_of(node.this) in ("date", "moment"):
        raise Untranslated("TRUNC of a date")
    return call("truncate", node.this, node.args.get("decimals") or whole_literal(0), kind="real")


def pad(node: exp.Pad, dialect: str) -> Node:
    fill = node.args.get("fill_pattern") or text_literal(" ")
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression, fill, kind="text")


def trim(node: exp.Trim, dialect: str) -> Node:
    where = str(node.args.get("position") or "BOTH").upper()
    return call("trim", node.this, node.expression or text_literal(" "), text_literal(where), kind="text")


def length(node: exp.Length, dialect: str) -> Node:
    if node.args.get("binary"):
        return call("bytes", node.this, kind="int")
    if dialect == "tsql":
        return call("length_trimmed", node.this, kind="int")
    return typed(exp.Anonymous(this="length", expressions=[node.this]), "int")


def position(node: exp.StrPosition, dialect: str) -> Node:
    if node.args.get("position") or node.args.get("occurrence"):
        raise Untranslated("a search from a position has no equivalent in SQLite")
    if dialect in INSENSITIVE:
        return exp.StrPosition(this=call("lower", node.this), substr=call("lower", node.args["substr"]))
    return node


def regexp_replace(node: exp.RegexpReplace, dialect: str) -> Node:
    flags = node.args.get("modifiers")
    if flags is not None and not isinstance(flags, exp.Literal):
        raise Untranslated("REGEXP_REPLACE with flags from a column")
    letters = (flags.name if flags else "") + ("" if dialect in ("postgres", "duckdb") else "g")
    letters += "" if dialect not in INSENSITIVE else "i"
    replacement = node.args.get("replacement") or text_literal("")
    return call("regexp_replace", node.this, node.expression, replacement, text_literal(letters), kind="text")


def json_text(node: exp.JSONExtractScalar, dialect: str) -> Node:
    json = exp.JSONExtract(this=node.this, expression=node.expression, only_json_types=True)
    return call("json_text", json, kind="text")


def _of_this(name: str, *more: str, kind: str = "text") -> Callable[[Any, str], Node]:
    """A function of the same arguments: ``more`` are the keys of those behind the first."""

    def made(node: Any, dialect: str) -> Node:
        if missing := [key for key in more if node.args.get(key) is None]:
            raise Wrong("other_sql_error", f"wrong number of arguments of {node.sql_name()}: no {missing[0]}")
        return call(name, node.this, *(node.args[key] for key in more), kind=kind)

    return made


def _found(node: Any, comparison: type[exp.Binary], number: int) -> Node:
    place = exp.StrPosition(this=node.this, substr=node.expression)
    return typed(comparison(this=place, expression=whole_literal(number)), "bool")


def _matches(node: Any, *, ignore_case: bool) -> Node:
    return call("regexp", node.this, node.expression, whole_literal(ignore_case), kind="bool")


HANDLERS: dict[str, Callable[[Any, str], Node]] = {
    "concat": concat, "greatest": extreme, "least": extreme, "round": rounded, "trunc": truncate, "pad": pad, "trim": trim,
    "length": length, "strposition": position, "regexpreplace": regexp_replace, "jsonextractscalar": json_text,
    "concatws": lambda node, dialect: call("concat_ws", *(_shown(one, dialect) for one in node.expressions), kind="text"),
    "intdiv": lambda node, dialect: call("div", node.this, divisor(node.expression, dialect), kind="int"),
    "mod": lambda node, dialect: call("mod", node.this, divisor(node.expression, dialect), kind=kind_of(node.this)),
    "substring": substring,
    "left": _of_this("left", "expression"), "right": _of_this("right", "expression"), "upper": _of_this("upper"),
    "lower": _of_this("lower"), "initcap": _of_this("initcap"), "reverse": _of_this("reverse"),
    "substringindex": _of_this("substring_index", "delimiter", "count"),
    "splitpart": _of_this("split_part", "delimiter", "part_index"),
    "repeat": _of_this("repeat", "times"),
    "unicode": _of_this("ascii", kind="int"),
    "regexplike": lambda node, dialect: _matches(node, ignore_case=dialect in INSENSITIVE),
    "regexpilike": lambda node, dialect: _matches(node, ignore_case=True),
    "contains": lambda node, dialect: _found(node, exp.GT, 0), "startswith": lambda node, dialect: _found(node, exp.EQ, 1),
    "chr": lambda node, dialect: call("chr", *node.expressions, kind="text"),
}  # fmt: skip
