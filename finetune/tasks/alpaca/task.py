"""Instructions of every kind, each with an optional input and one output.

Fields are those of Stanford Alpaca (https://github.com/tatsu-lab/stanford_alpaca): ``instruction``, ``input`` and ``output``.
The builtin rows are short tasks whose answers can be decided, so each also has a ``check``
(``alpaca_rows/checks.py``): another answer than the output is right too, where it comes to the same. Rows without one are
compared with their output as text, which says little about long answers.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice

from finetune.models.encoder import Message
from finetune.records.files import Row
from finetune.tasks.alpaca.rows import CHECKS, decide, generate, normal
from finetune.tasks.base import Score, Task
from finetune.tasks.text_overlap import rouge_l, token_f1

_WRONG = {"wrong_format": "the right words, in another form; expected", "wrong_answer": "expected"}


def _prompt(row: Row) -> str:
    return "\n\n".join(part.strip() for part in (row["instruction"], row.get("input") or "") if part.strip())


def to_messages(row: Row) -> list[Message]:
    check = row.get("check")
    if isinstance(check, Mapping) and CHECKS.keys() & check.keys():
        try:
            passes = decide(check, row["output"], row["output"]) == "ok"
        except (TypeError, ValueError, LookupError, AttributeError):
            passes = False
        if not passes:
            raise ValueError("its own output does not pass its check")
    return [{"role": "user", "content": _prompt(row)}, {"role": "assistant", "content": row["output"].strip()}]


def builtin(counts: Mapping[str, int], seed: int) -> dict[str, list[Row]]:
    """Generated rows for each split. Raises ValueError where there are not so many."""
    rows = {split: list(islice(generate(split, seed), count)) for split, count in counts.items()}
    for split, count in counts.items():
        if len(rows[split]) < count:
            raise ValueError(f"there are {len(rows[split])} builtin alpaca rows for {split}, not {count}")
    return rows


def score(row: Row, answer: str) -> Score:
    """By the row's check, where it has one; else 1 for the same text, but for case, white space and outer punctuation, and
    token F1 for another."""
    output = row["output"]
    parts = {"token F1": token_f1(output, answer), "ROUGE-L": rouge_l(output, answer)}
    if not answer.strip():
        return Score(0.0, "empty", "no text", parts)
    check = row.get("check")
    if isinstance(check, Mapping) and CHECKS.keys() & check.keys():
        kind = decide(check, output, answer)
        reason = "" if kind == "ok" else f"{_WRONG[kind]}: {' '.join(output.split())}"
        return Score(float(kind == "ok"), kind, reason, parts)
    if normal(answer) == normal(output):
        return Score(1.0, "ok", "", parts)
    # F1 knows no order and no articles: 1 is kept for the same text, because 1 is what counts as right
    f1 = min(parts["token F1"], 0.99)
    if not f1:
        return Score(0.0, "different", "no word of the output", parts)
    return Score(f1, "partial", f"token F1 {f1:.2f}", parts)


ALPACA = Task(
    name="alpaca",
    about="instructions of every kind, with or without an input (the fields of Alpaca)",
    hub_dataset="yahma/alpaca-cleaned",
    licence="CC BY-NC 4.0",
    required=("instruction", "output"),
    optional=("input",),
    aliases={
        "instruction": ("question", "prompt", "query"),
        "input": ("context",),
        "output": ("response", "answer", "completion"),
    },
    to_messages=to_messages,
    builtin=builtin,
    split_rule="no task is in two splits, in any wording, under any seed; kinds of task and vocabulary are the same in all",
    several_answers=False,
    open_scorer=lambda: nullcontext(score),
    metric="accuracy",
    malformed=frozenset({"empty", "wrong_format"}),
    question=lambda row: " ".join(_prompt(row).split()),
)
