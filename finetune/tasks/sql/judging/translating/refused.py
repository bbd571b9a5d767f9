"""What an engine refuses although SQLite takes it: names and clauses in places where the dialect allows none."""

import re
from collections.abc import Iterator

from sqlglot import exp

from finetune.tasks.sql.judging.translating.casts import ONLY_TYPE
from finetune.tasks.sql.judging.translating.distinct import resolved
from finetune.tasks.sql.judging.translating.tables import Tables, Wrong

_STRICT_GROUPS = frozenset("postgres tsql duckdb oracle snowflake bigquery".split())  # MySQL only in its default mode
_STRICT_ORDERS = frozenset("postgres tsql oracle duckdb".split())  # of DISTINCT; MySQL only in its default mode
_NEED_RECURSIVE = frozenset("postgres mysql duckdb".split())


def demand_places(tree: exp.Expression, tables: Tables) -> None:
    """Wrong if something stands where the dialect does not allow it. The names are as they were written."""
    _demand_known_names(tree, tables)
    if tables.dialect in _NEED_RECURSIVE:
        _demand_recursive(tree, tables)
    for select, aliases in _aliases(tree, tables):
        if tables.dialect in ("tsql", "oracle"):
            _demand_groups_of_columns(select, aliases)
        if tables.dialect in ("postgres", "tsql"):
            _demand_whole_aliases(select, aliases)
        if tables.dialect in ("mysql", "tsql"):
            _demand_names_of_subqueries(select)
        if tables.dialect == "tsql":
            _demand_places_of_tsql(select)


def demand_groups_and_orders(tree: exp.Expression, tables: Tables) -> None:
    """Wrong if a column is neither grouped nor in an aggregate, or if DISTINCT and ORDER BY contradict each other."""
    if tables.dialect in _STRICT_GROUPS:
        _demand_grouped(tree, tables)
    if tables.dialect in _STRICT_ORDERS and isinstance(tree, exp.Query):
        for select in tree.find_all(exp.Select):
            _demand_order_of_distinct(select, tables.dialect)


def _aliases(tree: exp.Expression, tables: Tables) -> Iterator[tuple[exp.Select, set[str]]]:
    """Each SELECT with the aliases of its values that are the name of no column."""
    columns = {name.lower() for table in tables.tables.values() for name in table.columns}
    for alias in tree.find_all(exp.Alias, exp.TableAlias):
        if not isinstance(alias.parent, exp.Select):
            columns |= {name.lower() for name in getattr(alias, "alias_column_names", [])}
    ctes = tree.args.get("with_")
    of_ctes = {name for cte in (ctes.expressions if ctes else []) for name in cte.this.named_selects}
    for select in tree.find_all(exp.Select):
        inner = {
            name
            for sub in select.find_all(exp.Subquery, exp.CTE)
            for name in getattr(sub, "named_selects", []) or sub.this.named_selects
        }
        yield (
            select,
            {one.alias for one in select.expressions if isinstance(one, exp.Alias)} - columns - inner - of_ctes,
        )


def _demand_known_names(tree: exp.Expression, tables: Tables) -> None:
    """Wrong if a condition names an alias of its SELECT: SQLite alone allows that, and MySQL in HAVING."""
    for select, aliases in _aliases(tree, tables):
        for condition in _conditions(select):
            if tables.dialect in ("mysql", "duckdb", "snowflake", "bigquery", "spark") and (
                isinstance(condition, exp.Having) or tables.dialect != "mysql"
            ):
                continue
            for column in condition.find_all(exp.Column):
                if not column.table and column.name in aliases and column.find_ancestor(exp.Select) is select:
                    raise Wrong(
                        "unknown_column", f'column "{column.name}" does not exist (an alias cannot stand there)'
                    )


def _conditions(select: exp.Select) -> Iterator[exp.Expression]:
    for name in ("where", "having"):
        if clause := select.args.get(name):
            yield clause


def _demand_grouped(tree: exp.Expression, tables: Tables) -> None:
    """Wrong if a column is neither grouped nor in an aggregate."""
    for select in tree.find_all(exp.Select):
        group = select.args.get("group")
        shown = [one.unalias() for one in select.expressions]
        if group is None and not any(_aggregates(one) for one in shown):
            continue
        if group is not None and (group.args.get("all") or group.find(exp.Rollup, exp.Cube, exp.GroupingSets)):
            continue
        keys = [key.unalias() if isinstance(key, exp.Alias) else key for key in (group.expressions if group else [])]
        for at, key in enumerate(keys):
            if isinstance(key, exp.Literal) and key.name.isdigit() and 0 < int(key.name) <= len(shown):
                keys[at] = shown[int(key.name) - 1]
        sources = {source.alias_or_name: source.name for source in sources_of(select)}
        allowed = {one.sql() for key in keys for one in (key, key.this if key.meta.get(ONLY_TYPE) else key)}
        whole = set()
        if tables.dialect == "postgres":
            for alias, name in sources.items():
                table = tables.tables.get(name)
                if table and table.key and all(f"{alias}.{column.lower()}" in allowed for column in table.key):
                    whole.add(alias)
        having, order = select.args.get("having"), select.args.get("order")
        terms = [term.this for term in order.expressions] if order else []
        for one in [*shown, *([having.this] if having else []), *terms]:
            _demand_grouped_value(one, allowed, whole, set(sources))


def sources_of(select: exp.Select) -> Iterator[exp.Expression]:
    clauses = [select.args.get("from_") or select.args.get("from"), *(select.args.get("joins") or [])]
    for clause in clauses:
        if clause is not None and isinstance(clause.this, exp.Table | exp.Subquery):
            yield clause.this


def _aggregates(node: exp.Expression) -> bool:
    return any(
        not isinstance(found.parent, exp.Window)
        and found.find_ancestor(exp.Subquery, exp.Select) is node.find_ancestor(exp.Subquery, exp.Select)
        for found in node.find_all(exp.AggFunc)
    )


def _demand_grouped_value(node: exp.Expression, allowed: set[str], whole: set[str], sources: set[str]) -> None:
    if node.sql() in allowed or isinstance(
        node, exp.AggFunc | exp.Query | exp.Subquery | exp.Filter | exp.WithinGroup | exp.Window
    ):
        return
    if isinstance(node, exp.Anonymous) and re.fullmatch("every|bool_and|bool_or", str(node.this).lower()):
        return
    if isinstance(node, exp.Column):
        if node.table in sources - whole:
            message = f'column "{node.sql()}" must appear in the GROUP BY clause or be used in an aggregate function'
            raise Wrong("other_sql_error", message)
        return
    for child in node.iter_expressions():
        _demand_grouped_value(child, allowed, whole, sources)


def _demand_recursive(tree: exp.Expression, tables: Tables) -> None:
    """SQLite alone recurses without being told."""
    known = {name.lower() for name in tables.tables}
    for clause in tree.find_all(exp.With):
        for cte in clause.expressions if not clause.recursive else []:
            if cte.alias not in known and any(table.name == cte.alias for table in cte.this.find_all(exp.Table)):
                raise Wrong("unknown_table", f'relation "{cte.alias}" does not exist (WITH RECURSIVE)')


def _demand_groups_of_columns(select: exp.Select, aliases: set[str]) -> None:
    group = select.args.get("group")
    for key in group.expressions if group else []:
        if isinstance(key, exp.Literal):
            raise Wrong("other_sql_error", "GROUP BY takes no position of a column")
        if isinstance(key, exp.Column) and not key.table and key.name in aliases:
            raise Wrong("unknown_column", f'column "{key.name}" does not exist (an alias cannot stand in GROUP BY)')


def _demand_whole_aliases(select: exp.Select, aliases: set[str]) -> None:
    order = select.args.get("order")
    for term in order.expressions if order else []:
        for column in term.this.find_all(exp.Column) if not isinstance(term.this.unnest(), exp.Column) else []:
            if not column.table and column.name in aliases and column.find_ancestor(exp.Select) is select:
                message = f'column "{column.name}" does not exist (an alias stands alone in ORDER BY)'
                raise Wrong("unknown_column", message)


def _demand_names_of_subqueries(select: exp.Select) -> None:
    for source in sources_of(select):
        if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Query) and not source.alias:
            raise Wrong("parse_error", "syntax error: a subquery in FROM has no alias")


def _demand_places_of_tsql(select: exp.Select) -> None:
    order, limit, offset = (select.args.get(name) for name in ("order", "limit", "offset"))
    if (offset and not order) or (isinstance(limit, exp.Fetch) and not offset):
        raise Wrong("parse_error", "syntax error: FETCH needs OFFSET, and OFFSET needs ORDER BY")
    if any(join.args.get("using") for join in select.args.get("joins") or []):
        raise Wrong("parse_error", "syntax error: JOIN takes no USING")
    is_inner = isinstance(select.parent, exp.Subquery | exp.CTE)
    if is_inner and order and not (limit or offset or select.args.get("for_")):
        raise Wrong("other_sql_error", "ORDER BY is invalid in a subquery without TOP or OFFSET")


def _demand_order_of_distinct(select: exp.Select, dialect: str) -> None:
    distinct, order = select.args.get("distinct"), select.args.get("order")
    if distinct is None or order is None or select.is_star:
        return
    on = distinct.args.get("on")
    keys = [resolved(term.this, select).sql() for term in order.expressions]
    if on is None:
        shown = {one.unalias().sql() for one in select.expressions}
        if any(key not in shown for key in keys):
            raise Wrong("other_sql_error", "for SELECT DISTINCT, ORDER BY expressions must appear in the select list")
    elif dialect == "postgres":
        groups = {resolved(one, select).sql() for one in on.expressions}
        if any(key not in groups for key in keys[: len(groups)]):
            raise Wrong("other_sql_error", "SELECT DISTINCT ON expressions must match the first of ORDER BY")
