"""Answers by the grammar of a JSON schema, by llguidance: which tokens can come next, in the tokens of any tokenizer.

The JSON has the form in which ``--type extract`` learns it: fields in the order of the schema, nothing between the values but
what JSON needs.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from finetune.errors import UserError, first_line
from finetune.models.constraint import Constraint
from finetune.models.conversation import Message
from finetune.models.encoder import ChatEncoder
from finetune.records.files import Row

_FORM = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_QUIET = 0  # what llguidance logs
_PROBE = '{"a":1}'
NOT_INSTALLED = "--restrict: llguidance is not installed (run: make setup)"


def _llguidance() -> Any:
    try:
        import llguidance
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    return llguidance


class JsonGrammar:
    """Makes constraints of JSON schemas for the tokens of one model.

    UserError if llguidance is not installed, or cannot work with the tokenizer.
    """

    def __init__(self, encoder: ChatEncoder):
        library, self._encoder = _llguidance(), encoder
        self._compiled: Row = {}  # schema -> its matcher
        self._stops = sorted(encoder.stop_tokens)
        try:
            text = encoder.tokenizer.backend_tokenizer.to_str()
            self._tokenizer = library.LLTokenizer(text, eos_token=self._stops)
        except (AttributeError, ValueError) as error:
            raise UserError(
                f"--restrict: llguidance cannot work with the tokenizer of this model: {first_line(error)} (omit --restrict)"
            ) from None

    def constraint(self, schema: Mapping[str, object]) -> Constraint:
        """A new answer by a schema. ValueError if the grammar lacks something in it."""
        text = json.dumps(schema)
        if text not in self._compiled:
            matcher = _llguidance().LLMatcher
            grammar = matcher.grammar_from_json_schema(text, overrides=_FORM)
            compiled = matcher(self._tokenizer, grammar, log_level=_QUIET)
            if compiled.is_error():
                raise ValueError(first_line(ValueError(compiled.get_error())))
            self._compiled[text] = compiled
        return _Answer(self._compiled[text].deep_copy(), self._head, self._tokenizer.vocab_size, self._stops)

    @cached_property
    def _head(self) -> Sequence[int]:
        """What the chat template writes between a prompt and an answer, such as an empty thought."""
        asked, answer = Message(role="user", content="a"), Message(role="assistant", content=_PROBE)
        prompt = self._encoder.prompt([asked])
        tokens = self._encoder.example([asked, answer]).tokens[len(prompt) :]
        count = next(at for at in range(len(tokens) + 1) if "{" in self._encoder.decode_all(tokens[:at]))
        return tokens[: count - 1]


class _Answer:
    def __init__(self, matcher: Any, head: Sequence[int], vocabulary: int, stops: Sequence[int]):
        self._matcher, self._waiting, self._vocabulary = matcher, list(head), vocabulary
        self._ends = np.zeros(vocabulary, np.bool_)
        self._ends[[token for token in stops if token < vocabulary]] = True

    def allowed(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        if self._waiting:
            only = np.zeros(self._vocabulary, np.bool_)
            only[self._waiting[0]] = True
            return only
        if self._matcher.is_stopped():
            return self._ends
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found = np.unpackbits(bits, bitorder="little")[: self._vocabulary].astype(np.bool_)
        return found & ~self._ends | (self._ends if self._matcher.is_accepting() else False)

    def accept(self, token: int) -> None:
        if self._waiting:
            self._waiting.pop(0)
        else:
            self._matcher.consume_token(token)
