"""``--type classify``: a text is given, and the answer is its label, or with --multi-label all its labels.

Rows come from any table with a text and a label. The system message states the task and, if they fit, names the labels; the
answer is the label alone, and several labels stand in the order of the list, each on its own line. An answer is right if it is
the label, whatever its case and white space.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from finetune.models.conversation import Conversation, Message
from finetune.models.thinking import answer_of as without_thinking
from finetune.records.classes import Classes
from finetune.records.files import Row
from finetune.tasks.base import Score, Task
from finetune.tasks.classify import survey, table
from finetune.tasks.classify.columns import LABEL, LABEL_NAMES, TEXT, TEXT_NAMES
from finetune.tasks.classify.labels import BETWEEN, answer_of, prompt_of
from finetune.tasks.values import text_of
from finetune.tasks.words import plain

LABEL_F1 = "label F1"  # of rows with several labels


def labels_of(row: Row) -> list[str]:
    """The labels of a row of data/*.jsonl: one, or with --multi-label several."""
    found = row.get(LABEL)
    if isinstance(found, str):
        return [found]
    return list(found) if isinstance(found, list) else str(Conversation.of(row).reference).split(BETWEEN)


def to_messages(row: Row, prompt: str | None = None) -> list[Message]:
    """The conversation of a row with ``text`` and ``label``; ``prompt`` is the system message."""
    labels = labels_of(row)
    return [
        {"role": "system", "content": prompt or prompt_of([], listed=False, multi=isinstance(row[LABEL], list))},
        {"role": "user", "content": text_of(row[TEXT], TEXT)},
        {"role": "assistant", "content": answer_of(labels)},
    ]


def named_in(answer: str) -> list[str]:
    """What an answer names: a line each, without white space around it."""
    return [" ".join(line.split()) for line in without_thinking(answer).split(BETWEEN) if line.strip()]


def score(labels: Sequence[str], row: Row, answer: str) -> Score:
    """1 if the answer is the label of the row, or are all its labels and no other; ``labels`` are those that there are."""
    if isinstance(row.get(LABEL), list):
        return _score_of_several(labels, row, answer)
    expected, said = labels_of(row)[0], plain(without_thinking(answer))
    if said == plain(expected):
        return Score(1.0, "ok")
    reason = f"expected: {expected}"
    if not said:
        return Score(0.0, "empty", reason)
    if said in set(map(plain, labels)):
        return Score(0.0, "other_label", reason)
    return Score(0.0, "no_such_label", reason)


def _score_of_several(labels: Sequence[str], row: Row, answer: str) -> Score:
    expected, said = labels_of(row), list(map(plain, named_in(answer)))
    wanted, found = {*map(plain, expected)}, {*said}
    common = len(wanted & found)
    parts = {LABEL_F1: 2 * common / max(1, len(wanted) + len(found))}
    if wanted == found:
        return Score(1.0, "ok", "", parts)
    reason = f"expected: {', '.join(expected)}"
    if not found:
        return Score(0.0, "empty", reason, parts)
    if found - set(map(plain, labels)):
        return Score(0.0, "no_such_label", reason, parts)
    return Score(0.0, "some_labels" if common else "other_label", reason, parts)


def knowing(labels: Iterable[str]) -> Task:
    """The task with the labels that there are, so that others are known to be invented."""
    known = tuple(dict.fromkeys(labels))
    return replace(
        CLASSIFY,
        open_scorer=lambda stop: nullcontext(partial(score, known)),
        summarised=partial(_summarised, known),
        labels=known,
    )


def of_rows(rows: Iterable[Row]) -> Task:
    """The task with the labels of these rows."""
    return knowing(sorted({label for row in rows for label in labels_of(row)}, key=str.casefold))


def _summarised(labels: Sequence[str], rows: Sequence[Row], answers: Mapping[str, Sequence[str]]) -> Classes:
    """What the answers of each side say of each label."""
    known = list(dict.fromkeys((*labels, *(label for row in rows for label in labels_of(row)))))
    multi = any(isinstance(row.get(LABEL), list) for row in rows)
    said = {
        side: [named_in(text) if multi else [" ".join(without_thinking(text).split())] for text in texts]
        for side, texts in answers.items()
    }
    return table.classes(known, [labels_of(row) for row in rows], said, multi=multi)


def _question(row: Row) -> str:
    return " ".join(Conversation.of(row).question.split())


CLASSIFY = Task(
    name="classify",
    about="texts with a label each (or several: --multi-label), such as tickets with their category",
    also_called=("classification", "classifier", "labels", "categories", "sentiment", "intent"),
    to_messages=to_messages,
    aliases={TEXT: TEXT_NAMES, LABEL: LABEL_NAMES},
    writes_system=True,
    survey=survey.survey,
    stratified=LABEL,
    one_answer=True,
    unused=lambda row: (name for name in row if name not in (TEXT, LABEL)),
    kept=lambda row: {name: value for name, value in row.items() if name != TEXT},
    open_scorer=lambda stop: nullcontext(partial(score, ())),
    of_rows=of_rows,
    knowing=knowing,
    metric="right labels",
    measure="the right label",
    kind_words={
        "other_label": "another label",
        "some_labels": "some of the labels",
        "no_such_label": "no such label",
        "empty": "no text",
    },
    malformed=frozenset({"no_such_label", "empty"}),
    partial={"other_label": 0.1, "some_labels": 0.3},
    question=_question,
)
