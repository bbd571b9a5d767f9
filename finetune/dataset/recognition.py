"""Which type rows seem to be of, why, and which of their fields play which part: for init, and for errors that name a remedy.

Every rule looks at names and at values. Several can hold, the likeliest first: a table of tickets has categories to learn and
replies to learn.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from finetune.dataset.guess import (
    MOST,
    NUMBER,
    Guess,
    Rows,
    has_tables,
    is_number,
    is_object,
    is_sql,
    is_text,
    is_words,
    same,
)
from finetune.dataset.looking import Look, look
from finetune.errors import UserError, shell_command, shortened
from finetune.records.files import Row
from finetune.settings.fields import flag
from finetune.tasks import ROW_KINDS
from finetune.tasks.classify.columns import LABEL, LABEL_NAMES, TEXT, TEXT_NAMES, Column
from finetune.tasks.conversations import FORMATS, named
from finetune.tasks.values import is_empty, is_listed, listed_or_nothing
from finetune.terminal import counted

_WORDS_OF_PROSE = 5
_LONG_TEXT = 400  # characters on average, of a field that looks like documents
_PAIRS = (("chosen", "rejected"), ("better", "worse"), ("preferred", "dispreferred"), ("accepted", "rejected"))
_QUESTIONS = ("prompt", "question", "instruction", "query", "input", "problem", "user", *TEXT_NAMES)
_ANSWERS = ("completion", "response", "answer", "output", "reply", "solution", "assistant", "summary", "target")
_STANDS_IN = 0.8  # share of the rows in which a value stands in the text
_MOST_LABELS = 100  # of a label that is proposed


def guesses(seen: Look, place: str) -> list[Guess]:
    """The types that fit, the likeliest first. UserError, which begins with ``place``, with what is missing if none does."""
    if seen.documents:
        return [Guess("text", "text", f"{counted(seen.documents, 'text')}, to be learned as they stand")]
    rules: tuple[Callable[[Rows], Iterator[Guess]], ...] = (
        *(_preference, _tools, _sql, _extract, _conversations, _classify, _pairs, _text),
    )
    rows = Rows(seen)
    found: list[Guess] = []
    for rule in rules:
        for guess in rule(rows):
            if guess.type_ in ROW_KINDS and not any(same(guess, other) for other in found):
                found.append(guess)
    if found:
        return found
    raise UserError(f"{place}: {_why_none(rows)}")


def _preference(rows: Rows) -> Iterator[Guess]:
    for chosen, rejected in _PAIRS:
        if rows.has(chosen) and rows.has(rejected):
            parts = {"chosen": chosen, "rejected": rejected}
            others = [name for name in rows.columns if name not in (chosen, rejected) and rows.has(name)]
            inside = is_listed(rows.values(chosen)[0]) and len(listed_or_nothing(rows.values(chosen)[0])) > 1
            if not inside and (asked := rows.named(("prompt", "question", "instruction", "input", "query"), others)):
                parts = {"prompt": asked, **parts}
            yield Guess("preference", "preference", f"{chosen} and {rejected}: two answers, one better", parts)
            return


def _turns(row: Row) -> list[Any]:
    found = next((row[name] for name in ("messages", "conversations") if is_listed(row.get(name))), None)
    return listed_or_nothing(found) if found is not None else []


def _tools(rows: Rows) -> Iterator[Guess]:
    if all(map(rows.has, ("query", "tools", "answers"))):
        yield Guess("chat", "tools", "query, tools and answers: questions with the calls that answer them")
        return
    calling = sum(_calls(row) for row in rows.samples)
    if calling:
        what = f"conversations, in which {calling} of {len(rows.samples)} rows that were looked at have or call tools"
        yield Guess("chat", "tools", what)


def _calls(row: Row) -> bool:
    turns = [turn for turn in _turns(row) if isinstance(turn, Mapping)]
    has = any(not is_empty(row.get(name)) for name in ("tools", "functions"))
    roles = {str(turn.get("role", turn.get("from"))) for turn in turns}
    called = any(not is_empty(turn.get(name)) for turn in turns for name in ("tool_calls", "function_call"))
    return bool(turns) and (has or called or bool(roles & {"tool", "function_call", "observation"}))


def _sql(rows: Rows) -> Iterator[Guess]:
    queries = [name for name in rows.columns if rows.share(name, is_sql) > MOST]
    tables = [name for name in queries if rows.share(name, has_tables) > MOST]
    answers = [name for name in queries if name not in tables]
    if not answers:
        return
    answer = (
        rows.named(("sql", "query", "sql_query", "answer", "completion", "output", "response"), answers) or answers[0]
    )
    taken = {*queries}
    context = (
        tables[0] if tables else rows.named(("sql_context", "schema", "ddl", "create_statements"), [*rows.columns])
    )
    texts = [
        name for name in rows.columns if name not in taken and name != context and rows.share(name, is_words) > MOST
    ]
    asked = rows.named(("sql_prompt", *_QUESTIONS), texts) or next(iter(texts), None)
    if asked is None:
        return
    parts = {"sql_prompt": asked, "sql": answer, **({"sql_context": context} if context else {})}
    what = f"{answer} holds SQL, {asked} the questions" + (f", {context} the tables" if context else "")
    yield Guess("sql", "sql", what + ("" if context else "; no tables, so no answer can be run"), parts)


def _extract(rows: Rows) -> Iterator[Guess]:
    """A text with an object, also as the two turns of a conversation."""
    objects = [name for name in rows.columns if name not in ("metadata", "meta") and rows.share(name, is_object) > MOST]
    if not objects:
        yield from _columns_in_texts(rows)
        pairs = [_turns(row) for row in rows.samples]
        answers = [turns[-1].get("content", turns[-1].get("value")) for turns in pairs if turns and _is_pair(turns)]
        if answers and sum(map(is_object, answers)) > MOST * len(rows.samples):
            yield Guess("extract", "extract", "conversations of one question, whose answers are JSON objects")
        return
    found = rows.named(("json", "output", "object", "completion", "answer", "response", "label", "target"), objects)
    made = found or objects[0]
    texts = [name for name in rows.columns if name not in objects and rows.share(name, is_text) > MOST]
    if asked := rows.named((TEXT, "input", "prompt", *_QUESTIONS), texts) or max(texts, key=rows.length, default=None):
        what = f"{made} holds JSON objects, and {asked} the texts that they are made of"
        yield Guess("extract", "extract", what, {"text": asked, "json": made})


def _columns_in_texts(rows: Rows) -> Iterator[Guess]:
    """Columns whose values stand in the text of their row."""
    for text in sorted(rows.texts(), key=rows.length, reverse=True)[:2]:
        held = [name for name in rows.columns if name != text and rows.has(name) and _stands_in(rows, name, text)]
        if len(held) > 1 and not any("," in name for name in held):
            what = f"the values of {named(held)} stand in {text}"
            yield Guess("extract", "extract", what, {"text": text}, {"fields": ",".join(held)})
            return


def _stands_in(rows: Rows, name: str, text: str) -> bool:
    both = [row for row in rows.samples if not is_empty(row.get(name)) and isinstance(row.get(text), str)]
    inside = sum(len(str(row[name])) > 1 and str(row[name]).lower() in row[text].lower() for row in both)
    return inside > _STANDS_IN * len(both) > 0


def _is_pair(turns: Sequence[Any]) -> bool:
    roles = [turn.get("role", turn.get("from")) for turn in turns if isinstance(turn, Mapping)]
    return [role for role in roles if role != "system"] in (["user", "assistant"], ["human", "gpt"])


def _conversations(rows: Rows) -> Iterator[Guess]:
    for name in ("messages", "conversations"):
        if rows.share(name, is_listed) > MOST:
            turns = [len(listed_or_nothing(value)) for value in rows.values(name) if is_listed(value)]
            pair = "conversations of several turns" if max(turns) > 3 else "conversations"
            chat = Guess("chat", "chat", f"{name}: {pair}")
            if (labels := rows.columns.get(LABEL)) and TEXT in rows.columns and _few(labels):
                yield Guess(
                    "classify", "classify", f"{name}: a question each, and {labels.distinct} different short answers"
                )
            yield chat


def _few(column: Column) -> bool:
    return column.looks_like_labels and column.distinct is not None and column.distinct <= _MOST_LABELS


def _classify(rows: Rows) -> Iterator[Guess]:
    """A text with a label; of several labels the one with the likeliest name first."""
    columns = {name: column for name, column in rows.columns.items() if rows.has(name)}
    labels = [name for name, column in columns.items() if _few(column) and not _is_date_or_number(rows, name)]
    by_name = [
        name for name in _by_name(LABEL_NAMES, [*columns]) if columns[name].distinct is not None and name in columns
    ]
    by_name = [name for name in by_name if _few(columns[name])]
    for label in dict.fromkeys((*by_name, *labels)):
        texts = [name for name in rows.texts() if name != label]
        short = [name for name in columns if name != label and rows.share(name, is_words) > MOST]
        text = rows.named(TEXT_NAMES, texts) or max(texts, key=rows.length, default=None) or next(iter(short), None)
        if text is None or text in labels:
            continue
        values: Mapping[str, int] = columns[label].counts or {}
        shown = ", ".join(f"{shortened(value, 30)} {count}" for value, count in _most(values)[:4])
        what = f"{label} has {len(values)} different short values ({shown}{', ...' if len(values) > 4 else ''})"
        several = rows.share(label, lambda value: isinstance(value, list) and len(value) > 1) > 0
        flags: dict[str, object] = {"multi_label": True} if several else {}
        yield Guess("classify", "classify", f"{what}, {text} has texts", {TEXT: text, LABEL: label}, flags)


def _most(values: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(values.items(), key=lambda item: -item[1])


def _by_name(names: Sequence[str], among: Sequence[str]) -> list[str]:
    simple = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in among}
    return [name for wanted in names for name in among if simple[name] == wanted or simple[name].endswith(f"_{wanted}")]


def _is_date_or_number(rows: Rows, name: str) -> bool:
    """Whether the values are numbers or dates, which are labels only if their field says so."""
    return rows.share(name, lambda value: not isinstance(value, (str, list, bool)) or _has_digits(value)) > MOST


def _has_digits(value: Any) -> bool:
    return isinstance(value, str) and (NUMBER.fullmatch(value.strip()) is not None or value[:4].isdigit())


def _pairs(rows: Rows) -> Iterator[Guess]:
    """A prompt and its answer: in fields that are known, or in two fields with texts."""
    for fields in FORMATS:
        if len(fields) == 2 and all(map(rows.has, fields)):
            yield Guess("chat", "chat", f"{fields[0]} and {fields[1]}: prompts with their answers")
            break
    else:
        texts = [name for name in rows.texts() if not _is_date_or_number(rows, name)]
        answer = rows.named(_ANSWERS, texts)
        asked = rows.named(_QUESTIONS, [name for name in texts if name != answer])
        if answer is None and asked and len(texts) == 2:
            answer = next(name for name in texts if name != asked)
        if asked is None and answer and len(texts) == 2:
            asked = next(name for name in texts if name != answer)
        if asked is None and answer is None and len(texts) == 2:
            asked, answer = texts
        if asked and answer:
            what = f"{asked} and {answer}: two texts in every row, a prompt and its answer"
            yield Guess("chat", "chat", what, {"prompt": asked, "completion": answer})


def _text(rows: Rows) -> Iterator[Guess]:
    """One field of documents."""
    if any(rows.share(name, is_object) > MOST for name in rows.columns):
        return
    texts = [
        name for name in rows.columns if rows.has(name) and rows.share(name, is_text) > MOST and _is_prose(rows, name)
    ]
    if len(texts) == 1 or (texts and rows.length(max(texts, key=rows.length)) > _LONG_TEXT):
        name = max(texts, key=rows.length)
        yield Guess("text", "text", f"{name}: texts, with nothing to answer beside them", {"text": name})


def _is_prose(rows: Rows, name: str) -> bool:
    column = rows.columns[name]
    return column.words >= _WORDS_OF_PROSE * max(1, column.texts) or rows.length(name) >= _LONG_TEXT / 4


def _why_none(rows: Rows) -> str:
    """What rows are that no model can learn from, in one line."""
    fields = [name for name in rows.columns if rows.values(name)]
    needed = "add a field with a text, and one with its label or its answer"
    if all(rows.share(name, is_number) > MOST for name in fields):
        what = f"a table of numbers ({len(fields)} columns, {rows.count} rows)"
        return f"{what}: a language model learns from texts ({needed})"
    texts = [name for name in fields if rows.share(name, is_words) > MOST and _is_prose(rows, name)]
    if not texts:
        what = f"no field holds sentences (fields: {named(fields)})"
        return f"{what}: a language model learns from texts ({needed})"
    remedy = f"add it; if it is there: python dataset.py --type chat --column prompt={texts[0]},completion=FIELD"
    return f"{named(texts)}: a text without a label, an answer or an object (fields: {named(fields)}; {remedy})"


def advice(names: Sequence[str], type_: str) -> str:
    """The command for rows that were read as another type than they look like; "" if they do not look like another."""
    try:
        guess = guesses(look(names), "")[0]
    except UserError:
        return ""
    if guess.type_ == type_:
        return ""
    words = ["python", "dataset.py", "--type", guess.type_]
    words += [word for name in names for word in ("--dataset-name", name)]
    words += ["--column", guess.column] if guess.column else []
    for key, value in guess.flags.items():
        words += [flag(key)] if value is True else [flag(key), str(value)]
    return f"these rows look like {guess.kind}, since {guess.why}: {shell_command(*words)}"


@contextmanager
def advising(names: Sequence[str], type_: str) -> Iterator[None]:
    """UserErrors within name the command for rows of another type, if these look like it."""
    try:
        yield
    except UserError as error:
        if not (hint := advice(names, type_)):
            raise
        raise UserError(f"{error}; {hint}", error.exit_code, details=error.details) from None
