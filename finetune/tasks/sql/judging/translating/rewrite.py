"""A tree of another dialect, with the types of its columns, as a tree of SQLite that gives the same rows.

What SQLite does otherwise becomes a function ft_... of ``judging/functions``; what is neither handled nor known to be the same
in both is refused with ``Untranslated``: nothing changes its meaning on the way.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.translating import aggregates, casts, times, values
from finetune.tasks.sql.judging.translating.calls import Node, call, text_literal, typed
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
_PSEUDO_COLUMNS = frozenset("rownum rowid level sysdate systimestamp user".split())
_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)


class Rewriter:
    """Rewrites one statement. ``tables`` are those of its context."""

    def __init__(self, tables: Tables):
        self.tables, self.dialect = tables, tables.dialect
        self.sensitive = self.dialect not in INSENSITIVE
        self.handlers: dict[str, Callable[[Any], Node]] = {
            "anonymous": self.anonymous, "add": self.add, "sub": self.add, "between": self.between, "in": self.listed,
            "like": self.like, "ilike": self.ilike, "collate": lambda node: node.this, "div": self.divide, "dpipe": self.pipe,
            "max": self.one_argument, "min": self.one_argument, "ordered": self.ordered, "group": self.group,
            "limit": self.limit, "fetch": self.limit, "delete": self.delete, "update": self.update,
            "windowspec": self.window_spec, "onconflict": self.on_conflict,
        }  # fmt: skip
        for room in (times, casts, values, aggregates):
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
        simple = {
            "reverse": "reverse",
            "initcap": "initcap",
            "cbrt": "cbrt",
            "translate": "translate",
            "repeat": "repeat",
            "trunc": "truncate",
        }
        if name in simple:
            return call(simple[name], *given, kind="real" if name in ("cbrt", "trunc") else "text")
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
        if {kind_of(node.this), kind_of(node.expression)} & {"date", "moment", "text"}:
            raise Untranslated("a division of something else than numbers")
        return node

    def pipe(self, node: exp.DPipe) -> Node:
        for name in ("this", "expression"):
            if kind_of(node.args[name]) == "bool":
                node.set(name, call("bool_text", node.args[name], kind="text"))
        return typed(exp.DPipe(this=node.this, expression=node.expression), "text")

    def compared(self, node: exp.Binary) -> Node:
        self._demand_no_rank(node, order=isinstance(node, exp.GT | exp.GTE | exp.LT | exp.LTE))
        left, right = self.matched(node.this, node.expression)
        node.set("this", left)
        node.set("expression", right)
        return node

    def matched(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Two sides of a comparison, as SQLite has to have them to compare them as the dialect does."""
        kinds = kind_of(left), kind_of(right)
        if not self.sensitive and "text" in kinds and not isinstance(left, exp.Column):
            left = typed(exp.Collate(this=exp.paren(left), expression=exp.var("NOCASE")), kinds[0])
        if kinds == ("text", "text") and not isinstance(left, exp.Literal) and not isinstance(right, exp.Literal):
            return left, right
        return self._as_kind(left, kinds[1], right), self._as_kind(right, kinds[0], left)

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

    def between(self, node: exp.Between) -> Node:
        self._demand_no_rank(node, order=True)
        if node.args.get("symmetric"):
            raise Untranslated("BETWEEN SYMMETRIC has no equivalent in SQLite")
        for name in ("low", "high"):
            node.set(name, self._as_kind(node.args[name], kind_of(node.this), node.this))
        return node

    def listed(self, node: exp.In) -> Node:
        if node.args.get("unnest") is not None or node.args.get("field") is not None:
            raise Untranslated("IN an array has no equivalent in SQLite")
        if not self.sensitive and kind_of(node.this) == "text" and not isinstance(node.this, exp.Column):
            node.set("this", typed(exp.Collate(this=exp.paren(node.this), expression=exp.var("NOCASE")), "text"))
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
        return node

    def limit(self, node: exp.Limit | exp.Fetch) -> Node:
        options = node.args.get("limit_options")
        if options is not None and any(options.args.values()):
            text = options.sql().upper()
            if "TIES" in text or "PERCENT" in text:
                raise Untranslated(f"{text.strip()} has no equivalent in SQLite")
        return node

    def window_spec(self, node: exp.WindowSpec) -> Node:
        if any(isinstance(node.args.get(name), exp.Interval) for name in ("start", "end")):
            raise Untranslated("a window of days or times")
        return node

    def delete(self, node: exp.Delete) -> Node:
        if node.args.get("using") or node.args.get("tables"):
            raise Untranslated("DELETE of joined tables")
        return node

    def update(self, node: exp.Update) -> Node:
        if isinstance(node.this, exp.Table) and node.this.args.get("joins"):
            raise Untranslated("UPDATE of joined tables")
        return node

    def on_conflict(self, node: exp.OnConflict) -> Node:
        if node.args.get("duplicate") or node.args.get("constraint"):
            raise Untranslated("ON DUPLICATE KEY and ON CONSTRAINT have no equivalent in SQLite")
        keys = node.args.get("conflict_keys") or []
        node.set("conflict_keys", [key.this if isinstance(key, exp.Ordered) else key for key in keys])
        return node


def simple_any(node: exp.Binary) -> Node:
    """x = ANY(ARRAY[...]), = ANY('{...}') and = ANY(SELECT ...) as IN, <> ALL(...) as NOT IN; other trees as they are."""
    right = node.expression
    if not (isinstance(node, exp.EQ) and isinstance(right, exp.Any)) and not (
        isinstance(node, exp.NEQ) and isinstance(right, exp.All)
    ):
        return node
    inner = right.this.unnest() if isinstance(right.this, exp.Paren) else right.this
    while isinstance(inner, exp.Cast | exp.Paren):
        inner = inner.this
    made = None
    if isinstance(inner, exp.Array):
        made = exp.In(this=node.this, expressions=inner.expressions)
    elif isinstance(inner, exp.Subquery | exp.Select):
        made = exp.In(this=node.this, query=inner if isinstance(inner, exp.Subquery) else inner.subquery())
    elif isinstance(inner, exp.Literal) and re.fullmatch(r"\{[^{}\"\\]*\}", inner.name):
        made = exp.In(this=node.this, expressions=[text_literal(one.strip()) for one in inner.name[1:-1].split(",")])
    if made is None:
        return node
    return exp.Not(this=made) if isinstance(node, exp.NEQ) else made
