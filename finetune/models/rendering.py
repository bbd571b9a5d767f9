"""A chat template applied: conversations become text. What somebody typed stays apart from what the template writes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from finetune.errors import first_line, shortened
from finetune.models import template_check, thinking, tool_style
from finetune.models.controls import Controls, names_in, texts_in
from finetune.models.conversation import AnyConversation, Conversation, Message, PlainText, Tool, as_conversation
from finetune.models.tool_style import ToolStyle

NO_TEMPLATE = "the model has no chat template (choose one with --template, such as chatml)"

_TOOL: Tool = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
}
_ASKED, _SAID = "What is asked here?", "What the system says here."


class Renderer:
    """The chat template of a transformers ``tokenizer``.

    ``now`` is the date of templates that write one: it stays the same for the life of a run. ``switches`` are variables of the
    template, such as ``enable_thinking``, with values other than its own. Typed control tokens stand between private-use
    characters, so that ``encoder`` makes letters of them.
    """

    def __init__(self, tokenizer: Any, now: datetime, switches: Mapping[str, bool]):
        self.tokenizer, self.now, self.switches = tokenizer, now, dict(switches)
        self.note = ""  # what of tools the template does not show
        self.changed = False  # something was added to the template
        self.controls = self._find_controls()

    @property
    def template(self) -> str:
        """The Jinja text of the chat template; "" if the model has none."""
        return str(self.tokenizer.chat_template or "")

    @property
    def writes_date(self) -> bool:
        return "strftime_now" in self.template

    @cached_property
    def default_system(self) -> str:
        """What the template writes where a system message would stand, in a conversation without one."""
        asked: Message = {"role": "user", "content": _ASKED}
        try:
            without = self.text(Conversation([asked]), prompt=True)
            given = self.text(Conversation([{"role": "system", "content": _SAID}, asked]), prompt=True)
        except ValueError:
            return ""
        before, said, after = given.partition(_SAID)
        if (
            not said
            or len(without) < len(before + after)
            or not without.startswith(before)
            or not without.endswith(after)
        ):
            return ""
        return without[len(before) : len(without) - len(after)].strip()

    @cached_property
    def is_default_beside_tools(self) -> bool:
        """Whether the template writes ``default_system`` in a conversation with tools too, and not the tools in its place."""
        if not self.default_system:
            return False
        try:
            text = self.text(Conversation([{"role": "user", "content": _ASKED}], [_TOOL]), prompt=True)
        except ValueError:
            return False
        return self.default_system in text

    def texts(self) -> list[str]:
        """The template; if the model has several by name, such as one for tools, all of them."""
        found = self.tokenizer.chat_template
        return [*found.values()] if isinstance(found, Mapping) else [str(found)]

    def text(self, conversation: Conversation, *, prompt: bool) -> str:
        """The text of a conversation. ``prompt`` adds the beginning of the assistant's next turn.

        ValueError, with the reason, if the chat template refuses it.
        """
        try:
            return self._text(conversation, prompt=prompt)
        except template_check.template_errors() as error:
            raise refusal(error) from error

    def _text(self, conversation: Conversation, *, prompt: bool) -> str:
        if not self.template:
            raise ValueError(NO_TEMPLATE)
        messages: Sequence[Mapping[str, Any]] = [thinking.parted(message) for message in conversation.messages]
        tools: Any = list(conversation.tools) or None
        if conversation.uses_tools:
            messages = self.tool_style.adapted(messages)  # type: ignore[arg-type]
            if any(map(self.controls.occur_in, names_in([*messages, *conversation.tools]))):
                raise ValueError("a name in its tools or arguments is a special token of the model")
            if not tools and isinstance(self.tokenizer.chat_template, Mapping):
                tools = []  # the template for tools shows calls
        if self.types_controls(Conversation(messages, conversation.tools)):  # type: ignore[arg-type]
            messages, tools = self._marked(messages, tools)
        if not self.knows_system:
            messages = fold_system(messages)
        thought = ""
        if any("reasoning_content" in message for message in messages):
            messages, thought = thinking.shown(messages, self.thinking_way)
        text = thinking.filled(self.raw(messages, tools, prompt=prompt), thought)
        if conversation.uses_tools:
            tool_style.demand_shown(conversation.messages, text)
        return text

    def raw(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool] | None = None, *, prompt: bool = False
    ) -> str:
        """What the template makes of the messages as they are; it raises what templates raise."""
        tokenizer = self.tokenizer
        if self.writes_date:
            _freeze_date(tokenizer.get_chat_template(None, tools), self.now)
        return str(
            tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=prompt, tokenize=False, **self.switches
            )
        )

    def types_controls(self, conversation: AnyConversation) -> bool:
        """Whether a message contains text that looks like a special token of the model."""
        if isinstance(conversation, PlainText):
            return self.controls.occur_in(conversation.text)
        found = as_conversation(conversation)
        if found.uses_tools:
            return any(map(self.controls.occur_in, texts_in([*found.messages, *found.tools])))
        texts = (text for m in found.messages for text in (m["content"], m.get("reasoning_content", "")))
        return any(map(self.controls.occur_in, texts))

    def _marked(self, messages: Any, tools: Any) -> tuple[Any, Any]:
        """As ``sanitize_control_tokens`` of transformers: "<end_of_turn>" in a user's message must not become the token."""
        from transformers.utils import chat_template_utils

        known = self.tokenizer._get_control_tokens(self.tokenizer.get_chat_template(None, tools))
        pattern, _ = chat_template_utils._get_control_token_patterns(known)
        mark = chat_template_utils.mark_control_tokens
        return mark(list(messages), pattern), mark(tools, pattern)

    @cached_property
    def knows_system(self) -> bool:
        """Whether the template renders a system message: some refuse it, some drop it in silence."""
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
        answered = [*messages, {"role": "assistant", "content": "b"}]  # Mistral's keeps it only before an answer
        try:
            return all("be brief" in self.raw(m) for m in (messages, answered))
        except template_check.template_errors():
            return False

    @cached_property
    def thinking_way(self) -> str:
        """How the template shows what the assistant thought: the name of a message's field, or as text; found by rendering."""

        def render(messages: Sequence[Mapping[str, Any]], way: str) -> str:
            try:
                return self.raw(thinking.shown(messages, way)[0])
            except template_check.template_errors() as error:
                raise refusal(error) from error

        return thinking.way_of(render)

    @property
    def style_in_use(self) -> ToolStyle | None:
        """How the template treats tools, once a conversation had some."""
        return self.__dict__.get("tool_style")

    @cached_property
    def tool_style(self) -> ToolStyle:
        """How the template treats tools. What it does not show is added to it here."""
        style = tool_style.find_style(self._folded)
        if not style.complete:
            self.note = f"the chat template does not show {style.missing}: written as Hermes models do"
            template = self.tokenizer.get_chat_template(None, tool_style.TOOLS)
            self.tokenizer.chat_template = tool_style.preamble(style, system=self.knows_system) + template
            self.controls, self.changed = self._find_controls(), True
        return style

    @cached_property
    def call_tail(self) -> str:
        """What the template writes for a turn with one call, its end included."""
        return tool_style.call_tail(self._folded, self.tool_style)

    def _folded(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool] | None, *, prompt: bool) -> str:
        return self.raw(messages if self.knows_system else fold_system(messages), tools, prompt=prompt)

    def _find_controls(self) -> Controls:
        return Controls(self.tokenizer.added_tokens_decoder.values(), "\0".join(self.texts()))


def _freeze_date(template: str, now: datetime) -> None:
    """Give the compiled template a clock that stands still; arguments of apply_chat_template cannot be functions."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    _compile_jinja_template(template).globals["strftime_now"] = now.strftime


def refusal(error: Exception) -> ValueError:
    """For what a chat template raises about a conversation; its message can be of any length."""
    return ValueError(f"the chat template refuses it: {shortened(first_line(error), 200)}")


def fold_system(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The conversation with its system message put before the first user message, for a model without that role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
