"""Instructions of every kind, each with an optional input and one output.

Fields are those of Stanford Alpaca (https://github.com/tatsu-lab/stanford_alpaca): ``instruction``, ``input`` and ``output``.
The builtin rows are short tasks with one right answer, so each also has a ``check`` (``rows/checks.py``), which accepts every
form of that answer. Rows without a check are compared with their output as text, which says little about long answers.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice

from finetune.models.conversation import Message
from finetune.models.thinking import FIELDS, answer_of
from finetune.records.files import Row
from finetune.tasks import beside, reference, thinking
from finetune.tasks.alpaca.rows import CHECKS, decide, generate, normal
from finetune.tasks.base import Score, Task
from finetune.tasks.conversations import in_context
from finetune.tasks.learning import demand_no_bad_answer
from finetune.tasks.text_overlap import rouge_l, token_f1
from finetune.tasks.values import read_as

_WRONG = {"wrong_format": "the right words in the wrong form; expected", "wrong_answer": "expected"}


def _prompt(row: Row) -> str:
    return "\n\n".join(part.strip() for part in (row["instruction"], row.get("input") or "") if part.strip())


def _has_check(row: Row) -> bool:
    check = row.get("check")
    return isinstance(check, Mapping) and bool(CHECKS.keys() & check.keys())


def to_messages(row: Row) -> list[Message]:
    demand_no_bad_answer(row)
    if _has_check(row):
        try:
            passes = decide(row["check"], row["output"], row["output"]) == "ok"
        except (TypeError, ValueError, LookupError, AttributeError):
            passes = False
        if not passes:
            raise ValueError("its output does not pass its own check")
    turns: list[Message] = [
        {"role": "user", "content": _prompt(row)},
        thinking.answer(row["output"].strip(), thinking.field_of(row)),
    ]
    return in_context(turns, row)


def builtin(counts: Mapping[str, int], seed: int) -> dict[str, list[Row]]:
    """Generated rows for each split. ValueError if there are not as many."""
    rows = {split: list(islice(generate(split, seed), count)) for split, count in counts.items()}
    for split, count in counts.items():
        if len(rows[split]) < count:
            raise ValueError(f"only {len(rows[split])} builtin alpaca rows exist for {split}, not {count}")
    return rows


def score(row: Row, answer: str) -> Score:
    """By the row's check, if it has one; else against its output, as ``tasks/reference`` does: right or wrong for JSON and
    code; for other text by the words in common, if the numbers are right."""
    output, answer = answer_of(row["output"]), answer_of(answer)
    parts = {"token F1": token_f1(output, answer), "ROUGE-L": rouge_l(output, answer)}
    if not answer.strip():
        return Score(0.0, "empty", "no text", parts)
    if _has_check(row):
        kind = decide(row["check"], output, answer)
        reason = "" if kind == "ok" else f"{_WRONG[kind]}: {' '.join(output.split())}"
        return Score(float(kind == "ok"), kind, reason, parts)
    return reference.compared(output, answer, parts, same=normal(answer) == normal(output))


ALPACA = Task(
    name="alpaca",
    about="instructions of any kind, with or without an input (the fields of Alpaca)",
    hub_dataset="yahma/alpaca-cleaned",
    licence="CC BY-NC 4.0",
    required=("instruction", "output"),
    optional=("input",),
    known=("check", *beside.SYSTEM, *beside.HISTORY, *FIELDS),
    aliases={
        "instruction": ("question", "prompt", "query"),
        "input": ("context",),
        "output": ("response", "answer", "completion"),
    },
    to_messages=to_messages,
    conversations=True,
    told=lambda row: (what for name in ("instruction", "input", "output") for what in read_as(row.get(name))),
    builtin=builtin,
    split_rule="no task is in two splits, in any wording, with any seed; all splits have the same kinds of task and words",
    open_scorer=lambda stop: nullcontext(score),
    metric="accuracy",
    has_form=False,
    rows_with_form=lambda row: _has_check(row) or reference.has_form(answer_of(row["output"])),
    measure="right answers",
    measure_of=lambda row: "right answers" if _has_check(row) else reference.measure(answer_of(row["output"])),
    loss_decides=True,
    kind_words={**reference.KIND_WORDS, "wrong_answer": "a wrong answer"},
    malformed=reference.MALFORMED,
    question=lambda row: " ".join(_prompt(row).split()),
)
