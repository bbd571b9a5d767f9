"""What the judge needs to know about the text of gold, a row's own SQL: WHERE, ORDER BY, constants and joins (by sqlglot).

Nothing here decides whether an answer is right, and no answer is ever parsed here: SQLite alone runs and
refuses.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.expressions import Expression

MAX_LENGTH, MAX_PARENTHESES = 20_000, 200  # gold is model-written too

ColumnName = tuple[str | None, str]  # table (None if gold does not say) and column, both in lower case
Constant = int | float | str


@dataclass(frozen=True)
class Gold:
    """What gold says.

    ``without_where`` is gold without the WHERE of its outermost query, None if it has none. ``keyed``, of
    a query with an outermost ORDER BY, is gold without LIMIT and with its sort keys as last columns: it tells
    which rows are tied. ``limit`` is LIMIT plus OFFSET. ``constants`` are those that a column is compared
    with, ``equal`` the columns joined.
    """

    ordered: bool
    without_where: str | None
    keyed: str | None
    offset: int
    limit: int
    constants: tuple[tuple[ColumnName, Constant], ...]
    equal: tuple[tuple[ColumnName, ColumnName], ...]


def read_gold(sql: str) -> Gold | None:
    """None if sqlglot cannot read it as exactly one statement."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_LENGTH or sql.count("(") > MAX_PARENTHESES:
        return None
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="sqlite") if statement is not None]
        if len(statements) != 1:
            return None
        tree = statements[0]
        offset = _number(tree.args.get("offset"))
        return Gold(
            ordered=isinstance(tree, exp.Query) and tree.args.get("order") is not None,
            without_where=_without_where(tree),
            keyed=_keyed(tree),
            offset=offset,
            limit=_number(tree.args.get("limit")) + offset,
            constants=tuple(_constants(tree)),
            equal=tuple(_equal_columns(tree)),
        )
    except (SqlglotError, RecursionError):
        return None


def _without_where(tree: "Expression") -> str | None:
    from sqlglot import exp

    copy = tree.copy()
    found = False
    outermost = [copy.expression if isinstance(copy, exp.Insert) else copy]
    while outermost:
        node = outermost.pop()
        if isinstance(node, exp.SetOperation):
            outermost += [node.left, node.right]
        elif isinstance(node, exp.Select | exp.Update | exp.Delete) and node.args.get("where"):
            node.set("where", None)
            found = True
    return _sql(copy) if found else None


def _keyed(tree: "Expression") -> str | None:
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or tree.args.get("order") is None:
        return None
    copy = tree.copy()
    aliases = {item.alias.lower(): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
    numbered = {str(number): item for number, item in enumerate(tree.expressions, start=1)}
    for term in tree.args["order"].expressions:
        key = term.this
        if isinstance(key, exp.Literal) and not key.is_string:
            key = numbered.get(key.name, key).unalias()
        elif isinstance(key, exp.Column) and not key.table:
            key = aliases.get(key.name.lower(), key)
        copy.append("expressions", key.copy())
    copy.set("limit", None)
    copy.set("offset", None)
    return _sql(copy)


def _sql(tree: "Expression") -> str:
    from sqlglot.errors import ErrorLevel

    return tree.sql(dialect="sqlite", unsupported_level=ErrorLevel.IGNORE)


def _number(clause: "Expression | None") -> int:
    """The number of a LIMIT or OFFSET clause; 0 if there is no clause, or no number in it."""
    text = clause.expression.name if clause is not None and clause.expression is not None else ""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def _constants(tree: "Expression") -> list[tuple[ColumnName, Constant]]:
    """Every constant of a comparison with every column of it."""
    from sqlglot import exp

    tables = _tables(tree)
    found: list[tuple[ColumnName, Constant]] = []
    for predicate in tree.find_all(exp.Predicate):
        if predicate.find(exp.Select) is not None:
            continue
        columns = [_column_name(column, tables) for column in predicate.find_all(exp.Column)]
        for literal in predicate.find_all(exp.Literal):
            found += [(column, _constant(literal)) for column in columns]
    return found


def _constant(literal: "Expression") -> Constant:
    try:
        number = float(literal.name)
    except ValueError:
        number = math.nan
    if literal.is_string or not math.isfinite(number):
        return literal.name
    if literal.parent is not None and literal.parent.key == "neg":
        number = -number
    return int(number) if number.is_integer() else number


def _equal_columns(tree: "Expression") -> list[tuple[ColumnName, ColumnName]]:
    """The pairs of columns that gold sets equal, in ON or in WHERE."""
    from sqlglot import exp

    tables = _tables(tree)
    return [
        (_column_name(equality.left, tables), _column_name(equality.right, tables))
        for equality in tree.find_all(exp.EQ)
        if isinstance(equality.left, exp.Column) and isinstance(equality.right, exp.Column)
    ]


def _tables(tree: "Expression") -> dict[str, str]:
    """Alias, or name, of each table -> its name."""
    from sqlglot import exp

    return {table.alias_or_name.lower(): table.name.lower() for table in tree.find_all(exp.Table)}


def _column_name(column: "Expression", tables: dict[str, str]) -> ColumnName:
    return tables.get(column.table.lower()) if column.table else None, column.name.lower()
