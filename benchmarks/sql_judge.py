"""How many wrong queries does the SQL judge accept, with one database and with three?

    python -m benchmarks.sql_judge ROWS.jsonl [--rows 400]

ROWS.jsonl holds ``sql`` and ``sql_context`` a line. Gold is mutated (WHERE or one condition dropped, a
comparison, an aggregate, DISTINCT, LIMIT, the order, a column or a join changed), and each mutant judged as
an answer. A mutant that three databases accept is tried on thirty more of the same making: where all accept
it, it counts as equivalent to gold and is left out. Rewritings that mean the same as gold are judged too: all
should be right.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from finetune.sql import SqlJudge

COMPARISONS: dict[type[exp.Binary], list[type[exp.Binary]]] = {
    exp.EQ: [exp.NEQ, exp.GTE, exp.Like],
    exp.NEQ: [exp.EQ],
    exp.GT: [exp.GTE, exp.LT],
    exp.GTE: [exp.GT, exp.LTE],
    exp.LT: [exp.LTE, exp.GT],
    exp.LTE: [exp.LT, exp.GTE],
}
AGGREGATES: list[type[exp.AggFunc]] = [exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Count]
EXTRA_SALTS = 15


def mutants(gold: str) -> Iterator[tuple[str, str]]:
    """(kind of mutation, query) for each single change of a SELECT."""
    tree = sqlglot.parse_one(gold, dialect="sqlite")
    if not isinstance(tree, exp.Select):
        return
    for number, node in enumerate(tree.walk()):
        for kind, change in changes(node):
            copy = tree.copy()
            change_at(list(copy.walk())[number], kind, change)
            yield kind, copy.sql(dialect="sqlite")


def changes(node: exp.Expression) -> list[tuple[str, object]]:
    """What can be changed at a node, as (kind, what ``change_at`` needs to know)."""
    found: list[tuple[str, object]] = [("comparison", other) for other in COMPARISONS.get(type(node), [])]
    if isinstance(node, exp.Literal) and node.find_ancestor(exp.Where):
        found.append(("constant", None))
    if isinstance(node, exp.And | exp.Or):
        found += [("condition dropped", "this"), ("condition dropped", "expression"), ("and/or", None)]
    if type(node) in AGGREGATES and isinstance(node.this, exp.Column | exp.Binary | exp.Paren):
        found += [("aggregate", other) for other in AGGREGATES if other is not type(node)]
        found.append(("distinct", None))
    if isinstance(node, exp.Select):
        found += [("WHERE dropped", None)] * bool(node.args.get("where"))
        found += [("GROUP BY dropped", None)] * bool(node.args.get("group"))
        found += [("order", "drop")] * bool(node.args.get("order"))
        found += [("limit", None)] * bool(node.args.get("limit"))
        found += [("limit", 1), ("distinct", None)]
    if isinstance(node, exp.Ordered):
        found.append(("order", "turn"))
    if isinstance(node, exp.Join) and node.args.get("on"):
        found.append(("join", None))
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        others = {other.name for other in node.root().find_all(exp.Column) if other.table == node.table}
        found += [("column", name) for name in sorted(others - {node.name})[:2]]
    return found


def change_at(node: exp.Expression, kind: str, change: object) -> None:
    if kind in ("comparison", "aggregate"):
        node.replace(change(**node.args))  # type: ignore[operator]
    elif kind == "constant":
        text = f"{node.this}x" if node.is_string else str(float(node.this) + 1)
        node.set("this", text)
    elif kind == "condition dropped":
        node.replace(node.args[change])
    elif kind == "and/or":
        node.replace((exp.Or if isinstance(node, exp.And) else exp.And)(**node.args))
    elif kind == "distinct" and isinstance(node, exp.Select):
        node.set("distinct", None if node.args.get("distinct") else exp.Distinct())
    elif kind == "distinct":
        node.set("this", exp.Distinct(expressions=[node.this]))
    elif kind == "WHERE dropped":
        node.set("where", None)
    elif kind == "GROUP BY dropped":
        node.set("group", None)
    elif kind == "limit":
        old = node.args.get("limit")
        count = int(old.expression.name) + 1 if old and change and old.expression.name.isdigit() else 1
        node.set("limit", exp.Limit(expression=exp.Literal.number(count)) if change else None)
    elif kind == "order" and change == "drop":
        node.set("order", None)
    elif kind == "order":
        node.set("desc", not node.args.get("desc"))
    elif kind == "join":
        node.set("side", None if node.side else "LEFT")
    elif kind == "column":
        node.set("this", exp.to_identifier(str(change)))


def rewritings(gold: str) -> Iterator[tuple[str, str]]:
    """Queries that mean the same as gold."""
    tree = sqlglot.parse_one(gold, dialect="sqlite")
    yield "formatted", tree.sql(dialect="sqlite", pretty=True)
    if not isinstance(tree, exp.Select):
        return
    yield "in a fence", f"Here is the query:\n```sql\n{gold}\n```\nIt selects what you asked for."
    turned = tree.copy()
    turned.set("expressions", [item.copy() for item in reversed(tree.expressions)])
    if not tree.args.get("order") or not any(term.this.is_number for term in tree.args["order"].expressions):
        yield "columns turned", turned.sql(dialect="sqlite")
    if not tree.args.get("order") and not tree.args.get("limit"):
        yield "in a subquery", f"SELECT * FROM ({tree.sql(dialect='sqlite')}) AS inner_query"
    spread = tree.transform(spread_condition)
    if spread != tree:
        yield "IN and BETWEEN spelt out", spread.sql(dialect="sqlite")


def spread_condition(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Between):
        low = exp.GTE(this=node.this, expression=node.args["low"])
        high = exp.LTE(this=node.this.copy(), expression=node.args["high"])
        return exp.Paren(this=exp.And(this=low, expression=high))
    if isinstance(node, exp.In) and len(node.expressions) > 1:
        equalities = [exp.EQ(this=node.this.copy(), expression=item) for item in node.expressions]
        return exp.Paren(this=exp.or_(*equalities))
    return node


def equivalent(judge: SqlJudge, context: str, gold: str, query: str) -> bool:
    """Whether more databases accept it too: a comment at the end of the context gives another two."""
    judgements = (judge.judge(f"{context}\n-- {salt}", gold, query) for salt in range(EXTRA_SALTS))
    return all(judged.right or not judged.scored for judged in judgements)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows_file", type=Path)
    parser.add_argument("--rows", type=int, default=400, help="how many SELECT rows to take")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--show", action="store_true", help="print the wrong queries that three accept")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in arguments.rows_file.open(encoding="utf-8")]
    rows = [row for row in rows if row["sql"].lstrip().upper().startswith("SELECT")]
    rows = random.Random(arguments.seed).sample(rows, min(arguments.rows, len(rows)))

    golds, wrong, one, three = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    same, refused, equivalents = 0, 0, 0
    with SqlJudge() as judge, SqlJudge(generated=0) as own_only:
        for row in rows:
            context, gold = row["sql_context"], row["sql"]
            judged = judge.judge(context, gold, gold)
            golds[judged.kind if judged.kind != "unscorable" else f"unscorable: {judged.reason}"] += 1
            if not judged.right:
                continue
            try:
                candidates, alike = list(mutants(gold)), list(rewritings(gold))
            except (SqlglotError, ValueError) as error:
                print(f"no mutants of {gold!r}: {error}")
                continue
            for query, kind in {query: kind for kind, query in candidates}.items():
                accepted = judge.judge(context, gold, query).right
                if accepted and equivalent(judge, context, gold, query):
                    equivalents += 1
                    continue
                wrong[kind] += 1
                one[kind] += own_only.judge(context, gold, query).right
                three[kind] += accepted
                if accepted and arguments.show:
                    print(f"accepted ({kind}): {query}\n     gold: {gold}\n     {context[:500]}")
            for kind, query in alike:
                same += 1
                verdict = judge.judge(context, gold, query)
                if not verdict.right:
                    refused += 1
                    print(f"refused ({kind}, {verdict.kind}: {verdict.reason}): {query}\n     gold: {gold}")

    print(f"\ngold of {len(rows)} SELECT rows:")
    for kind, count in golds.most_common():
        print(f"  {count:5}  {kind}")
    print(f"\n{'mutation':20} {'wrong':>6} {'accepted by one':>16} {'by three':>10}")
    for kind in [*sorted(wrong), "all"]:
        number = wrong.total() if kind == "all" else wrong[kind]
        by_one, by_three = (counts.total() if kind == "all" else counts[kind] for counts in (one, three))
        print(f"{kind:20} {number:6} {by_one / number:16.1%} {by_three / number:10.1%}")
    print(f"\n{equivalents} mutants are equivalent to gold on every database tried, and left out")
    print(f"{refused} of {same} rewritings refused")


if __name__ == "__main__":
    main()
