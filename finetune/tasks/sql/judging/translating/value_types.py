"""Values of the wrong type, which PostgreSQL and T-SQL refuse and SQLite takes: LIKE of a date, the sum of conditions.

Only what is certain is refused: the types of columns as they were declared, of casts, conditions and constants.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from sqlglot import exp

from finetune.tasks.sql.judging.functions import dates, texts
from finetune.tasks.sql.judging.translating.calls import Node
from finetune.tasks.sql.judging.translating.tables import Table, Tables, Wrong, kind_of

_FAMILIES = {"int": "number", "real": "number", "date": "date", "moment": "date", "bool": "boolean", "text": "text"}
_PLAIN_TEXT = (exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.NCHAR, exp.DType.NVARCHAR, exp.DType.BPCHAR)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_PATTERNS = (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.SimilarTo)
_CONDITIONS = (*_COMPARISONS, *_PATTERNS, exp.In, exp.Between, exp.Is, exp.Exists, exp.Connector, exp.Not, exp.Boolean)
_OF_TEXT = (
    exp.Substring, exp.Left, exp.Right, exp.Upper, exp.Lower, exp.Initcap, exp.Trim, exp.Length, exp.StrPosition,
    exp.SplitPart, exp.Pad, exp.Reverse, exp.RegexpReplace, exp.Replace,
)  # fmt: skip
_WORDS = frozenset("now today tomorrow yesterday epoch infinity -infinity".split())  # of dates
_READ: dict[str, Callable[[str], object]] = {"number": float, "date": dates.moment, "boolean": texts.to_bool}


def demand(tree: Node, tables: Tables) -> None:
    """Wrong if a value is of a type that the dialect refuses in its place. The names of the columns are resolved."""
    if tables.dialect not in ("postgres", "tsql"):
        return
    types = _Types(tree, tables)
    for node in tree.find_all(exp.Sum, exp.Avg, exp.Max, exp.Min):
        of_condition = isinstance(node.this.unnest(), _CONDITIONS) if tables.dialect == "tsql" else False
        if types.family(node.this) == "boolean" or of_condition:
            raise _wrong(f"function {node.key}(boolean) does not exist")
    for condition in _conditions(tree):
        family = types.family(condition)
        if family not in ("", "boolean") or (family and tables.dialect == "tsql" and types.declared(condition)):
            raise _wrong(f"{condition.sql(tables.dialect)} is not a condition: it is of type {family}")
    if tables.dialect == "postgres":
        for node in tree.walk():
            _demand_of_postgres(node, types)
    else:
        for select in tree.find_all(exp.Select):
            if any(isinstance(one.unalias().unnest(), _CONDITIONS) for one in select.expressions):
                raise Wrong("parse_error", "syntax error: a condition is no value")


def _wrong(message: str) -> Wrong:
    return Wrong("other_sql_error", message)


def _conditions(tree: Node) -> Iterator[Node]:
    """What must be true or false."""
    for node in tree.find_all(exp.Where, exp.Having, exp.Join, exp.And, exp.Or, exp.Not, exp.Case):
        if isinstance(node, exp.Join):
            found = [node.args.get("on")]
        elif isinstance(node, exp.Connector):
            found = [node.left, node.right]
        elif isinstance(node, exp.Case):
            found = [one.this for one in node.args["ifs"]] if node.this is None else []
        else:
            found = [node.this]
        yield from (one for one in found if one is not None)


def _demand_of_postgres(node: Node, types: "_Types") -> None:
    if isinstance(node, _PATTERNS) and types.family(node.this) not in ("", "text"):
        raise _wrong(f"operator does not exist: {types.family(node.this)} LIKE text")
    if isinstance(node, _OF_TEXT) and types.family(node.this) not in ("", "text"):
        raise _wrong(f"function {node.sql_name().lower()}({types.family(node.this)}) does not exist")
    if isinstance(node, exp.Extract | exp.TimestampTrunc):
        value = node.expression if isinstance(node, exp.Extract) else node.this
        if types.family(value) in ("text", "number", "boolean") and types.declared(value):
            raise _wrong(f"function {node.sql_name().lower()}({types.family(value)}) does not exist")
    if isinstance(node, exp.Round) and node.args.get("decimals") is not None and types.is_double(node.this):
        raise _wrong("function round(double precision, integer) does not exist")
    is_sum = isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div)
    if is_sum and "text" in (types.family(node.this), types.family(node.expression)):
        raise _wrong(f"operator does not exist: {node.key} of text")
    if isinstance(node, exp.DPipe) and types.family(node.this) == types.family(node.expression) == "number":
        raise _wrong("operator does not exist: number || number")
    if isinstance(node, _COMPARISONS) and not isinstance(node.parent, exp.Update):
        types.demand_same([node.this, node.expression], "operator does not exist")
    elif isinstance(node, exp.In):
        types.demand_same([node.this, *node.expressions], "operator does not exist")
    elif isinstance(node, exp.Between):
        types.demand_same([node.this, node.args["low"], node.args["high"]], "operator does not exist")
    elif isinstance(node, exp.Coalesce | exp.Greatest | exp.Least):
        types.demand_same([node.this, *node.expressions], f"{node.sql_name()} types cannot be matched")
    elif isinstance(node, exp.Nullif):
        types.demand_same([node.this, node.expression], "operator does not exist")
    elif isinstance(node, exp.Case):
        default = node.args.get("default")
        made = [one.args["true"] for one in node.args["ifs"]] + ([default] if default is not None else [])
        types.demand_same(made, "CASE types cannot be matched")
    elif isinstance(node, exp.SetOperation):
        sides = [getattr(side, "selects", []) for side in (node.left, node.right)]
        for pair in zip(*sides, strict=False):
            types.demand_same([one.unalias() for one in pair], f"{node.key.upper()} types cannot be matched")


class _Types:
    """Of what family a value is, where that is certain."""

    def __init__(self, tree: Node, tables: Tables):
        self.tables = tables
        made = {cte.alias for cte in tree.find_all(exp.CTE)} | {sub.alias for sub in tree.find_all(exp.Subquery)}
        known = {name.lower(): table for name, table in tables.tables.items()}
        self.sources: dict[str, Table | None] = {}
        for one in tree.find_all(exp.Table):
            table = None if one.name in made or one.alias_or_name in made else known.get(one.name)
            same = self.sources.setdefault(one.alias_or_name, table) is table
            self.sources[one.alias_or_name] = table if same else None

    def declared(self, node: Node) -> exp.DataType | None:
        """The type of a column of one of the tables."""
        node = node.unnest()
        if not isinstance(node, exp.Column):
            return None
        if not node.table and len(self.sources) != 1:
            return None
        table = self.sources.get(node.table) if node.table else next(iter(self.sources.values()))
        return (
            next((kind for name, kind in table.columns.items() if name.lower() == node.name), None) if table else None
        )

    def family(self, node: Node | None) -> str:
        """number, text, date or boolean; "" if that is not certain."""
        node = node.unnest() if node is not None else None
        if isinstance(node, exp.Literal):
            return "" if node.is_string else "number"
        if isinstance(node, _CONDITIONS):
            return "boolean"
        if isinstance(node, exp.Column):
            return self._of_type(self.declared(node))
        if isinstance(node, exp.Cast):
            return self._of_type(node.to)
        if isinstance(node, exp.DPipe | exp.Concat | exp.Upper | exp.Lower | exp.Substring):
            return "text"
        if isinstance(node, exp.Neg | exp.Sum | exp.Avg):
            return "number" if self.family(node.this) == "number" else ""
        if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
            return "number" if self.family(node.this) == self.family(node.expression) == "number" else ""
        return "number" if isinstance(node, exp.Count) else ""

    def _of_type(self, kind: exp.DataType | None) -> str:
        family = _FAMILIES.get(kind_of(kind), "")
        return "" if kind is None or (family == "text" and kind.this not in _PLAIN_TEXT) else family

    def is_double(self, node: Node) -> bool:
        """Whether a value is of a binary type; arithmetic is if one side is."""
        node = node.unnest()
        kind = node.to if isinstance(node, exp.Cast) else self.declared(node)
        if kind is not None:
            return kind.this in (exp.DType.FLOAT, exp.DType.DOUBLE)
        if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
            return self.is_double(node.this) or self.is_double(node.expression)
        return isinstance(node, exp.Neg | exp.Sum | exp.Avg | exp.Max | exp.Min | exp.Abs) and self.is_double(node.this)

    def demand_same(self, values: list[Node], message: str) -> None:
        """Wrong unless all are of one family; a constant in quotes is of any that can be read from it."""
        found = list(dict.fromkeys(family for value in values if (family := self.family(value))))
        if len(found) > 1:
            raise _wrong(f"{message}: {' and '.join(found)}")
        read = _READ.get(found[0]) if found else None
        for text in (value.name for value in values if isinstance(value, exp.Literal) and value.is_string):
            if read is not None and not _is_read(read, text):
                raise _wrong(f"invalid input syntax for type {found[0]}: {text[:40]!r}")


def _is_read(read: Callable[[str], object], text: str) -> bool:
    with suppress(ValueError):
        read(text)
        return True
    return text.strip().lower() in _WORDS or any(map(str.isdigit, text))  # a form that is not known here
