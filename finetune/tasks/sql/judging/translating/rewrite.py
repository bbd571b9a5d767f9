"""A tree of another dialect, with the types of its columns, as a tree of SQLite that gives the same rows.

What SQLite does otherwise becomes a function ft_... of ``judging/functions``; what is neither handled nor known to be the same
in both is refused with ``Untranslated``: nothing changes its meaning on the way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating import aggregates, casts, clauses, times, values
from finetune.tasks.sql.judging.translating.calls import Node, call, text_literal, typed
from finetune.tasks.sql.judging.translating.distinct import distinct_on
from finetune.tasks.sql.judging.translating.tables import INSENSITIVE, Tables, Untranslated, Wrong, kind_of

BACKSLASH = frozenset({"postgres", "mysql", "spark", "bigquery"})  # LIKE takes a backslash as escape without being told
_SAME = frozenset(  # functions of sqlglot's names that SQLite has under the same meaning
    "abs and or avg case cast ceil coalesce count countif cumedist currentdate currenttime currenttimestamp "
    "denserank exists exp firstvalue floor if lag lastvalue lead ln log logicaland logicalor max min nthvalue ntile "
    "nullif percentrank pi pow rand rank replace rownumber sign sqrt strposition substring sum sin cos tan radians "
    "degrees power anonymous".split()
)
_REFUSED = (
    exp.Lateral, exp.Unnest, exp.Array, exp.Bracket, exp.Interval, exp.Pivot, exp.TableSample, exp.WithinGroup, exp.Any,
    exp.All, exp.AtTimeZone, exp.Command, exp.Parameter, exp.Placeholder, exp.Glob, exp.IgnoreNulls, exp.Struct,
    exp.Slice, exp.Overlaps, exp.SimilarTo, exp.Pseudocolumn, exp.Xor, exp.SessionParameter,
)  # fmt: skip
_UNREAD = {  # of sqlglot's nodes: what no handler reads, and what would be lost with it
    "cast": ("format", "action", "default"), "trycast": ("format", "action", "default"), "date": ("zone", "expressions"),
    "timestamp": ("zone", "with_tz"), "regexplike": ("flag", "full_match"), "regexpilike": ("flag",),
    "regexpreplace": ("position", "occurrence", "single_replace"), "timetostr": ("culture", "zone"), "lastday": ("unit",),
    "ceil": ("decimals", "to"), "floor": ("decimals", "to"), "groupconcat": ("on_overflow",), "trim": ("collation",),
    "week": ("mode",), "datediff": ("zone",), "tsordstodate": ("format",), "rand": ("lower", "upper"),
}  # fmt: skip
_PSEUDO_COLUMNS = frozenset("rownum rowid level sysdate systimestamp user".split())
_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)


class Rewriter:
    """Rewrites one statement. ``tables`` are those of its context."""

    def __init__(self, tables: Tables):
        self.tables, self.dialect = tables, tables.dialect
        self.sensitive = self.dialect not in INSENSITIVE
        self.handlers: dict[str, Callable[[Any], Node]] = {
            "anonymous": self.anonymous, "add": self.add, "sub": self.add, "between": self.between, "in": self.listed,
            "like": self.like, "ilike": self.ilike, "collate": self.collate, "div": self.divide, "dpipe": self.pipe,
            "max": self.one_argument, "min": self.one_argument, "ordered": self.ordered, "group": self.group,
            "insert": self.insert, "select": self.select, "coalesce": self.coalesce,
        }  # fmt: skip
        for room in (times, casts, values, aggregates, clauses):
            self.handlers |= {name: partial(handler, dialect=self.dialect) for name, handler in room.HANDLERS.items()}
        self.handlers |= {one.key: self.compared for one in _COMPARED}

    def rewrite(self, node: Node) -> Node:
        """The tree for SQLite, types kept. Untranslated if there is none, Wrong if the dialect refuses it."""
        if isinstance(node, exp.Extract) and (age := times.of_age(node)):
            return call("age_part", *age[:1], *map(self.rewrite, age[1:]), kind="int")
        if isinstance(node, exp.Add | exp.Sub | exp.DateAdd | exp.DateSub):
            node = times.with_interval(node, self.dialect)
        for name, value in list(node.args.items()):
            if isinstance(value, exp.Expression):
                node.set(name, self.rewrite(value))
            elif isinstance(value, list):
                node.set(name, [self.rewrite(one) if isinstance(one, exp.Expression) else one for one in value])
        if unread := [name for name in _UNREAD.get(node.key, ()) if node.args.get(name)]:
            if node.key == "date" and self.dialect in ("postgres", "mysql"):  # as SQLite has it
                raise Wrong("unknown_function", "function date(text, text) does not exist")
            raise Untranslated(f"{node.sql_name()} with {unread[0]} has no equivalent in SQLite")
        handler = self.handlers.get(node.key)
        made = handler(node) if handler else node
        if made is node:
            self._demand_known(node)
        elif made.type is None and node.type is not None:
            made.type = node.type
        return made

    def _demand_known(self, node: Node) -> None:
        unknown = isinstance(node, exp.Func) and node.key not in _SAME
        if self.dialect == "oracle":
            unknown |= isinstance(node, exp.Literal) and node.is_string and not node.name  # it is NULL there
            unknown |= isinstance(node, exp.Column) and node.name in _PSEUDO_COLUMNS
        unknown |= isinstance(node, _REFUSED) or (isinstance(node, exp.Star) and any(node.args.values()))
        if isinstance(node, exp.JSONExtract | exp.JSONPath | exp.JSONPathPart):
            unknown = False
        if isinstance(node, exp.SetOperation):
            for side in ("this", "expression"):
                if isinstance(node.args[side], exp.Subquery):
                    node.set(side, exp.select("*").from_(node.args[side].unnest().subquery("part")))
            unknown = bool(node.args.get("by_name"))
        if unknown:
            name = node.sql_name() if isinstance(node, exp.Func) else type(node).__name__.upper()
            raise Untranslated(f"{name} has no equivalent in SQLite")

    def anonymous(self, node: exp.Anonymous) -> Node:
        name, given = str(node.this).lower(), node.expressions
        if name.startswith("ft_"):
            return node
        if name in ("every", "bool_and"):
            return exp.LogicalAnd(this=given[0])
        if name in ("reverse", "initcap", "translate", "repeat"):
            return call(name, *given, kind="text")
        if name in ("cbrt", "trunc"):
            return call({"trunc": "truncate"}.get(name, name), *given, kind="real")
        if name == "date_part" and len(given) == 2 and isinstance(given[0], exp.Literal):
            return times.part_of(given[0].name, given[1], self.dialect)
        if name == "space":
            return call("repeat", text_literal(" "), *given, kind="text")
        raise Untranslated(f"{str(node.this).upper()} has no equivalent in SQLite")

    # operators

    def add(self, node: exp.Add | exp.Sub) -> Node:
        if made := times.added(node, self.dialect):
            return made
        kinds = {kind_of(node.this), kind_of(node.expression)}
        if self.dialect == "tsql" and isinstance(node, exp.Add) and "text" in kinds:
            if kinds != {"text"}:
                raise Untranslated("+ between a text and another type")
            return typed(exp.DPipe(this=node.this, expression=node.expression), "text")
        return node

    def divide(self, node: exp.Div) -> Node:
        """A number that is no integer in the dialect can be a whole one here, and SQLite would drop the fraction."""
        if node.args.get("typed") and "real" in (kind_of(node.this), kind_of(node.expression)):
            node.set("this", call("real", node.this, kind="real"))
        node.set("expression", values.divisor(node.expression, self.dialect))
        if {kind_of(node.this), kind_of(node.expression)} & {"date", "moment", "text"}:
            raise Untranslated("a division of something else than numbers")
        return node

    def pipe(self, node: exp.DPipe) -> Node:
        for name in ("this", "expression"):
            if kind_of(node.args[name]) == "bool":
                node.set(name, call("bool_text", node.args[name], kind="text"))
        return typed(exp.DPipe(this=node.this, expression=node.expression), "text")

    def compared(self, node: exp.Binary) -> Node:
        if isinstance(node.parent, exp.Update) and node.arg_key == "expressions":  # SET column = value
            node.set("expression", self._assigned(node.expression, node.this.type))
            return node
        self._demand_no_rank(node, order=isinstance(node, exp.GT | exp.GTE | exp.LT | exp.LTE))
        left, right = self.matched(node.this, node.expression)
        node.set("this", left)
        node.set("expression", right)
        return node

    def matched(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Two sides of a comparison, as SQLite has to have them to compare them as the dialect does."""
        kinds = kind_of(left), kind_of(right)
        if "text" in kinds:
            left = self._without_case(left)
        if kinds == ("text", "text") and not isinstance(left, exp.Literal) and not isinstance(right, exp.Literal):
            return left, right
        return self._as_kind(left, kinds[1], right), self._as_kind(right, kinds[0], left)

    def _without_case(self, node: Node) -> Node:
        """A value that is compared with others; columns know by themselves whether capitals count."""
        if self.sensitive or isinstance(node, exp.Column | exp.Collate):
            return node
        return typed(exp.Collate(this=exp.paren(node), expression=exp.var("NOCASE")), kind_of(node))

    def collate(self, node: exp.Collate) -> Node:
        name = node.expression.name.lower()
        if self.sensitive == ("_ci" in name or "-ci" in name):
            raise Untranslated(f"COLLATE {name}")
        return node.this

    def select(self, node: exp.Select) -> Node:
        for one in node.expressions:
            if kind_of(one.unalias()) == "text":  # DISTINCT, UNION and the queries around this one compare it
                made = self._without_case(one.unalias().copy())
                one.unalias().replace(made)
        return distinct_on(node)

    def _as_kind(self, node: Node, kind: str, other: Node) -> Node:
        """``node`` beside ``other``, which is a ``kind``."""
        is_text = isinstance(node, exp.Literal) and node.is_string
        own = kind_of(node)
        if kind == "moment" and (is_text or own == "date"):
            return times.moment(node)
        if kind == "date" and is_text:
            return times.day(node)
        if kind == "bool" and is_text:
            return call("bool", node, kind="bool")
        if kind in ("int", "real") and is_text:
            return call("real", node, kind="real")
        if kind == "interval" and is_text:
            return times.interval_seconds(exp.Interval(this=node.copy()))
        number = isinstance(node, exp.Literal) and not node.is_string
        if number and kind == "bool" and self.dialect == "postgres":
            raise Wrong("other_sql_error", f"operator does not exist: boolean and integer ({node.name})")
        if number and kind == "text" and isinstance(other, exp.Column):
            if self.dialect == "postgres":
                raise Wrong("other_sql_error", f"operator does not exist: text and number ({other.name}, {node.name})")
            raise Untranslated("a comparison of a text with a number")
        return node

    def _assigned(self, value: Node, to: exp.DataType | None) -> Node:
        """A value for a column, as the column holds it."""
        kind, own = kind_of(to), kind_of(value)
        if not own and isinstance(value, exp.Add | exp.Sub | exp.Mul | exp.Div):  # sqlglot has types for queries alone
            own = "real" if any(kind_of(one) == "real" for one in value.find_all(exp.Column, exp.Literal)) else ""
        if kind == "text" and isinstance(value, exp.Literal):
            return text_literal(value.name)
        if to is not None and ((kind in ("int", "real") and own == "real") or (kind, own) == ("date", "moment")):
            return casts.as_type(value, to, self.dialect)
        return self._as_kind(value, kind, exp.null())

    def insert(self, node: exp.Insert) -> Node:
        schema, given = node.this, node.expression
        target = schema.this if isinstance(schema, exp.Schema) else schema
        table = next((one for one in self.tables.tables.values() if one.name.lower() == target.name), None)
        if table is None or not isinstance(given, exp.Values):
            return node
        kinds = {name.lower(): kind for name, kind in table.columns.items()}
        columns = [one.name for one in schema.expressions] if isinstance(schema, exp.Schema) else [*kinds]
        for row in given.expressions:
            if len(row.expressions) == len(columns):
                pairs = zip(row.expressions, columns, strict=True)
                row.set("expressions", [self._assigned(value, kinds.get(name)) for value, name in pairs])
        return node

    def coalesce(self, node: exp.Coalesce) -> Node:
        if self.dialect in ("postgres", "duckdb") and isinstance(
            node.this, exp.Column
        ):  # of whose type a constant becomes
            node.set("expressions", [self._as_kind(one, kind_of(node.this), exp.null()) for one in node.expressions])
        return node

    def between(self, node: exp.Between) -> Node:
        self._demand_no_rank(node, order=True)
        if node.args.get("symmetric"):
            raise Untranslated("BETWEEN SYMMETRIC has no equivalent in SQLite")
        if kind_of(node.this) == "date" and "moment" in (kind_of(node.args["low"]), kind_of(node.args["high"])):
            node.set("this", times.moment(node.this))
        for name in ("low", "high"):
            node.set(name, self._as_kind(node.args[name], kind_of(node.this), node.this))
        return node

    def listed(self, node: exp.In) -> Node:
        if node.args.get("unnest") is not None or node.args.get("field") is not None:
            raise Untranslated("IN an array has no equivalent in SQLite")
        if kind_of(node.this) == "text":
            node.set("this", self._without_case(node.this))
        node.set("expressions", [self._as_kind(one, kind_of(node.this), node.this) for one in node.expressions])
        return node

    def _demand_no_rank(self, node: Node, *, order: bool) -> None:
        """An ENUM is ordered as it was declared, not as text."""
        if order and self.tables.ranked:
            for column in node.find_all(exp.Column):
                if column.name in self.tables.ranked:
                    raise Untranslated(f"the order of the ENUM {column.name}")

    def ordered(self, node: exp.Ordered) -> Node:
        if isinstance(node.this, exp.Column):
            self._demand_no_rank(node, order=True)
        return node

    def one_argument(self, node: exp.Max | exp.Min) -> Node:
        if node.expressions:
            raise Wrong("other_sql_error", f"{node.sql_name()} takes one argument")
        self._demand_no_rank(node, order=True)
        return node

    def like(self, node: exp.Like) -> Node:
        for name in ("this", "expression"):
            if isinstance(node.args[name], exp.Any | exp.All):
                raise Untranslated("LIKE ANY has no equivalent in SQLite")
        pattern = node.expression
        if self.dialect == "tsql" and "[" in (pattern.name if isinstance(pattern, exp.Literal) else "["):
            raise Untranslated("LIKE with a class of characters")
        plain = isinstance(pattern, exp.Literal) and "\\" not in pattern.name
        if self.dialect not in BACKSLASH or plain or isinstance(node.parent, exp.Escape):
            return node
        return exp.Escape(this=node, expression=text_literal("\\"))

    def ilike(self, node: exp.ILike) -> Node:
        sides = [call("lower", side, kind="text") for side in (node.this, node.expression)]
        made = exp.Like(this=sides[0], expression=sides[1])
        return self.like(made) if not isinstance(node.parent, exp.Escape) else made

    # clauses

    def group(self, node: exp.Group) -> Node:
        if node.args.get("all") or node.args.get("totals") or node.find(exp.Rollup, exp.Cube, exp.GroupingSets):
            raise Untranslated("GROUP BY ROLLUP, CUBE or ALL has no equivalent in SQLite")
        node.set(
            "expressions", [self._without_case(one) if kind_of(one) == "text" else one for one in node.expressions]
        )
        return node
