"""General questions with short answers: has a model that learned one narrow task forgotten what it knew?

The questions (``general_questions.py``) have nothing to do with any task. The same ones are asked of the base model and of the
tuned one; what counts is the difference. A model that answers everything in the language of its task ("SELECT 'Paris';")
is wrong, whatever the words in it.
"""

import re
import unicodedata

from finetune.encoding import Message
from finetune.tasks.base import Score
from finetune.tasks.general_questions import QUESTIONS, Question

__all__ = ["QUESTIONS", "Question", "messages", "score"]

_LENGTH, _SENTENCES = 200, 3  # what counts of an answer: further on, small models ramble

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
# five or more short items in a row: the right one may be among them, but so is everything else
_LIST = re.compile(
    r"(?:(?:[-*•]\s*|\d+[.)]\s*)?[\w'’-]+(?: [\w'’-]+)?\s*(?:[,;/|\n]\s*(?:and |or )?| and | or )\s*){4,}(?:[-*•]\s*|\d+[.)]\s*)?[\w'’-]+"
)
_WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:\.\d+)?|[^\W\d_]+")
_DIGIT_GROUPS = re.compile(r"(?<=\d),(?=\d{3}\b)")
# "cold, not hot"; "9 is larger than 4"
_DENIED = re.compile(r" (?:not|than|instead of|unlike)(?: (?:an?|the))* [^ ]+")
_CODE = re.compile(
    r"""
    ```
    | ^\s* select \b
    | (?-i: \bSELECT\b | \bINSERT\ INTO\b | \bCREATE\ (?:TABLE|VIEW)\b | \bDELETE\ FROM\b | ^\s* UPDATE\ \w+\ SET\b )
    | \A\s* (?: \{ | \[\s*[\[{"'\d] )                                        # JSON
    | ^\s* (?:\w+:\s*)? [a-z.]{1,8}\s+ (?: %?[er]?[a-d]x | [astxfr]\d{1,2} | sp | ra | zero ) \s*,   # assembly
    | ^\s* (?: ret | \.(?:globl|global|text|data|section)\b.* ) \s*$
    | ^\s* (?: def\ \w+\( | import\ \w+\s*$ | from\ \w+\ import\b | print\( | return\b.*; | \#include\b | </?\w+> )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def messages(question: Question) -> list[Message]:
    return [{"role": "user", "content": question.text}]


def score(question: Question, answer: str) -> Score:
    """1 where the beginning of the answer says an accepted word and no rejected one, else 0; kind is "ok", "wrong", "empty" or "code".

    The question itself is left out where the answer repeats it, and so are long lists and what is denied ("not hot").
    """
    if not _words(answer).strip():
        return Score(0.0, "empty", "no text")
    text = _echo(question).sub(" ", answer).strip()[:_LENGTH]
    if _CODE.search(_first_sentences(text)):
        return Score(0.0, "code", "code instead of an answer")
    said = _DENIED.sub(" ", _words(_first_sentences(_LIST.sub(" ", text))))
    for word in question.rejected:
        if _words(word) in said:
            return Score(0.0, "wrong", f"says {word}")
    if any(_words(word) in said for word in question.accepted):
        return Score(1.0, "ok")
    return Score(0.0, "wrong", f"expected: {question.accepted[0]}")


def _echo(question: Question) -> re.Pattern[str]:
    return re.compile(r"\W+".join(map(re.escape, re.findall(r"\w+", question.text))) + r"\W*", re.IGNORECASE)


def _first_sentences(text: str) -> str:
    ends = [end.start() for end in _SENTENCE_END.finditer(text)]
    return text[: ends[_SENTENCES - 1]] if len(ends) >= _SENTENCES else text


def _words(text: str) -> str:
    """The words and numbers alone, each between two spaces, without case and accents; "isn't" is "is not"."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = plain.replace("’", "'").replace("n't", " not")
    return f" {' '.join(_WORD.findall(_DIGIT_GROUPS.sub('', plain)))} "
