"""One statement of another dialect: is it valid there, what is it in SQLite, and what does it look like without its style?"""

import re
from collections.abc import Iterator
from contextlib import suppress

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, UnsupportedError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from finetune.tasks.sql.judging.translating.rewrite import Rewriter, simple_any
from finetune.tasks.sql.judging.translating.tables import Tables, Untranslated, Wrong, kind_of, lowered

MAX_LENGTH, MAX_PARENTHESES = 20_000, 200
_STRICT_GROUPS = frozenset("postgres tsql duckdb oracle snowflake bigquery".split())  # MySQL only in its default mode
_CONDITIONS = (exp.Where, exp.Having, exp.Join)


class Target(SQLite):
    """SQLite with names in backticks: what it quotes otherwise it takes for a text if it knows no such column."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS = ["`"]  # noqa: RUF012 - as sqlglot declares it


def parsed(sql: str, dialect: str) -> exp.Expression:
    """The tree of exactly one statement. Wrong says in sqlglot's words what is no SQL of the dialect."""
    if len(sql) > MAX_LENGTH or sql.count("(") > MAX_PARENTHESES:
        raise Wrong("too_large", f"{len(sql)} characters, {sql.count('(')} parentheses")
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" at line {first['line']}, column {first['col']}: {first['highlight']!r}" if first.get("line") else ""
        raise Wrong("parse_error", f"{first.get('description') or str(error)}{where}") from None
    except SqlglotError as error:
        raise Wrong("parse_error", " ".join(str(error).split())) from None
    if len(trees) != 1:
        raise Wrong("multiple_statements" if trees else "parse_error", f"{len(trees)} statements")
    return trees[0]


def translated(sql: str, tables: Tables) -> str:
    """The statement in SQLite. Wrong if the dialect would refuse it, Untranslated if SQLite cannot do the same."""
    tree = parsed(sql, tables.dialect)
    if isinstance(tree, exp.Command) or not isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete):
        raise Untranslated(f"{type(tree).__name__.upper()} is not run")
    tables.check_case(tree)
    tree = lowered(tree)
    _demand_known_names(tree, tables)
    tree = with_types(tree, tables)
    if tables.dialect in _STRICT_GROUPS:
        _demand_grouped(tree, tables)
    return generated(Rewriter(tables).rewrite(tree))


def generated(tree: exp.Expression) -> str:
    try:
        return tree.sql(dialect=Target, identify=True, unsupported_level=ErrorLevel.RAISE, comments=False)
    except UnsupportedError as error:
        raise Untranslated(" ".join(str(error).split())) from None


def normal_form(sql: str, tables: Tables) -> str:
    """The statement with full names of its columns, in one style: equal for two that are the same but for that."""
    tree = lowered(parsed(sql, tables.dialect))
    if not tables.tables:
        _name_only_table(tree)
    with suppress(
        SqlglotError, ValueError, KeyError, AttributeError, TypeError
    ):  # of a tree that sqlglot does not know
        tree = qualify(
            tree, schema=tables.schema() or None, dialect=tables.dialect, validate_qualify_columns=False,
            quote_identifiers=False, canonicalize_table_aliases=True,
        )  # fmt: skip
    for term in tree.find_all(exp.Ordered):
        if not term.args.get("desc"):
            term.args.pop("desc", None)  # ASC is what stands there without a word
    for alias in list(tree.find_all(exp.Alias)):
        if isinstance(alias.parent, exp.Select) and alias.find_ancestor(exp.Subquery, exp.CTE) is None:
            alias.replace(alias.this)
    return tree.sql(dialect=tables.dialect, identify=True, comments=False, normalize_functions="upper")


def _name_only_table(tree: exp.Expression) -> None:
    """Without a schema nothing says whose a column is, unless its SELECT has one table alone."""
    for column in tree.find_all(exp.Column):
        select = column.find_ancestor(exp.Select)
        sources = list(_sources(select)) if isinstance(select, exp.Select) else []
        if not column.table and len(sources) == 1 and sources[0].alias_or_name:
            column.set("table", exp.to_identifier(sources[0].alias_or_name))


def with_types(tree: exp.Expression, tables: Tables) -> exp.Expression:
    """The tree with qualified columns, and a type at each value whose type is known."""
    tree = tree.transform(_prepared, copy=False)
    schema = tables.schema()
    if isinstance(tree, exp.Query):
        try:
            tree = qualify(
                tree, schema=schema, dialect=tables.dialect, validate_qualify_columns=False, quote_identifiers=False
            )
        except SqlglotError as error:
            if "mbiguous" in str(error):
                raise Wrong("other_sql_error", " ".join(str(error).split())) from None
            raise Untranslated(f"sqlglot cannot resolve its names: {' '.join(str(error).split())}") from None
    for _ in range(2):
        tree = annotate_types(tree, schema=schema, dialect=tables.dialect)
        by_name = tables.types()
        for column in tree.find_all(exp.Column):
            if not kind_of(column) and not column.table and column.name.lower() in by_name:
                column.type = by_name[column.name.lower()]
        for node in list(tree.find_all(exp.Sub, exp.Add)):
            _give_sum_its_type(node, tables.dialect)
    return tree


PREFIXED = (exp.National, exp.ByteString)  # N'...', and PostgreSQL's E'...'


def plain_text(node: exp.Expression) -> exp.Expression:
    """The literal without the letter in front. Untranslated if it has escapes that sqlglot leaves as they are."""
    if isinstance(node, exp.ByteString) and "\\" in node.name:
        raise Untranslated("a text with escapes")
    return exp.Literal.string(node.name)


def _prepared(node: exp.Expression) -> exp.Expression:
    """What sqlglot has no type for, within a cast to its type; ANY as IN."""
    if isinstance(node, exp.TimestampTrunc | exp.DateTrunc) and not isinstance(node.parent, exp.Cast):
        return exp.Cast(this=node, to=exp.DataType(this=exp.DType.TIMESTAMP))
    if isinstance(node, PREFIXED):
        return plain_text(node)
    return simple_any(node) if isinstance(node, exp.EQ | exp.NEQ) else node


def _give_sum_its_type(node: exp.Sub | exp.Add, dialect: str) -> None:
    """Days are a number, the difference of two moments an interval, a date plus an interval a moment: not all dates."""
    kinds = kind_of(node.this), kind_of(node.expression)
    if dialect not in ("postgres", "duckdb", "oracle") or node.meta.get("summed"):
        return
    to = None
    if "interval" in kinds and {"date", "moment"} & set(kinds) and dialect != "oracle":
        to = exp.DType.TIMESTAMP
    elif isinstance(node, exp.Sub) and kinds == ("date", "date"):
        to = exp.DType.INT
    elif isinstance(node, exp.Sub) and "moment" in kinds and set(kinds) <= {"moment", "date"}:
        to = exp.DType.INTERVAL
    if to is not None:
        inner = type(node)(this=node.this, expression=node.expression)
        inner.type = node.type
        inner.meta["summed"] = True
        node.replace(exp.Cast(this=inner, to=exp.DataType(this=to)))


def _demand_known_names(tree: exp.Expression, tables: Tables) -> None:
    """Wrong if a condition names an alias of its SELECT: SQLite alone allows that, and MySQL in HAVING."""
    columns = {name.lower() for table in tables.tables.values() for name in table.columns}
    for alias in tree.find_all(exp.Alias, exp.TableAlias):
        if not isinstance(alias.parent, exp.Select):
            columns |= {name.lower() for name in getattr(alias, "alias_column_names", [])}
    for select in tree.find_all(exp.Select):
        aliases = {one.alias for one in select.expressions if isinstance(one, exp.Alias)} - columns
        inner = {
            name
            for sub in select.find_all(exp.Subquery, exp.CTE)
            for name in getattr(sub, "named_selects", []) or sub.this.named_selects
        }
        for ctes in (tree.args.get("with_"),):
            inner |= {name for cte in (ctes.expressions if ctes else []) for name in cte.this.named_selects}
        for condition in _conditions(select):
            if tables.dialect in ("mysql", "duckdb", "snowflake", "bigquery", "spark") and (
                isinstance(condition, exp.Having) or tables.dialect != "mysql"
            ):
                continue
            for column in condition.find_all(exp.Column):
                if not column.table and column.name in aliases - inner and column.find_ancestor(exp.Select) is select:
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
            if isinstance(key, exp.Literal) and not key.is_string and 0 < int(key.name) <= len(shown):
                keys[at] = shown[int(key.name) - 1]
        sources = {source.alias_or_name: source.name for source in _sources(select)}
        allowed = {key.sql() for key in keys}
        whole = set()
        if tables.dialect == "postgres":
            for alias, name in sources.items():
                table = tables.tables.get(name)
                if table and table.key and all(f"{alias}.{column.lower()}" in allowed for column in table.key):
                    whole.add(alias)
        having = select.args.get("having")
        for one in [*shown, *([having.this] if having else [])]:
            _demand_grouped_value(one, allowed, whole, set(sources))


def _sources(select: exp.Select) -> Iterator[exp.Expression]:
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
