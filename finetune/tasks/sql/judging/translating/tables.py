"""The tables of a context of another dialect: what their columns hold, and the script that makes them in SQLite."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlglot import exp

from finetune.tasks.sql.judging.databases import FIXED

INSENSITIVE = frozenset({"mysql", "tsql"})  # dialects whose text columns do not tell capitals apart
FOLDS_UP = frozenset(
    {"snowflake", "oracle"}
)  # unquoted names are in capitals; in others in small letters, or as written
FOLDS_DOWN = frozenset({"postgres"})

_T = exp.DType
INTEGERS = frozenset(
    {_T.INT, _T.BIGINT, _T.SMALLINT, _T.TINYINT, _T.MEDIUMINT, _T.UINT, _T.UBIGINT, _T.USMALLINT, _T.UTINYINT}
    | {_T.INT128, _T.UMEDIUMINT, _T.SERIAL, _T.BIGSERIAL, _T.SMALLSERIAL, _T.YEAR}
)
REALS = frozenset({_T.DECIMAL, _T.FLOAT, _T.DOUBLE, _T.MONEY, _T.SMALLMONEY, _T.BIGDECIMAL, _T.UDECIMAL, _T.UDOUBLE})
TEXTS = frozenset(
    {_T.TEXT, _T.VARCHAR, _T.CHAR, _T.NCHAR, _T.NVARCHAR, _T.TINYTEXT, _T.MEDIUMTEXT, _T.LONGTEXT, _T.NAME, _T.BPCHAR}
)
TEXTS |= {_T.UUID, _T.ENUM, _T.INET, _T.XML}
MOMENTS = frozenset(
    {_T.TIMESTAMP, _T.TIMESTAMPTZ, _T.TIMESTAMPLTZ, _T.TIMESTAMPNTZ, _T.DATETIME, _T.DATETIME2, _T.SMALLDATETIME}
    | {_T.DATETIME64, _T.TIMESTAMP_S, _T.TIMESTAMP_MS, _T.TIMESTAMP_NS}
)
_KINDS = {
    **dict.fromkeys(INTEGERS, "int"),
    **dict.fromkeys(REALS, "real"),
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(MOMENTS, "moment"),
    _T.BOOLEAN: "bool",
    _T.DATE: "date",
    _T.DATE32: "date",
    _T.INTERVAL: "interval",
    _T.JSON: "json",
    _T.JSONB: "json",
    _T.BINARY: "bytes",
    _T.VARBINARY: "bytes",
    _T.BLOB: "bytes",
    _T.TIME: "time",
}
DECLARED = {  # kind -> type in SQLite
    "int": "INTEGER", "real": "REAL", "text": "TEXT", "moment": "TIMESTAMP", "bool": "BOOLEAN", "date": "DATE",
    "json": FIXED, "bytes": "BLOB", "time": "TEXT",
}  # fmt: skip


class Untranslated(Exception):
    """SQLite cannot do exactly what was written. The message says what."""


class Wrong(Exception):
    """The dialect's own engine would refuse it. ``kind`` is the class of the error."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def kind_of(node: exp.Expression | exp.DataType | None) -> str:
    """What a value is: int, real, text, moment, bool, date, interval, json, bytes, time, or "" if that is not known."""
    found = node if isinstance(node, exp.DataType) else getattr(node, "type", None)
    if found is None:
        return ""
    if found.this == _T.BIT:
        return "bool"
    return _KINDS.get(found.this, "")


@dataclass
class Table:
    """``columns`` are names, folded as the dialect does, with their types; ``key`` is the primary key."""

    name: str
    columns: dict[str, exp.DataType] = field(default_factory=dict)
    key: tuple[str, ...] = ()


@dataclass
class Tables:
    """All tables of a context. ``enums`` are the names of its ENUM types, ``ranked`` of the columns of such a type."""

    dialect: str
    tables: dict[str, Table] = field(default_factory=dict)
    enums: set[str] = field(default_factory=set)
    ranked: set[str] = field(default_factory=set)

    def fold(self, name: exp.Identifier) -> str:
        """A name as the engine looks it up."""
        if self.dialect in FOLDS_DOWN:
            return name.this if name.args.get("quoted") else name.this.lower()
        if self.dialect in FOLDS_UP:
            return name.this if name.args.get("quoted") else name.this.upper()
        return str(name.this).lower()

    def check_case(self, tree: exp.Expression) -> None:
        """Wrong if a name is written in another case than the one that the engine would find."""
        if self.dialect not in FOLDS_DOWN | FOLDS_UP:
            return
        columns = {name for table in self.tables.values() for name in table.columns}
        own = {
            self.fold(node)
            for node in tree.find_all(exp.Identifier)
            if isinstance(node.parent, exp.Alias | exp.TableAlias)
        }
        for node in tree.find_all(exp.Identifier):
            among = columns if isinstance(node.parent, exp.Column) and node.arg_key == "this" else None
            if isinstance(node.parent, exp.Table) and node.arg_key == "this":
                among = set(self.tables)
            name = self.fold(node)
            if among is None or name in among or name in own:
                continue
            if near := [other for other in (*among, *own) if other.lower() == name.lower()]:
                what = "column" if among is columns else "relation"
                raise Wrong(
                    f"unknown_{'column' if among is columns else 'table'}",
                    f'{what} "{name}" does not exist (it is "{near[0]}")',
                )

    def schema(self) -> dict[str, dict[str, str]]:
        """For sqlglot's optimizer: names in small letters -> types."""
        return {
            table.name.lower(): {name.lower(): self._type_name(kind) for name, kind in table.columns.items()}
            for table in self.tables.values()
        }

    def _type_name(self, kind: exp.DataType) -> str:
        known = kind_of(kind)
        return "TEXT" if known == "text" else kind.sql(self.dialect) if known else "UNKNOWN"

    def types(self) -> dict[str, exp.DataType]:
        """Column in small letters -> its type, if all tables that have the column agree."""
        found: dict[str, exp.DataType] = {}
        differ: set[str] = set()
        for table in self.tables.values():
            for name, kind in table.columns.items():
                other = found.setdefault(name.lower(), kind)
                if kind_of(other) != kind_of(kind):
                    differ.add(name.lower())
        return {name: kind for name, kind in found.items() if name not in differ}


_DEFAULT_SCHEMAS = ("", "public", "dbo", "main")


def lowered(tree: exp.Expression, *, of_any_schema: bool = True) -> exp.Expression:
    """Names in small letters, as SQLite does not tell them apart, and tables without the schema that they are in; without
    ``of_any_schema`` only if it is the one that an engine begins with."""
    for node in tree.find_all(exp.Identifier):
        node.set("this", str(node.this).lower())
    for table in tree.find_all(exp.Table):
        if of_any_schema or (table.db in _DEFAULT_SCHEMAS and not table.catalog):
            table.set("db", None)
            table.set("catalog", None)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)
    return tree


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def names(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))
