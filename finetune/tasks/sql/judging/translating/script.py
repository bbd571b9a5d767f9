"""A script of another dialect as a script of SQLite: its tables with keys and checks, its views, its rows."""

from sqlglot import exp

from finetune.tasks.sql.judging.translating.inserts import Inserts, parsed_definition
from finetune.tasks.sql.judging.translating.rewrite import Rewriter
from finetune.tasks.sql.judging.translating.statement import generated, translated, with_types
from finetune.tasks.sql.judging.translating.tables import (
    DECLARED,
    INSENSITIVE,
    Table,
    Tables,
    Untranslated,
    Wrong,
    kind_of,
    lowered,
    names,
    quoted,
)
from finetune.tasks.sql.scripts import ROWS, SCHEMA, read_script

MOST_ROWS_TEXT = 200_000  # characters of INSERT and COPY that are taken; the databases that judge are small anyway


def translated_script(script: str, dialect: str) -> tuple[str, Tables]:
    """The script in SQLite, and its tables. Wrong or Untranslated say which statement cannot be there."""
    statements = read_script(script, dialect)
    tables = Tables(dialect)
    made = _Script(tables)
    for statement in statements:
        if statement.role == SCHEMA:
            made.define(statement.text)
    inserts, left = Inserts(tables), MOST_ROWS_TEXT
    for statement in statements:
        if statement.role == ROWS and left > 0:
            left -= len(statement.text) + sum(map(len, statement.copied))
            inserts.fill(statement)
    return made.text() + "".join(inserts.rows), tables


_SERIAL = (exp.DType.SERIAL, exp.DType.BIGSERIAL, exp.DType.SMALLSERIAL)


class _Script:
    """Collects what the statements make."""

    def __init__(self, tables: Tables):
        self.tables, self.dialect = tables, tables.dialect
        self.created: dict[str, exp.Create] = {}  # table -> its statement, with what ALTER TABLE has added
        self.views: list[str] = []

    def define(self, text: str) -> None:
        tree = parsed_definition(text, self.dialect)
        if isinstance(tree, exp.Create):
            self._create(tree)
        elif isinstance(tree, exp.Alter):
            self._alter(tree)
        elif not isinstance(tree, exp.Comment):
            words = text.upper().split()
            harmless = words[:1] == ["COMMENT"] or ("IDENTITY" in words and words[:2] == ["ALTER", "TABLE"])
            if not harmless:
                raise Untranslated(f"{' '.join(text.split())[:60]!r}")

    def _create(self, tree: exp.Create) -> None:
        kind = str(tree.args.get("kind") or "").upper()
        if kind == "TYPE":
            self.tables.enums.add(tree.find(exp.Table).name.lower() if tree.find(exp.Table) else tree.this.name.lower())
        elif kind == "VIEW":
            self._view(tree)
        elif kind == "TABLE":
            if tree.find(exp.PartitionedOfProperty):
                return  # its rows are those of the whole table
            if not isinstance(tree.this, exp.Schema) or tree.find(exp.InheritsProperty, exp.LikeProperty):
                raise Untranslated("a table made from another one (AS, LIKE, INHERITS)")
            table = tree.this.this
            name = self.tables.fold(table.this)
            if name.lower() in (other.lower() for other in self.created):
                if tree.args.get("exists"):
                    return
                raise Untranslated(f"two tables of the name {name}")
            self.created[name] = tree
            self.tables.tables[name] = Table(name)
            for column in tree.this.expressions:
                if isinstance(column, exp.ColumnDef):
                    self._column(name, column)
            self._find_key(name, tree.this.expressions)
        elif kind == "INDEX" and tree.args.get("unique"):
            self._unique(tree)
        elif kind not in ("INDEX", "DOMAIN"):
            raise Untranslated(f"CREATE {kind}")

    def _column(self, table: str, column: exp.ColumnDef) -> None:
        kind = column.args.get("kind")
        if kind is None:
            kind = exp.DataType(this=exp.DType.UNKNOWN)
        if kind.this == exp.DType.USERDEFINED:
            own = str(kind.args.get("kind") or "").split(".")[-1].strip('"`[]').lower()
            if own not in self.tables.enums:
                raise Untranslated(f"the type {own or kind.sql()} of {column.name}")
            self.tables.ranked.add(column.name.lower())
            kind = exp.DataType(this=exp.DType.TEXT)
        elif kind.this == exp.DType.ENUM:
            self.tables.ranked.add(column.name.lower())
        self.tables.tables[table].columns[self.tables.fold(column.this)] = kind

    def _find_key(self, table: str, expressions: list[exp.Expression]) -> None:
        for one in expressions:
            if isinstance(one, exp.ColumnDef) and one.find(exp.PrimaryKeyColumnConstraint):
                self.tables.tables[table].key = (self.tables.fold(one.this),)
            elif found := one.find(exp.PrimaryKey):
                self.tables.tables[table].key = self._folded(found.expressions)
            elif one.find(exp.PrimaryKeyColumnConstraint) and (found := one.find(exp.ClusteredColumnConstraint)):
                self.tables.tables[table].key = self._folded(found.this)

    def _folded(self, columns: list[exp.Expression]) -> tuple[str, ...]:
        found = [column.find(exp.Identifier) for column in columns]
        return tuple(self.tables.fold(name) for name in found if name is not None)

    def _alter(self, tree: exp.Alter) -> None:
        name = self.tables.fold(tree.this.this)
        if name not in self.created:
            raise Wrong("unknown_table", f"no such table: {name}")
        schema = self.created[name].this
        for action in tree.args.get("actions") or []:
            if isinstance(action, exp.AddConstraint):
                schema.append("expressions", action.expressions[0])
                self._find_key(name, action.expressions)
            elif isinstance(action, exp.ColumnDef):
                schema.append("expressions", action)
                self._column(name, action)
            elif isinstance(action, exp.AlterColumn) and not action.args.get("dtype"):
                continue  # a default, or NOT NULL
            else:
                raise Untranslated(f"ALTER TABLE with {type(action).__name__}")

    def _view(self, tree: exp.Create) -> None:
        query = tree.expression.sql(self.dialect)
        columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
        name = (tree.this.this if isinstance(tree.this, exp.Schema) else tree.this).name
        listed = f" ({names(column.name.lower() for column in columns)})" if columns else ""
        self.views.append(f"CREATE VIEW {quoted(name.lower())}{listed} AS {translated(query, self.tables)};\n")

    def _unique(self, tree: exp.Create) -> None:
        index = tree.this
        params = index.args.get("params")
        columns = [one.find(exp.Column) for one in (params.args.get("columns") or [])] if params else []
        name = self.tables.fold(index.args["table"].this)
        if name in self.created and columns and all(columns) and not (params and params.args.get("where")):
            self.created[name].this.append(
                "expressions", exp.UniqueColumnConstraint(this=exp.Schema(expressions=[c.this for c in columns if c]))
            )

    def text(self) -> str:
        tables = [self._table(name, tree) for name, tree in self.created.items()]
        return "".join([*tables, *self.views])

    def _table(self, name: str, tree: exp.Create) -> str:
        parts = []
        key = self.tables.tables[name].key
        for one in tree.this.expressions:
            if isinstance(one, exp.ColumnDef):
                parts.append(self._column_text(name, one))
            else:
                parts += self._constraint(name, one)
        if len(key) == 1 and not any("PRIMARY KEY" in part for part in parts):
            at = [column.lower() for column in self.tables.tables[name].columns].index(key[0].lower())
            parts[at] += " PRIMARY KEY"
        elif len(key) > 1:
            parts.append(f"PRIMARY KEY ({names(column.lower() for column in key)})")
        return f"CREATE TABLE {quoted(name.lower())} ({', '.join(parts)});\n"

    def _column_text(self, table: str, column: exp.ColumnDef) -> str:
        kind = kind_of(self.tables.tables[table].columns[self.tables.fold(column.this)])
        text = f"{quoted(column.name.lower())} {DECLARED.get(kind, 'TEXT')}"
        if kind == "text" and self.dialect in INSENSITIVE:
            text += " COLLATE NOCASE"
        counts = column.find(exp.GeneratedAsIdentityColumnConstraint, exp.AutoIncrementColumnConstraint)
        counts = counts or column.args["kind"].this in _SERIAL if column.args.get("kind") else counts
        for constraint in column.args.get("constraints") or []:
            rule = constraint.args.get("kind")
            if counts and isinstance(rule, exp.NotNullColumnConstraint):
                continue  # SQLite counts a primary key alone
            if isinstance(rule, exp.NotNullColumnConstraint) and not rule.args.get("allow_null"):
                text += " NOT NULL"
            elif isinstance(rule, exp.UniqueColumnConstraint):
                text += " UNIQUE"
            elif isinstance(rule, exp.DefaultColumnConstraint) and isinstance(rule.this, exp.Literal | exp.Boolean):
                text += f" DEFAULT {generated(rule.this)}"
            elif isinstance(rule, exp.CheckColumnConstraint):
                text += self._check(table, rule.this)
            elif isinstance(rule, exp.Reference):
                text += f" {self._reference(rule)}"
            elif isinstance(rule, exp.ComputedColumnConstraint):
                text += f" GENERATED ALWAYS AS ({self._expression(table, rule.this)})"
        return text

    def _constraint(self, table: str, one: exp.Expression) -> list[str]:
        if isinstance(one, exp.Constraint):
            return [text for inner in one.expressions for text in self._constraint(table, inner)]
        if isinstance(one, exp.ForeignKey):
            own = names(column.name.lower() for column in one.expressions)
            return [f"FOREIGN KEY ({own}) {self._reference(one.args['reference'])}"]
        if isinstance(one, exp.UniqueColumnConstraint) and isinstance(one.this, exp.Schema):
            return [f"UNIQUE ({names(column.name.lower() for column in one.this.expressions)})"]
        if isinstance(one, exp.CheckColumnConstraint):
            return [text.strip()] if (text := self._check(table, one.this)) else []
        return []

    def _reference(self, rule: exp.Reference) -> str:
        schema = rule.this
        table = schema.this if isinstance(schema, exp.Schema) else schema
        columns = (
            f" ({names(one.name.lower() for one in schema.expressions)})" if isinstance(schema, exp.Schema) else ""
        )
        return f"REFERENCES {quoted(table.name.lower())}{columns}"

    def _check(self, table: str, rule: exp.Expression) -> str:
        """A check keeps generated rows like the own ones; without it they are only less so."""
        try:
            return f" CHECK ({self._expression(table, rule)})"
        except (Untranslated, Wrong):
            return ""

    def _expression(self, table: str, value: exp.Expression) -> str:
        """A value of the columns of one table."""
        query = exp.select(value.copy()).from_(exp.table_(table.lower()))
        tree = Rewriter(self.tables).rewrite(with_types(lowered(query), self.tables))
        found = tree.expressions[0].unalias()
        for column in found.find_all(exp.Column):
            column.set("table", None)
        return generated(found)
