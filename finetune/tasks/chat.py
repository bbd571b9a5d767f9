"""``--type chat``: the user's own conversations, in any of the shapes of ``conversations.py``."""

import re
from contextlib import nullcontext

from finetune.models.conversation import Conversation
from finetune.models.thinking import answer_of
from finetune.records.files import Row
from finetune.tasks import conversations, row_fields, tool_score
from finetune.tasks.base import Score, Task
from finetune.tasks.text_overlap import rouge_l, token_f1
from finetune.tasks.words import pieces, plain

# words, or characters of a script without blanks; an answer is expected to match a reference this short word for word
SHORT = 8

_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


_OTHER_SIGNS = str.maketrans({"\u2212": "-", "\uff0d": "-", "\uff0c": ",", "\u066c": ",", "\u066b": ".", "\uff0e": "."})


def last_number(text: str) -> float | None:
    found = _NUMBER.findall(text.translate(_OTHER_SIGNS))
    return float(found[-1].replace(",", "")) if found else None


def wanted_number(row: Row) -> float | None:
    """The number that a row asks for: its ``answer`` is a number, or ends with one after "####"."""
    end = str(row.get("answer", "")).rpartition("####")[2]
    return last_number(end) if _NUMBER.fullmatch(end.strip()) else None


def score(row: Row, answer: str) -> Score:
    """1 if the answer equals the reference, ignoring case and white space, else 0; a reference of more words has no score.
    Thinking before an answer does not count.

    A row whose ``answer`` is a number, or ends with one after "####" as GSM8K's do: 1 if the last number of the answer is it.
    A row with tools: 1 if the calls are right; where none is wanted, 1 if none is made.
    """
    reference, answer = row["messages"][-1]["content"], answer_of(answer)
    has_tools = Conversation.of(row).uses_tools
    if has_tools and (of_calls := tool_score.score(row, answer)):
        return of_calls
    parts = {"token F1": token_f1(reference, answer), "ROUGE-L": rouge_l(reference, answer)}
    if (wanted := wanted_number(row)) is not None:
        found = last_number(answer)
        if found is None:
            return Score(0.0, "no_number", f"expected: {wanted:g}", parts)
        return Score(
            float(found == wanted), "ok" if found == wanted else "wrong_number", f"expected: {wanted:g}", parts
        )
    if has_tools:
        return Score(1.0, "ok", "no call is wanted, and none is made", {**parts, tool_score.NONE: 1.0})
    if plain(answer) == plain(reference):
        return Score(1.0, "ok", "", parts)
    if len(pieces(reference)) > SHORT:
        return Score(
            None, "long_reference", f"the reference has more than {SHORT} words: only its loss is compared", parts
        )
    return Score(0.0, "different", f"expected: {reference}", parts)


def _measure(row: Row) -> str:
    if Conversation.of(row).uses_tools:
        return tool_score.CALLS
    return "the right number" if wanted_number(row) is not None else "exact match"


CHAT = Task(
    name="chat",
    about="your own conversations, prompts with completions, instructions with outputs, or texts",
    to_messages=conversations.to_messages,
    calls_tools=True,
    conversations=True,
    kept=conversations.without_source,
    unused=lambda row: (name for name in row_fields.unused(row) if name != "answer" or wanted_number(row) is None),
    told=row_fields.told,
    open_scorer=lambda stop: nullcontext(score),
    metric="exact match",
    has_form=False,
    rows_with_form=lambda row: Conversation.of(row).uses_tools or wanted_number(row) is not None,
    measure="exact match",
    measure_of=_measure,
    kind_words={
        "different": "another text than the reference",
        "long_reference": f"a reference of more than {SHORT} words",
        "no_number": "no number",
        "wrong_number": "another number",
        **tool_score.KIND_WORDS,
    },
    malformed=frozenset({"no_number", "invalid_call"}),
    partial=tool_score.PARTIAL,
    loss_decides=True,
    question=lambda row: Conversation.of(row).question,
)
