"""One statement of another dialect: is it valid there, what is it in SQLite, and what does it look like without its style?"""

import re
from contextlib import suppress

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, UnsupportedError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from finetune.tasks.sql.judging.translating import refused, value_types
from finetune.tasks.sql.judging.translating.calls import text_literal
from finetune.tasks.sql.judging.translating.casts import ONLY_TYPE
from finetune.tasks.sql.judging.translating.refused import sources_of
from finetune.tasks.sql.judging.translating.rewrite import Rewriter
from finetune.tasks.sql.judging.translating.tables import Tables, Untranslated, Wrong, kind_of, lowered

_UNRESOLVED = (SqlglotError, ValueError, KeyError, AttributeError, TypeError)  # of a tree that sqlglot does not know
MAX_LENGTH, MAX_PARENTHESES = 20_000, 200


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
    refused.demand_places(tree, tables)
    tree = with_types(tree, tables)
    refused.demand_groups_and_orders(tree, tables)
    value_types.demand(tree, tables)
    return generated(Rewriter(tables).rewrite(tree))


def generated(tree: exp.Expression) -> str:
    try:
        return tree.sql(dialect=Target, identify=True, unsupported_level=ErrorLevel.RAISE, comments=False)
    except UnsupportedError as error:
        raise Untranslated(" ".join(str(error).split())) from None


def normal_form(sql: str, tables: Tables) -> str:
    """The statement with full names of its columns, in one style: equal for two that are the same but for that; "" if
    sqlglot cannot write it."""
    tree = lowered(parsed(sql, tables.dialect), of_any_schema=bool(tables.tables))
    if not tables.tables:
        _name_only_table(tree)
    with suppress(*_UNRESOLVED):
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
    with suppress(*_UNRESOLVED):
        return tree.sql(dialect=tables.dialect, identify=True, comments=False, normalize_functions="upper")
    return ""


def _name_only_table(tree: exp.Expression) -> None:
    """Without a schema nothing says whose a column is, unless its SELECT has one table alone."""
    for column in tree.find_all(exp.Column):
        select = column.find_ancestor(exp.Select)
        sources = list(sources_of(select)) if isinstance(select, exp.Select) else []
        if not column.table and len(sources) == 1 and sources[0].alias_or_name:
            column.set("table", exp.to_identifier(sources[0].alias_or_name))


def with_types(tree: exp.Expression, tables: Tables) -> exp.Expression:
    """The tree with qualified columns, and a type at each value whose type is known."""
    try:
        return _with_types(tree, tables)
    except _UNRESOLVED as error:
        said = " ".join(str(error).split())
        if "mbiguous" in said:
            raise Wrong("other_sql_error", said) from None
        raise Untranslated(f"sqlglot cannot resolve its names and types: {said}") from None


def _with_types(tree: exp.Expression, tables: Tables) -> exp.Expression:
    tree = tree.transform(_prepared, copy=False)
    schema = tables.schema()
    if isinstance(tree, exp.Query):
        tree = qualify(
            tree, schema=schema, dialect=tables.dialect, validate_qualify_columns=False, quote_identifiers=False
        )
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
        made = exp.Cast(this=node, to=exp.DataType(this=exp.DType.TIMESTAMP))
        made.meta[ONLY_TYPE] = True
        return made
    if isinstance(node, PREFIXED):
        return plain_text(node)
    return _simple_any(node) if isinstance(node, exp.EQ | exp.NEQ) else node


def _simple_any(node: exp.Binary) -> exp.Expression:
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
