"""The SQL judge's test of itself: how many wrong answers does it accept, with one database and with three?

    python -m benchmarks.sql_judge ROWS.jsonl [--rows 400]

ROWS.jsonl holds ``sql`` and ``sql_context`` a line. Gold is mutated (WHERE or one condition dropped, a
comparison, an aggregate, DISTINCT, LIMIT, the order, a column or a join changed), and each mutant judged as
an answer. A mutant that three databases accept is tried on thirty more of the same making: where all accept
it, it counts as equivalent to gold and is left out. Gold itself and rewritings that mean the same are judged too:
all should be right; and answers that cannot be right: a constant, nothing, prose, the result on the row's own
database copied as constants.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from finetune.tasks.sql.judging import SqlJudge
from finetune.tasks.sql.judging.execution import Row, Run, SqlWorker, Value

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


def right_answers(gold: str) -> Iterator[tuple[str, str]]:
    """(kind, answer): gold itself, and queries that mean the same."""
    yield "gold", gold
    yield "gold in prose", f"You need this query:\n\n{gold.rstrip(';')}\n\nIt selects what you asked for."
    yield "gold in a fence", f"Here is the query:\n```sql\n{gold}\n```\nIt selects what you asked for."
    try:
        tree = sqlglot.parse_one(gold, dialect="sqlite")
    except SqlglotError:
        return
    yield "formatted", tree.sql(dialect="sqlite", pretty=True)
    if not isinstance(tree, exp.Select):
        return
    if not tree.is_star:
        yield "columns renamed", renamed(tree).sql(dialect="sqlite")
    turned = tree.copy()
    turned.set("expressions", [item.copy() for item in reversed(tree.expressions)])
    if not tree.args.get("order") or not any(term.this.is_number for term in tree.args["order"].expressions):
        yield "columns turned", turned.sql(dialect="sqlite")
    if not tree.args.get("order") and not tree.args.get("limit"):
        yield "in a subquery", f"SELECT * FROM ({tree.sql(dialect='sqlite')}) AS inner_query"
    spread = tree.transform(spread_condition)
    if spread != tree:
        yield "IN and BETWEEN spelt out", spread.sql(dialect="sqlite")


def renamed(tree: exp.Select) -> exp.Select:
    """The query with other names for its columns, also where the rest of it names them."""
    copy = tree.copy()
    names = {item.alias.lower(): f"renamed_{item.alias}" for item in copy.expressions if isinstance(item, exp.Alias)}
    for clause in ("group", "having", "order"):
        for column in copy.args[clause].find_all(exp.Column) if copy.args.get(clause) else []:
            if not column.table and column.name.lower() in names:
                column.set("this", exp.to_identifier(names[column.name.lower()]))
    items = [
        exp.alias_(item.unalias(), names[item.alias.lower()] if item.alias else f"renamed_{number}")
        for number, item in enumerate(copy.expressions)
    ]
    copy.set("expressions", items)
    return copy


def wrong_answers(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """(kind, answer): what proves no skill. ``rows`` are gold's on the row's own database."""
    yield "SELECT 42", "SELECT 42"
    yield "nothing", ""
    yield (
        "prose without SQL",
        "You select the rows that the question is about and count them; the result is in the first column.",
    )
    tuples = [", ".join(map(literal, row)) for row in rows]
    yield "result as VALUES", f"VALUES {', '.join(f'({row})' for row in tuples)}"
    yield "result as SELECTs", " UNION ALL ".join(f"SELECT {row}" for row in tuples)


def literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else f"x'{value[1]}'" if isinstance(value, tuple) else repr(value)


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


@dataclass
class Accepted:
    """How many answers of each kind were judged, and how many accepted."""

    judged: Counter[str] = field(default_factory=Counter)
    by_one: Counter[str] = field(default_factory=Counter)
    by_three: Counter[str] = field(default_factory=Counter)

    def print_table(self, title: str) -> None:
        print(f"\n{title:24} {'judged':>6} {'accepted by one':>16} {'by three':>10}")
        for kind in [*self.judged, "all"]:
            counts = (self.judged, self.by_one, self.by_three)
            judged, one, three = (count.total() if kind == "all" else count[kind] for count in counts)
            print(f"{kind:24} {judged:6} {one / judged:16.1%} {three / judged:10.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows_file", type=Path)
    parser.add_argument("--rows", type=int, default=400, help="how many SELECT rows to take")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--show", action="store_true", help="print the mutants that three accept")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in arguments.rows_file.open(encoding="utf-8")]
    rows = [row for row in rows if row["sql"].lstrip().upper().startswith("SELECT")]
    rows = random.Random(arguments.seed).sample(rows, min(arguments.rows, len(rows)))

    golds, equivalents = Counter[str](), 0
    mutated, right, wrong = Accepted(), Accepted(), Accepted()
    with SqlJudge() as judge, SqlJudge(generated=0) as own_only, SqlWorker() as worker:

        def tally(accepted: Accepted, context: str, gold: str, kind: str, answer: str) -> None:
            judged = judge.judge(context, gold, answer)
            accepted.judged[kind] += 1
            accepted.by_one[kind] += own_only.judge(context, gold, answer).right
            accepted.by_three[kind] += judged.right
            if judged.right != (accepted is right) and (arguments.show or accepted is not mutated):
                print(f"{judged.kind} ({kind}) {judged.reason}: {answer}\n     gold: {gold}\n     {context[:500]}")

        for row in rows:
            context, gold = row["sql_context"], row["sql"]
            judged = judge.judge(context, gold, gold)
            golds[judged.kind if judged.kind != "unscorable" else f"unscorable: {judged.reason}"] += 1
            if not judged.scored:
                continue
            for kind, answer in right_answers(gold):
                tally(right, context, gold, kind, answer)
            for kind, answer in wrong_answers(worker.run([Run(context, gold)])[0].rows):
                tally(wrong, context, gold, kind, answer)
            try:
                candidates = list(mutants(gold))
            except (SqlglotError, ValueError) as error:
                print(f"no mutants of {gold!r}: {error}")
                continue
            for query, kind in {query: kind for kind, query in candidates}.items():
                if judge.judge(context, gold, query).right and equivalent(judge, context, gold, query):
                    equivalents += 1
                else:
                    tally(mutated, context, gold, kind, query)

    print(f"\ngold of {len(rows)} SELECT rows:")
    for kind, count in golds.most_common():
        print(f"  {count:5}  {kind}")
    mutated.print_table("mutation")
    print(f"{equivalents} more are equivalent to gold on every database tried, and left out")
    right.print_table("right answer")
    wrong.print_table("wrong answer")


if __name__ == "__main__":
    main()
