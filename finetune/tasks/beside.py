"""What stands beside a question and its answer and belongs to the prompt: a system message, a passage to read, choices.

The rule: a passage stands before the question, an input after it, choices below as a lettered list; an answer that is the index
of a choice becomes its letter. What the question already contains is not written twice.
"""

import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.records.files import Row
from finetune.tasks.values import is_empty, is_listed, text_of

SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = ("history", "chat_history", "conversation_history")
PASSAGES = ("context", "passage", "document", "article", "background")
CHOICES = ("choices", "options")
IGNORABLE = frozenset((*PASSAGES, *CHOICES))  # --ignore leaves them out of the prompt


def one_of(row: Row, names: tuple[str, ...]) -> object:
    """The value that a row has under one of several names; None if it has none. ValueError if two have different ones."""
    found = {name: row[name] for name in names if not is_empty(row.get(name))}
    values = list(found.values())
    if any(value != values[0] for value in values):
        raise ValueError(f"the fields {' and '.join(found)} have different values (keep one of them)")
    return values[0] if values else None


def prompt(row: Row, question: str, given: object, *, below: str = "input") -> str:
    """The question with the passage, the input (the field ``below``, unless it is the question itself) and the choices.
    ``given`` is the answer."""
    passages = [_passage(row[name], name) for name in PASSAGES if _is_passage(row.get(name))]
    parts = [passage for passage in passages if passage.strip() not in question]
    parts.append(question)
    if below and not is_empty(row.get(below)):
        parts = [*parts[:-1], parts[-1].strip(), text_of(row[below], below).strip()]
    choices = _choices(row)
    if choices and not _are_in(question, choices, with_labels=answer(row, given) in list(choices)):
        parts.append("\n".join(f"{label}. {text}" for label, text in choices.items()))
    return "\n\n".join(part.strip() for part in parts) if len(parts) > 1 else question


def _are_in(question: str, choices: Mapping[str, str], *, with_labels: bool) -> bool:
    """Whether a question contains the choices; ``with_labels``: with those, because the answer is one of them."""
    between = r"\W{1,3}"
    found = (
        rf"(?<!\w){re.escape(label)}{between}{re.escape(text)}" if with_labels else rf"(?<!\w){re.escape(text)}"
        for label, text in choices.items()
    )
    return all(re.search(rf"{one}(?!\w)", question) for one in found)


def answer(row: Row, given: object) -> object:
    """The answer of a row, an index of its choices as the letter. ValueError if there is no such choice."""
    choices = _choices(row)
    is_index = (isinstance(given, int) and not isinstance(given, bool)) or (
        isinstance(given, str) and given.isdecimal()
    )
    if not choices or not is_index or str(given).strip() in (*choices, *choices.values()):
        return given
    if not 0 <= int(str(given)) < len(choices):
        raise ValueError(f"the answer {given} is none of the {len(choices)} choices, counted from 0 (write its text)")
    return list(choices)[int(str(given))]


def used(row: Row) -> Iterator[str]:
    """The fields that ``prompt`` reads."""
    yield from (name for name in PASSAGES if _is_passage(row.get(name)))
    yield from [name for name in CHOICES if _labelled(row.get(name))][:1]


def told(row: Row, given: object) -> Iterator[str]:
    """What a person should know of a row: fields that became part of its prompt, an index that became a letter."""
    for name in used(row):
        yield f"{name} read as part of the prompt (--ignore {name} leaves it out)"
    if _choices(row) and answer(row, given) is not given:
        yield "answers that are an index, learned as the letter of the choice (counted from 0)"


def _is_passage(value: object) -> bool:
    return not is_empty(value) and not is_listed(value) and (isinstance(value, str) or _is_texts(value))


def _passage(value: object, name: str) -> str:
    return "\n\n".join(value) if isinstance(value, list) else text_of(value, name)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)


def _choices(row: Row) -> dict[str, str]:
    """Label -> text of the choices of a row; empty if it has none."""
    return next((found for name in CHOICES if (found := _labelled(row.get(name)))), {})


def _labelled(value: object) -> dict[str, str]:
    """Choices as people write them: a list of texts; texts with their labels; or labels that are the keys."""
    if isinstance(value, Mapping) and value.keys() == {"text", "label"}:
        labels, texts = _plain(value["label"]), _plain(value["text"])
        return dict(zip(labels, texts, strict=True)) if len(labels) == len(texts) > 1 else {}
    if isinstance(value, Mapping):
        texts = _plain(list(value.values()))
        return dict(zip(map(str, value), texts, strict=True)) if len(texts) == len(value) > 1 and _short(value) else {}
    texts = _plain(value)
    return (
        dict(zip(string.ascii_uppercase, texts, strict=False)) if 1 < len(texts) <= len(string.ascii_uppercase) else {}
    )


def _short(labels: Mapping[str, Any]) -> bool:
    """Whether the keys are letters or numbers, as those of choices, and not the names of fields."""
    return all(len(str(label)) <= 2 for label in labels)


def _plain(values: object) -> list[str]:
    """A list of texts and numbers as texts; empty if there is anything else."""
    if not isinstance(values, list) or any(isinstance(value, bool) for value in values):
        return []
    texts = [str(value).strip() for value in values if isinstance(value, (str, int, float))]
    return texts if len(texts) == len(values) and all(texts) else []
