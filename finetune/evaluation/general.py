"""General questions with short answers: did a model that learned one narrow task forget what it knew?

The questions (``general_questions.py``) have nothing to do with any task. The same ones are asked of the base model and of the
tuned one; what counts is the difference. A model that answers everything in the language of its task ("SELECT 'Paris';")
is wrong, whatever the words in it.

Small differences mean little: a system message alone ("You are a helpful assistant.") turns 25 of the 126
scores of the builtin model.
"""

import re
import unicodedata

from finetune.evaluation.general_questions import QUESTIONS, Question
from finetune.models.conversation import Message
from finetune.tasks.base import Score

__all__ = ["QUESTIONS", "Question", "messages", "score"]

_LENGTH, _SENTENCES = 200, 3  # characters and sentences of an answer that count: after them, small models ramble

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”'*)]*\s+|\n+")
# five or more short items in a row: a list of everything also names the right answer
_ITEM = r"(?:[-*•]\s*|\d+[.)]\s*)?[\w'’-]+(?: [\w'’-]+)?"
_LIST = re.compile(rf"(?:{_ITEM}\s*(?:[,;/|\n]\s*(?:and |or )?| and | or )\s*){{4,}}{_ITEM}")
_WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:\.\d+)?|[^\W\d_]+")
_DIGIT_GROUPS = re.compile(r"(?<=\d),(?=\d{3}\b)")
# "cold, not hot"; "not necessarily hot"; "9 is larger than 4"
_DENIED = re.compile(r" (?:not|than|instead of|unlike)(?: (?:an?|the|number|[a-z]+ly))* [^ ]+")
_CODE = re.compile(
    r"""
    ```
    | \A\s* (?: select\b | (?:create|alter|drop)\ (?:table|view|index)\b | insert\ into\b | delete\ from\b | update\b.+\bset\b )
    | (?-i: \bSELECT\b | \b(?:CREATE|ALTER|DROP)\ (?:TABLE|VIEW)\b | \bUPDATE\b.+\bSET\b | \bINSERT\ INTO\b | \bDELETE\ FROM\b )
    | \A\s* (?: \{ | \[\s*[\[{"'\d] )  # JSON
    # an assembly instruction and its first register, a directive
    | ^\s* (?:\w+:\s*)? [a-z][a-z0-9.]{0,11}\s+
      (?: (?:x|f[ast]?|[ast])\d{1,2} | f?r[ds]\d? | sp | ra | zero | %?[er]?[a-d]x ) \s* (?: , | $ )
    | ^\s* (?: ret\b\s*(?:$|[#;]) | \.(?:globl|global|text|data|section)\b )
    | ^\s* (?: def\ \w+\( | import\ \w+\s*$ | from\ \w+\ import\b | print\( | return\b.*; | \#include\b | </?\w+> )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def messages(question: Question) -> list[Message]:
    return [{"role": "user", "content": question.text}]


def score(question: Question, answer: str) -> Score:
    """1 if the answer has an accepted word and no rejected one, else 0; the kind is "ok", "wrong", "empty" or "code".

    Only the first sentences count. The repeated question, other questions, long lists and what is denied ("not hot") do not.
    """
    if not any(character.isalnum() for character in answer):
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
    """One per line, without questions: a model that does not answer often asks more of them."""
    sentences = [sentence.strip() for sentence in _SENTENCE_END.split(text)]
    return "\n".join([sentence for sentence in sentences if sentence and sentence[-1] != "?"][:_SENTENCES])


def _words(text: str) -> str:
    """The words and numbers alone, each between two spaces, without case and accents; "isn't" is "is not"."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = plain.replace("’", "'").replace("n't", " not")
    return f" {' '.join(_WORD.findall(_DIGIT_GROUPS.sub('', plain)))} "
