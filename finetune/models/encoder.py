"""Conversations to token ids and loss mask: the one place where text becomes tokens, for training, evaluation and chat."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.errors import UserError, first_line, shortened
from finetune.models import config_files, template_check, thinking, tokenizer, tool_style
from finetune.models.call_text import read_calls
from finetune.models.controls import Controls, names_in, texts_in
from finetune.models.conversation import AnyConversation, Conversation, PlainText, Tool, as_conversation
from finetune.models.foreign import AGAIN, foreign
from finetune.models.loss_mask import Example, example_of, parts_of
from finetune.models.plain_text import PlainTokenizer
from finetune.models.templates import Template
from finetune.models.tool_style import ToolStyle

_NO_TEMPLATE = "the model has no chat template (choose one with --template, such as chatml)"
_TOGETHER = 256  # conversations that are tokenised at once


class ChatEncoder:
    """A model's tokenizer together with a chat template: conversations become token ids, and token ids text.

    A conversation is a ``Conversation``, such as a ``PlainText``, or a list of its messages. Control tokens that somebody typed
    into a message stay text. The system message goes into the first user turn if the template has no such role.

    ``tokenizer`` is the one of transformers. ``special_tokens`` are its special token ids, and ``stop_tokens`` are those
    at which an answer ends: the tokenizer's end-of-sequence token, those of generation_config.json and the template's
    end-of-turn token. ``own_template`` is True if the template is the model's own as it stands. The first conversation with
    tools shows what the template does with them; what it does not show is added to the template, and ``tool_note`` says so.
    """

    def __init__(self, folder: Path, template: Template | str | None = None, *, name: str = "", chats: bool = True):
        """Load the tokenizer in ``folder``. ``template`` is one of ``TEMPLATES``, a Jinja text, or None for the model's own.
        ``name`` is what the user calls the model. Without ``chats`` it needs no template: then only plain text can be encoded.

        UserError (exit 2) if the tokenizer cannot be loaded, or the template is missing or does not work.
        """
        self._folder, self.name = folder, name or str(folder)
        self.tokenizer: Any = tokenizer.load(folder)
        added = self.tokenizer.added_tokens_decoder
        of_ours = isinstance(template, Template)
        if isinstance(template, Template):
            special = {token.content for token in added.values() if token.special}
            template = template.for_model(special, self.tokenizer.eos_token)
        self.own_template = template is None
        if template is not None:
            self.tokenizer.chat_template = template
        if not self.tokenizer.chat_template and chats:
            raise UserError(f"{folder}: {_NO_TEMPLATE}")
        self.special_tokens = frozenset(token_id for token_id, token in added.items() if token.special)
        self._controls = Controls(added.values(), self._texts_of_template())
        place = str(folder) if self.own_template else "--template"
        try:
            if not of_ours and self.template:
                self.tokenizer.get_chat_template()
                for text in self._texts_of_template().split("\0"):
                    template_check.demand_harmless(text, self.tokenizer.special_tokens_map, place)
            self._knows_system = self._keeps_system()
            end_of_turn = self._end_of_turn() if self.template else None
        except ValueError as error:
            raise UserError(f"{place}: {error}") from None
        ends = {*config_files.end_tokens(folder), self.tokenizer.eos_token_id, end_of_turn}
        self.stop_tokens = frozenset(token for token in ends if token is not None)
        self.tool_note = ""

    def prompt(self, conversation: AnyConversation) -> list[int]:
        """The token ids of a conversation up to the point where the assistant's next answer begins: ``[tokens]``.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        if isinstance(conversation, PlainText):
            return self.plain.prompt(conversation)
        try:
            return self._encode([self._render(as_conversation(conversation), prompt=True)])[0]
        except template_check.template_errors() as error:
            raise _refusal(error) from error

    def example(self, conversation: AnyConversation) -> Example:
        """The example of a whole conversation: its token ids, and True in the mask for every assistant turn.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        example = next(self.examples([conversation]))
        if isinstance(example, ValueError):
            raise example
        return example

    def examples(self, conversations: Iterable[AnyConversation]) -> Iterator[Example | ValueError]:
        """The example of each conversation, in their order; a ValueError with the reason in place of one that is refused.

        Much faster than ``example`` for many: they are tokenised together, on all cores. An assistant turn begins where the
        text before it, rendered with the generation prompt, ends. It is learned up to the last special token before the
        next turn, so that the model learns to stop.
        """
        conversations = iter(conversations)
        while chunk := list(islice(conversations, _TOGETHER)):
            asked: list[str | list[int]] = []
            ranges: list[range | ValueError | Example] = []
            kinds: list[list[str]] = []
            pieces = self.plain.examples([piece for piece in chunk if isinstance(piece, PlainText)])
            for conversation in chunk:
                if isinstance(conversation, PlainText):
                    kinds.append([])
                    ranges.append(next(pieces))
                    continue
                try:
                    wanted = parts_of(as_conversation(conversation))
                    parts = [self._render(part.conversation, prompt=part.prompt) for part in wanted]
                    kinds.append([part.kind for part in wanted])
                    ranges.append(range(len(asked), len(asked) + len(parts)))
                    asked += parts
                except template_check.template_errors() as error:
                    kinds.append([])
                    ranges.append(_refusal(error))
            tokens = self._encode(asked)
            for at, of_parts in zip(ranges, kinds, strict=True):
                try:
                    if isinstance(at, range):
                        found = zip(of_parts, (tokens[i] for i in at), strict=True)
                        yield example_of(list(found), self.special_tokens)
                    else:
                        yield at
                except ValueError as error:
                    yield error

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens and surrounding space; those that mark a call of a tool stay."""
        style = self._style_in_use
        if style and self.special_tokens.intersection(tokens):
            kept = [token for token in tokens if token not in self.special_tokens or token in self._call_marks]
            text = style.rewritten(self._decode(kept, skip_special_tokens=False))
            if (found := read_calls(text)).calls or found.problem:
                return text.strip()
        text = self._decode(tokens, skip_special_tokens=True).strip()
        return style.rewritten(text) if style else text

    def decode_all(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._decode(tokens, skip_special_tokens=False)

    def _decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))

    def types_controls(self, conversation: AnyConversation) -> bool:
        """Whether a message, or a plain text, contains text that looks like a special token of the model."""
        if isinstance(conversation, PlainText):
            return self._controls.occur_in(conversation.text) and self.plain.special_in(conversation.text)
        found = as_conversation(conversation)
        if found.uses_tools:
            return any(map(self._controls.occur_in, texts_in([*found.messages, *found.tools])))
        texts = (text for m in found.messages for text in (m["content"], m.get("reasoning_content", "")))
        return any(map(self._controls.occur_in, texts))

    @cached_property
    def plain(self) -> PlainTokenizer:
        """The tokenizer for texts without a chat template."""
        return PlainTokenizer(self.tokenizer)

    @cached_property
    def context_length(self) -> int | None:
        """The largest number of tokens, of prompt and answer together, that the model was made for; None if unknown."""
        return config_files.context_length(self._folder)

    @property
    def template(self) -> str:
        """The Jinja text of the chat template; "" if the model has none."""
        return str(self.tokenizer.chat_template or "")

    def _render(self, conversation: Conversation, *, prompt: bool) -> str | list[int]:
        """The text of a conversation, or its tokens if somebody typed what could become a control token.

        ``prompt`` adds the beginning of the assistant's next turn.
        """
        if not self.template:
            raise ValueError(_NO_TEMPLATE)
        messages: Sequence[Mapping[str, Any]] = conversation.messages
        if conversation.uses_tools:
            messages = self._tool_style.adapted(conversation.messages)
            if any(map(self._controls.occur_in, names_in([*messages, *conversation.tools]))):
                raise ValueError("a name in its tools or arguments is a special token of the model")
        tools = list(conversation.tools) or None
        if conversation.uses_tools and not tools and isinstance(self.tokenizer.chat_template, Mapping):
            tools = []  # the template for tools shows calls
        if not self._knows_system:
            messages = fold_system(messages)
        thought = ""
        if any("reasoning_content" in message for message in messages):
            messages, thought = thinking.shown(messages, self.thinking_way)
        apply = partial(self.tokenizer.apply_chat_template, list(messages), tools=tools, add_generation_prompt=prompt)
        if self.types_controls(conversation):
            if thought:
                raise ValueError(
                    "it drops thinking, and the text has what looks like a special token (--thinking drop)"
                )
            # "<end_of_turn>" in a user's message must stay text and not become the control token
            return list(apply(tokenize=True, return_dict=False, sanitize_control_tokens=True))
        text = thinking.filled(str(apply(tokenize=False)), thought)
        if conversation.uses_tools:
            tool_style.demand_shown(conversation.messages, text)
        return text

    @cached_property
    def thinking_way(self) -> str:
        """How the template shows what the assistant thought: the name of a message's field, or as text; found by rendering."""

        def render(messages: Sequence[Mapping[str, Any]], way: str) -> str:
            try:
                return str(self.tokenizer.apply_chat_template(thinking.shown(messages, way)[0], tokenize=False))
            except template_check.template_errors() as error:
                raise _refusal(error) from error

        return thinking.way_of(render)

    def _encode(self, texts: Sequence[str | list[int]]) -> list[list[int]]:
        """The token ids of each. Not through transformers, which tries all added tokens on each text: Gemma has 6,242."""
        backend = self.tokenizer.backend_tokenizer
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            encoded = iter(
                backend.encode_batch([text for text in texts if isinstance(text, str)], add_special_tokens=False)
            )
        return [next(encoded).ids if isinstance(text, str) else text for text in texts]

    @property
    def _style_in_use(self) -> ToolStyle | None:
        """How the template treats tools, once a conversation had some."""
        return self.__dict__.get("_tool_style")

    @cached_property
    def _tool_style(self) -> ToolStyle:
        """How the template treats tools. What it does not show is added to it here."""
        style = tool_style.find_style(self._rendered_text)
        if not style.complete:
            self.tool_note = f"the chat template does not show {style.missing}: written as Hermes models do"
            template = self.tokenizer.get_chat_template(None, tool_style.TOOLS)
            self.tokenizer.chat_template = tool_style.preamble(style, system=self._knows_system) + template
            self._controls = Controls(self.tokenizer.added_tokens_decoder.values(), self.template)
            self.own_template = False
        tail = self._encode([tool_style.call_tail(self._rendered_text, style)])[0]
        if tail and tail[-1] in self.special_tokens:  # some end a call with a token of its own
            self.stop_tokens |= {tail[-1]}
        self._call_marks = self.special_tokens.intersection(tail) - self.stop_tokens
        return style

    def _texts_of_template(self) -> str:
        """The template; if the model has several by name, such as one for tools, all of them, with NUL between."""
        found = self.tokenizer.chat_template
        return "\0".join(found.values()) if isinstance(found, Mapping) else str(found)

    def _rendered_text(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool] | None, *, prompt: bool
    ) -> str:
        if not self._knows_system:
            messages = fold_system(messages)
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=prompt, tokenize=False
            )
        )

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


def fold_system(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The conversation with its system message put before the first user message, for a model without that role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
