"""The rows of a script of another dialect, of INSERT and COPY, as INSERTs of SQLite."""

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from finetune.tasks.sql.judging.translating.casts import as_type
from finetune.tasks.sql.judging.translating.rewrite import Rewriter
from finetune.tasks.sql.judging.translating.statement import PREFIXED, generated, plain_text, translated, with_types
from finetune.tasks.sql.judging.translating.tables import (
    Table,
    Tables,
    Untranslated,
    Wrong,
    kind_of,
    lowered,
    names,
    quoted,
)
from finetune.tasks.sql.scripts import Statement


class Inserts:
    """Collects the rows: ``rows`` are the statements of SQLite."""

    def __init__(self, tables: Tables):
        self.tables, self.dialect = tables, tables.dialect
        self.rows: list[str] = []

    def fill(self, statement: Statement) -> None:
        if statement.verb == "COPY":
            self._copy(statement)
            return
        tree = parsed_definition(statement.text, self.dialect)
        if not isinstance(tree, exp.Insert):
            raise Untranslated(f"{' '.join(statement.text.split())[:60]!r}")
        if not isinstance(tree.expression, exp.Values):
            self.rows.append(translated(statement.text, self.tables) + ";\n")
            return
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        table = self._known(target)
        listed = (
            [self.tables.fold(one.find(exp.Identifier)) for one in tree.this.expressions]
            if isinstance(tree.this, exp.Schema)
            else [*table.columns]
        )
        self._insert(table, listed, [[*row.expressions] for row in tree.expression.expressions])

    def _known(self, target: exp.Expression) -> Table:
        name = self.tables.fold(target.this)
        if name not in self.tables.tables:
            raise Wrong("unknown_table", f"no such table: {name}")
        return self.tables.tables[name]

    def _insert(self, table: Table, columns: list[str], rows: list[list[exp.Expression]]) -> None:
        unknown = [column for column in columns if column not in table.columns]
        if unknown:
            raise Wrong("unknown_column", f"table {table.name} has no column {unknown[0]}")
        kept = []
        for row in rows:
            if len(row) > len(columns):
                raise Wrong("other_sql_error", f"{len(row)} values for {len(columns)} columns of {table.name}")
            kept.append(
                "("
                + ", ".join(self._value(value, table.columns[name]) for value, name in zip(row, columns, strict=False))
                + ")"
            )
        width = len(rows[0]) if rows else 0
        head = f"INSERT INTO {quoted(table.name.lower())} ({names(name.lower() for name in columns[:width])}) VALUES\n"
        self.rows += [head + ",\n".join(kept[at : at + 400]) + ";\n" for at in range(0, len(kept), 400)]

    def _value(self, value: exp.Expression, to: exp.DataType) -> str:
        if isinstance(value, exp.Null) or (isinstance(value, exp.Column) and value.name.upper() == "DEFAULT"):
            return "NULL"
        if isinstance(value, exp.Anonymous) and str(value.this).lower() == "nextval":
            return "NULL"
        if isinstance(value, PREFIXED):
            value = plain_text(value)
        kind = kind_of(to)
        if not isinstance(value, exp.Literal | exp.Neg | exp.Boolean):
            tree = with_types(lowered(exp.select(value.copy())), self.tables)
            value = Rewriter(self.tables).rewrite(tree).expressions[0].unalias()
        elif isinstance(value, exp.Literal) and value.is_string and kind in ("bool", "date", "moment", "real", "int"):
            value.type = exp.DataType(this=exp.DType.TEXT)
            value = as_type(value, exp.DataType(this=to.this), self.dialect)
        elif kind == "moment":
            value = as_type(value, to, self.dialect)
        return generated(value)

    def _copy(self, statement: Statement) -> None:
        tree = parsed_definition(statement.text, self.dialect)
        if not isinstance(tree, exp.Copy) or not statement.copied:
            return
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        table = self._known(target)
        columns = (
            [self.tables.fold(one.find(exp.Identifier)) for one in tree.this.expressions]
            if isinstance(tree.this, exp.Schema)
            else [*table.columns]
        )
        rows: list[list[exp.Expression]] = []
        for line in statement.copied:
            rows.append(
                [exp.null() if cell == "\\N" else exp.Literal.string(_unescaped(cell)) for cell in line.split("\t")]
            )
        self._insert(table, columns, rows)


_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def _unescaped(cell: str) -> str:
    """The text of a cell of COPY; any other character behind a backslash stands for itself."""
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), cell, flags=re.DOTALL)


def parsed_definition(text: str, dialect: str) -> exp.Expression:
    """The tree of a statement of a script, of any length."""
    try:
        return sqlglot.parse_one(text, read=dialect)
    except SqlglotError as error:
        said = getattr(error, "errors", None)
        first = said[0]["description"] if said else " ".join(str(error).split())
        raise Wrong("parse_error", f"{first} in {' '.join(text.split())[:60]!r}") from None
