"""Conversations to token ids and loss mask: the one place where text becomes tokens, for training, evaluation and chat."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.errors import UserError, first_line, shortened
from finetune.models import template_check, tokenizer
from finetune.models.foreign import AGAIN, foreign
from finetune.models.templates import Template

_TOGETHER = 256  # conversations that are tokenised at once
_SEAM = 4  # tokens at the end of a prompt that can change once the answer follows

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Example:
    """One conversation as the model sees it.

    ``tokens`` are the token ids, and ``loss_mask``, of the same length, is True for those that the loss counts: the
    assistant's turns, each with its end-of-turn token. ``terms`` are the further inputs of a loss, by name: a number for the
    whole example (DPO's log-probability under the reference), or a list with a number per learned token (GRPO's).
    """

    tokens: list[int]
    loss_mask: list[bool]
    terms: dict[str, Any] = field(default_factory=dict)

    @property
    def learned(self) -> int:
        """How many tokens the loss counts. The first is never among them: nothing precedes it, so it is not predicted."""
        return sum(self.loss_mask[1:])


class ChatEncoder:
    """A model's tokenizer together with a chat template: conversations become token ids, and token ids text.

    A conversation is a list of ``{"role": "system" | "user" | "assistant", "content": text}``. Control tokens that somebody
    typed into a message stay text. The system message goes into the first user turn if the template has no such role.

    ``tokenizer`` is the one of transformers. ``special_tokens`` are its special token ids, and ``stop_tokens`` are those
    at which an answer ends: the tokenizer's end-of-sequence token, those of generation_config.json and the template's
    end-of-turn token. ``own_template`` is True if the template is the model's own.
    """

    def __init__(self, folder: Path, template: Template | str | None = None):
        """Load the tokenizer in ``folder``. ``template`` is one of ``TEMPLATES``, a Jinja text, or None for the model's own.

        UserError (exit 2) if the tokenizer cannot be loaded, or the template is missing or does not work.
        """
        self._folder = folder
        self.tokenizer: Any = tokenizer.load(folder)
        added = self.tokenizer.added_tokens_decoder
        of_ours = isinstance(template, Template)
        if isinstance(template, Template):
            special = {token.content for token in added.values() if token.special}
            template = template.for_model(special, self.tokenizer.eos_token)
        self.own_template = template is None
        if template is not None:
            self.tokenizer.chat_template = template
        if not self.tokenizer.chat_template:
            raise UserError(f"{folder}: the model has no chat template (choose one with --template, such as chatml)")
        self.special_tokens = frozenset(token_id for token_id, token in added.items() if token.special)
        self._controls = _Controls(added.values(), self.tokenizer.chat_template)
        place = str(folder) if self.own_template else "--template"
        try:
            if not of_ours:
                text = self.tokenizer.get_chat_template()
                template_check.demand_harmless(text, self.tokenizer.special_tokens_map, place)
            self._knows_system = self._keeps_system()
            end_of_turn = self._end_of_turn()
        except ValueError as error:
            raise UserError(f"{place}: {error}") from None
        ends = {*_generation_eos(folder), self.tokenizer.eos_token_id, end_of_turn}
        self.stop_tokens = frozenset(token for token in ends if token is not None)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation up to the point where the assistant's next answer begins: ``[tokens]``.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        try:
            return self._encode([self._render(messages, prompt=True)])[0]
        except template_check.template_errors() as error:
            raise _refusal(error) from error

    def example(self, messages: Sequence[Message]) -> Example:
        """The example of a whole conversation: its token ids, and True in the mask for every assistant turn.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        example = next(self.examples([messages]))
        if isinstance(example, ValueError):
            raise example
        return example

    def examples(self, conversations: Iterable[Sequence[Message]]) -> Iterator[Example | ValueError]:
        """The example of each conversation, in their order; a ValueError with the reason in place of one that is refused.

        Much faster than ``example`` for many: they are tokenised together, on all cores. An assistant turn begins where the
        text before it, rendered with the generation prompt, ends. It is learned up to the last special token before the
        next turn, so that the model learns to stop.
        """
        conversations = iter(conversations)
        while chunk := list(islice(conversations, _TOGETHER)):
            asked: list[str | list[int]] = []
            ranges: list[range | ValueError] = []
            for messages in chunk:
                try:
                    parts = [self._render(part, prompt=prompt) for part, prompt in _parts(messages)]
                    ranges.append(range(len(asked), len(asked) + len(parts)))
                    asked += parts
                except template_check.template_errors() as error:
                    ranges.append(_refusal(error))
            tokens = self._encode(asked)
            for at in ranges:
                try:
                    yield at if isinstance(at, ValueError) else self._example([tokens[i] for i in at])
                except ValueError as error:
                    yield error

    def _example(self, parts: Sequence[list[int]]) -> Example:
        """The example, from the tokens of ``_parts``: the whole, then up to the start and the end of each assistant turn."""
        tokens, *turns = parts
        loss_mask = [False] * len(tokens)
        for before, through in zip(turns[::2], [*turns[1::2], tokens], strict=False):
            start, end = _common(tokens, before), _common(tokens, through)
            if start < len(before) - _SEAM:
                if through is tokens:
                    raise ValueError("the chat template changes the prompt once the answer follows")
                continue  # the template rewrites this turn once others follow, so the model never answers like this
            end = max((i + 1 for i in range(start, end) if tokens[i] in self.special_tokens), default=end)
            loss_mask[start:end] = [True] * (end - start)
        last = max((i + 1 for i, learned in enumerate(loss_mask) if learned), default=len(tokens))
        return Example(tokens[:last], loss_mask[:last])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens and surrounding space."""
        return self._decode(tokens, skip_special_tokens=True).strip()

    def decode_all(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._decode(tokens, skip_special_tokens=False)

    def _decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))

    def types_controls(self, messages: Sequence[Message]) -> bool:
        """Whether a message contains text that looks like a special token of the model."""
        return any(self._controls.occur_in(message["content"]) for message in messages)

    @cached_property
    def context_length(self) -> int | None:
        """The largest number of tokens, of prompt and answer together, that the model was made for; None if unknown."""
        config = _json(self._folder / "config.json")
        inner = config.get("text_config")
        length = {**config, **(inner if isinstance(inner, Mapping) else {})}.get("max_position_embeddings")
        return length if isinstance(length, int) and length > 0 else None

    @property
    def template(self) -> str:
        """The Jinja text of the chat template."""
        return str(self.tokenizer.chat_template)

    def _render(self, messages: Sequence[Message], *, prompt: bool) -> str | list[int]:
        """The text of a conversation, or its tokens if somebody typed what could become a control token.

        ``prompt`` adds the beginning of the assistant's next turn.
        """
        if not self._knows_system:
            messages = fold_system(messages)
        apply = partial(self.tokenizer.apply_chat_template, list(messages), add_generation_prompt=prompt)
        if self.types_controls(messages):
            # "<end_of_turn>" in a user's message must stay text and not become the control token
            return list(apply(tokenize=True, return_dict=False, sanitize_control_tokens=True))
        return str(apply(tokenize=False))

    def _encode(self, texts: Sequence[str | list[int]]) -> list[list[int]]:
        """The token ids of each. Not through transformers, which tries all added tokens on each text: Gemma has 6,242."""
        backend = self.tokenizer.backend_tokenizer
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            encoded = iter(
                backend.encode_batch([text for text in texts if isinstance(text, str)], add_special_tokens=False)
            )
        return [next(encoded).ids if isinstance(text, str) else text for text in texts]

    def _keeps_system(self) -> bool:
        """Whether the template renders a system message: some refuse it, some drop it in silence."""
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
        answered = [*messages, {"role": "assistant", "content": "b"}]  # Mistral's keeps it only before an answer
        try:
            return all(
                "be brief" in self.tokenizer.apply_chat_template(m, tokenize=False) for m in (messages, answered)
            )
        except template_check.template_errors():
            return False

    def _end_of_turn(self) -> int | None:
        """The special token that the template puts after an assistant's answer; None if it puts none."""
        example = self.example([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        if not example.tokens:
            raise ValueError("the chat template renders nothing")
        return example.tokens[-1] if example.tokens[-1] in self.special_tokens else None


def _refusal(error: Exception) -> ValueError:
    """For what a chat template raises about a conversation; its message can be of any length."""
    return ValueError(f"the chat template refuses it: {shortened(first_line(error), 200)}")


def fold_system(messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation with its system message put before the first user message, for a model without that role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _parts(messages: Sequence[Message]) -> list[tuple[Sequence[Message], bool]]:
    """The parts to render in order to find the assistant's turns, each with whether to add the generation prompt.

    First the whole conversation. Then for each assistant turn all before it, and, unless it is the last, all up to its end.
    """
    parts: list[tuple[Sequence[Message], bool]] = [(messages, False)]
    for turn, message in enumerate(messages):
        if message["role"] == "assistant":
            parts.append((messages[:turn], True))
            if turn < len(messages) - 1:
                parts.append((messages[: turn + 1], False))
    return parts


class _Controls:
    """Finds in a message what must not become a control token.

    That is special tokens, added tokens that the template writes, and private-use characters.
    """

    def __init__(self, added: Iterable[Any], template: str):
        found: dict[str, list[str]] = defaultdict(list)
        for token in added:
            if (token.special or token.content in template) and token.content.strip():
                found[token.content[:1]].append(token.content)
        self._by_first = {first: tuple(contents) for first, contents in found.items()}
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
    """The end-of-sequence token ids in generation_config.json; a model can have several."""
    ids = _json(folder / "generation_config.json").get("eos_token_id")
    return [token for token in (ids if isinstance(ids, list) else [ids]) if isinstance(token, int)]


def _json(path: Path) -> Mapping[str, object]:
    """The mapping in a JSON file of the model; empty if it has no such file. UserError if it is anything else."""
    if not path.exists():
        return {}
    with foreign(f"{path}: cannot be read", AGAIN):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise TypeError("it is not a JSON object")
        return value
