"""DISTINCT ON as SQLite can do it: the first row of each group by ROW_NUMBER, then the order and the limit of all."""

from sqlglot import exp

from finetune.tasks.sql.judging.translating.calls import Node, whole_literal
from finetune.tasks.sql.judging.translating.tables import Untranslated

_GROUP, _ROW, _KEY = "ft_group", "ft_row", "ft_key"


def distinct_on(select: exp.Select) -> Node:
    """The same rows in the same order; the SELECT itself if it has no DISTINCT ON."""
    distinct = select.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if on is None:
        return select
    names = [one.alias_or_name for one in select.expressions]
    if select.is_star or not all(names) or len(set(names)) < len(names):
        raise Untranslated("DISTINCT ON of columns without a name of their own")
    order = select.args.get("order")
    terms = order.expressions if order is not None else []
    kept = {name: select.args.get(name) for name in ("limit", "offset", "with_")}
    for name in ("distinct", "order", *kept):
        select.set(name, None)
    keys = [resolved(term.this, select) for term in terms]
    within = [_with_key(term, key) for term, key in zip(terms, keys, strict=True)]
    groups = [resolved(one, select) for one in on.expressions]
    number = exp.Window(
        this=exp.RowNumber(),
        partition_by=groups,
        order=exp.Order(expressions=within or [exp.Ordered(this=g.copy()) for g in groups]),
    )
    made = [exp.alias_(number, _ROW), *(exp.alias_(key.copy(), f"{_KEY}{at}") for at, key in enumerate(keys))]
    for one in made:
        select.append("expressions", one)
    outer = exp.select(*(exp.column(name, _GROUP) for name in names)).from_(select.subquery(_GROUP, copy=False))
    outer = outer.where(exp.EQ(this=exp.column(_ROW, _GROUP), expression=whole_literal(1)))
    if terms:
        by = [_with_key(term, exp.column(f"{_KEY}{at}", _GROUP)) for at, term in enumerate(terms)]
        outer.set("order", exp.Order(expressions=by))
    for name, clause in kept.items():
        outer.set(name, clause)
    return outer


def resolved(key: Node, select: exp.Select) -> Node:
    """What a key of ORDER BY, GROUP BY or DISTINCT ON stands for: a position or an alias is one of the values selected."""
    key = key.unnest()
    if isinstance(key, exp.Literal) and key.name.isdigit() and 0 < int(key.name) <= len(select.expressions):
        return select.expressions[int(key.name) - 1].unalias().copy()
    if isinstance(key, exp.Column) and not key.table:
        return next(
            (one.this.copy() for one in select.expressions if isinstance(one, exp.Alias) and one.alias == key.name), key
        )
    return key.copy()


def _with_key(term: exp.Ordered, key: Node) -> exp.Ordered:
    return exp.Ordered(this=key.copy(), desc=term.args.get("desc"), nulls_first=term.args.get("nulls_first"))
