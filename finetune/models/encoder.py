"""Rows to token ids and loss mask: the one place where text becomes tokens, for training, evaluation and chat."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.errors import UserError, first_line
from finetune.models.templates import Template

_TOGETHER = 256  # conversations that are split into tokens at once
_SEAM = 4  # tokens at the end of a prompt that may become others once the answer follows

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Example:
    """One conversation as the model sees it: ``tokens`` and ``loss_mask`` have the same length.

    ``loss_mask[i]`` is True where ``tokens[i]`` is to be learned: every assistant turn with its end-of-turn token.
    ``terms`` is what a loss needs to know beside the log-probabilities of those tokens: numbers, or lists of one a token.
    """

    tokens: list[int]
    loss_mask: list[bool]
    terms: dict[str, Any] = field(default_factory=dict)

    @property
    def learned(self) -> int:
        """Tokens that are learned; of the first none is, because nothing stands before it."""
        return sum(self.loss_mask[1:])


class ChatEncoder:
    """A model's tokenizer, with its own chat template or another."""

    def __init__(self, folder: Path, template: Template | str | None = None):
        # a tokenizer needs no PyTorch; without this transformers tells the user that it is missing
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoTokenizer

        self._folder = folder
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from None
        except (StrictDataclassError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
            # what transformers makes of a config.json that contradicts itself
            why = " ".join(str(error).split())
            raise UserError(f"{folder}: config.json or tokenizer cannot be read: {why[:200]}") from None
        added = self.tokenizer.added_tokens_decoder
        if isinstance(template, Template):
            special = {token.content for token in added.values() if token.special}
            template = template.for_model(special, self.tokenizer.eos_token)
        self.own_template = template is None
        if template is not None:
            self.tokenizer.chat_template = template
        if not self.tokenizer.chat_template:
            raise UserError(f"{folder}: the model has no chat template (--template chatml gives it one)")
        self._knows_system = self._keeps_system()
        self.special_tokens = frozenset(token_id for token_id, token in added.items() if token.special)
        self._controls = _Controls(added.values(), self.tokenizer.chat_template)
        try:
            end_of_turn = self._end_of_turn()
        except ValueError as error:
            raise UserError(f"{folder if self.own_template else '--template'}: {error}") from None
        ends = {*_generation_eos(folder), self.tokenizer.eos_token_id, end_of_turn}
        self.stop_tokens = frozenset(token for token in ends if token is not None)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to the place where the assistant's answer begins. ValueError where the chat template refuses."""
        try:
            return self._encode([self._render(messages, prompt=True)])[0]
        except _template_errors() as error:
            raise ValueError(f"the chat template refuses it: {first_line(error)}") from error

    def example(self, messages: Sequence[Message]) -> Example:
        """Token ids and loss mask of a whole conversation. ValueError where the chat template refuses it."""
        example = next(self.examples([messages]))
        if isinstance(example, ValueError):
            raise example
        return example

    def examples(self, conversations: Iterable[Sequence[Message]]) -> Iterator[Example | ValueError]:
        """The example of each conversation, or why there is none; many at once, on all cores.

        The template decides where each assistant turn begins: where the text up to that turn, with the generation prompt,
        ends. It is learned up to the last special token before the next turn, so that the model learns to stop.
        """
        conversations = iter(conversations)
        while chunk := list(islice(conversations, _TOGETHER)):
            asked: list[str | list[int]] = []
            ranges: list[range | ValueError] = []
            for messages in chunk:
                try:
                    parts = [self._render(part, prompt) for part, prompt in _parts(messages)]
                    ranges.append(range(len(asked), len(asked) + len(parts)))
                    asked += parts
                except _template_errors() as error:
                    ranges.append(ValueError(f"the chat template refuses it: {first_line(error)}"))
            tokens = self._encode(asked)
            for at in ranges:
                try:
                    yield at if isinstance(at, ValueError) else self._example([tokens[i] for i in at])
                except ValueError as error:
                    yield error

    def _example(self, parts: Sequence[list[int]]) -> Example:
        """From the tokens of what ``_parts`` gives: the whole, then beginning and end of each assistant turn."""
        tokens, *turns = parts
        loss_mask = [False] * len(tokens)
        for before, through in zip(turns[::2], [*turns[1::2], tokens], strict=False):
            start, end = _common(tokens, before), _common(tokens, through)
            if start < len(before) - _SEAM:
                if through is tokens:
                    raise ValueError("the chat template writes the prompt otherwise once it is answered")
                continue  # a turn that is written otherwise once others follow is never seen so by the model
            end = max((i + 1 for i in range(start, end) if tokens[i] in self.special_tokens), default=end)
            loss_mask[start:end] = [True] * (end - start)
        last = max((i + 1 for i, learned in enumerate(loss_mask) if learned), default=len(tokens))
        return Example(tokens[:last], loss_mask[:last])

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def decode_all(self, tokens: Sequence[int]) -> str:
        """With the special tokens."""
        return str(self.tokenizer.decode(tokens))

    def types_controls(self, messages: Sequence[Message]) -> bool:
        """Whether somebody typed what looks like a special token."""
        return any(self._controls.occur_in(message["content"]) for message in messages)

    @cached_property
    def context_length(self) -> int | None:
        """The most tokens of prompt and answer together; None where the model does not say."""
        config = _json(self._folder / "config.json")
        length = {**config, **(config.get("text_config") or {})}.get("max_position_embeddings")
        return length if isinstance(length, int) and length > 0 else None

    @property
    def template(self) -> str:
        return str(self.tokenizer.chat_template)

    def _render(self, messages: Sequence[Message], prompt: bool) -> str | list[int]:
        """The text of a conversation; its tokens where somebody typed what could become a control token."""
        if not self._knows_system:
            messages = fold_system(messages)
        apply = partial(self.tokenizer.apply_chat_template, list(messages), add_generation_prompt=prompt)
        if self.types_controls(messages):
            # "<end_of_turn>" typed by a user stays text, it does not become the control token
            return list(apply(tokenize=True, return_dict=False, sanitize_control_tokens=True))
        return str(apply(tokenize=False))

    def _encode(self, texts: Sequence[str | list[int]]) -> list[list[int]]:
        """Token ids. Not through transformers, which goes through all added tokens for each text: Gemma has 6,242."""
        backend = self.tokenizer.backend_tokenizer
        encoded = iter(
            backend.encode_batch([text for text in texts if isinstance(text, str)], add_special_tokens=False)
        )
        return [next(encoded).ids if isinstance(text, str) else text for text in texts]

    def _keeps_system(self) -> bool:
        """Some templates refuse a system message, some drop it in silence."""
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
        answered = [*messages, {"role": "assistant", "content": "b"}]  # Mistral's keeps it only before an answer
        try:
            return all(
                "be brief" in self.tokenizer.apply_chat_template(m, tokenize=False) for m in (messages, answered)
            )
        except _template_errors():
            return False

    def _end_of_turn(self) -> int | None:
        """The special token that the template puts after an assistant's answer, if it puts one."""
        example = self.example([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        if not example.tokens:
            raise ValueError("the chat template writes nothing")
        return example.tokens[-1] if example.tokens[-1] in self.special_tokens else None


def _template_errors() -> tuple[type[Exception], ...]:
    """What a chat template, which is a program of the model's or the user's, may raise."""
    from jinja2 import TemplateError

    return (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    )


def fold_system(messages: Sequence[Message]) -> Sequence[Message]:
    """The system message put before the first message of the user, for a model that has no such role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _parts(messages: Sequence[Message]) -> list[tuple[Sequence[Message], bool]]:
    """What must be rendered to find the assistant's turns, each with whether the generation prompt belongs to it.

    First the whole; for each turn what stands before it, and, but for one at the end, what stands up to its end.
    """
    parts: list[tuple[Sequence[Message], bool]] = [(messages, False)]
    for turn, message in enumerate(messages):
        if message["role"] == "assistant":
            parts.append((messages[:turn], True))
            if turn < len(messages) - 1:
                parts.append((messages[: turn + 1], False))
    return parts


class _Controls:
    """What in a message needs care: special tokens, others that the template writes, and private-use characters."""

    def __init__(self, added: Iterable[Any], template: str):
        self._by_first: dict[str, tuple[str, ...]] = {}
        for token in added:
            if (token.special or token.content in template) and not token.content.isspace():
                first = token.content[0]
                self._by_first[first] = (*self._by_first.get(first, ()), token.content)
        # one pattern of all tokens would try each of Gemma's 6,242 at every "<"
        self._first = re.compile("[\ue000-\uf8ff" + re.escape("".join(self._by_first)) + "]")

    def occur_in(self, text: str) -> bool:
        return any(
            text.startswith(self._by_first.get(found[0], found[0]), found.start())
            for found in self._first.finditer(text)
        )


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _generation_eos(folder: Path) -> list[int]:
    """The end-of-sequence ids of generation_config.json; a model may name several."""
    ids = _json(folder / "generation_config.json").get("eos_token_id", [])
    return ids if isinstance(ids, list) else [ids]


def _json(path: Path) -> dict[str, Any]:
    """Of a file of the model's; empty where it has none of this name."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
