"""Small trees: a call of one of our functions, literals, and a tree with its type."""

from typing import TypeAlias

from sqlglot import exp

Node: TypeAlias = exp.Expression
_TYPES = {
    "int": exp.DType.BIGINT, "real": exp.DType.DOUBLE, "text": exp.DType.TEXT, "bool": exp.DType.BOOLEAN,
    "date": exp.DType.DATE, "moment": exp.DType.TIMESTAMP, "interval": exp.DType.INTERVAL,
}  # fmt: skip


def typed(node: Node, kind: str) -> Node:
    if kind in _TYPES:
        node.type = exp.DataType(this=_TYPES[kind])
    return node


def call(name: str, *given: Node, kind: str = "") -> Node:
    """ft_NAME(...), a function of ``judging/functions``."""
    return typed(exp.Anonymous(this=f"ft_{name}", expressions=list(given)), kind)


def text_literal(text: str) -> Node:
    return typed(exp.Literal.string(text), "text")


def whole_literal(number: int) -> Node:
    return typed(exp.Literal.number(str(int(number))), "int")
