"""Conversations to token ids and loss mask: the one place where text becomes tokens, for training, evaluation and chat."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.models import config_files, new_tokens, template_check, tokenizer, turns
from finetune.models.answers import AnswerFrame, AnswerReader, Reading
from finetune.models.conversation import AnyConversation, PlainText, as_conversation
from finetune.models.ends import End, ended, find_end, up_to_end
from finetune.models.loss_mask import Example, Turn, examples_of_turns
from finetune.models.plain_text import PlainTokenizer
from finetune.models.rendering import NO_TEMPLATE, Renderer, refusal
from finetune.models.seams import RenderedTokens
from finetune.models.templates import Template
from finetune.models.turns import Draft, TurnStyle

_TOGETHER = 256  # conversations that are tokenised at once


class ChatEncoder:
    """A model's tokenizer together with a chat template: conversations become token ids, and token ids text.

    A conversation is a ``Conversation``, such as a ``PlainText``, or a list of its messages. Control tokens that somebody typed
    into a message stay text. The system message goes into the first user turn if the template has no such role.

    ``tokenizer`` is the one of transformers. ``special_tokens`` are its special token ids, and ``stop_tokens`` are those
    at which an answer ends: the tokenizer's end-of-sequence token, those of generation_config.json and ``end``, which the
    template writes or, if it writes none, is added to every answer that is learned. ``own_template`` is True if the template
    is the model's own as it stands. The first conversation with tools shows what the template does with them; what it does not
    show is added to the template, and ``tool_note`` says so. ``now`` is the date of templates that write one. ``switches``
    are variables with which the template asks for thinking: the first examples that have some show whether it needs any.
    """

    def __init__(
        self,
        folder: Path,
        template: Template | str | None = None,
        *,
        name: str = "",
        chats: bool = True,
        now: datetime | None = None,
        switches: Mapping[str, bool] | None = None,
        added: Mapping[str, str] | None = None,
    ):
        """Load the tokenizer in ``folder``. ``template`` is one of ``TEMPLATES``, a Jinja text, or None for the model's own.
        ``name`` is what the user calls the model. Without ``chats`` it needs no template: then only plain text can be encoded.
        ``added`` are new tokens, with the place that an error about one names.

        UserError (exit 2) if the tokenizer cannot be loaded, or the template is missing or does not work.
        """
        self._folder, self.name, self.now = folder, name or str(folder), now or datetime.now().astimezone()
        self.tokenizer: Any = tokenizer.load(folder)
        self._again = partial(ChatEncoder, folder, template, name=name, chats=chats, now=self.now)
        added_tokens = self.tokenizer.added_tokens_decoder
        of_ours = isinstance(template, Template)
        if isinstance(template, Template):
            special = {token.content for token in added_tokens.values() if token.special}
            begins = bool(self.plain.begin) or config_files.begins_texts(folder)
            has_begin = self.tokenizer.bos_token is not None
            template = template.for_model(special, self.tokenizer.eos_token, begins=begins and has_begin)
        self._own = template is None
        if template is not None:
            self.tokenizer.chat_template = template
        if not self.tokenizer.chat_template and chats:
            raise UserError(f"{folder}: {NO_TEMPLATE}")
        self.special_tokens = frozenset(token_id for token_id, token in added_tokens.items() if token.special)
        self.new_tokens = new_tokens.add(self.tokenizer, added or {}, str(self.tokenizer.chat_template), self.name)
        self._tokens, self._decided = RenderedTokens(self.tokenizer, folder), switches is not None
        self._renderer = Renderer(self.tokenizer, self.now, switches or {})
        place = str(folder) if self._own else "--template"
        self.end, self._style = End(self.tokenizer.eos_token_id), TurnStyle()
        self._stops = frozenset({*config_files.end_tokens(folder), self.tokenizer.eos_token_id} - {None})
        try:
            if not of_ours and self.template:
                self._check_template(place)
            if self.template:
                self._find_style()
        except ValueError as error:
            remedy = "" if "--template" in str(error) else " (choose another with --template, such as chatml)"
            raise UserError(f"{place}: {error}{remedy}") from None

    def _check_template(self, place: str) -> None:
        """UserError if the template is none that can be used, or ValueError."""
        several = self.tokenizer.chat_template
        if isinstance(several, Mapping) and "default" not in several:
            names = ", ".join(several)
            raise ValueError(f"none of its chat templates ({names}) is the default (choose one with --template)")
        for text in self._renderer.texts():
            template_check.demand_harmless(text, self.tokenizer.special_tokens_map, place)

    def _find_style(self) -> None:
        """How the template writes a turn, and how it ends. ValueError if the model could not be asked as it is trained."""
        self._style = turns.find_turns(self._renderer.text)
        eos, added = self.tokenizer.eos_token_id, self.tokenizer.added_tokens_decoder
        ends, following = config_files.end_tokens(self._folder), turns.following(self._renderer.text)
        self.end = find_end(self._style.after, following, self._tokens.one, added, ends, eos)
        self._stops |= {self.end.token, *self.end.marks} - {None}
        self.__dict__.pop("_reader", None)

    @cached_property
    def base(self) -> "ChatEncoder":
        """The encoder of the model as it was, without new tokens."""
        return self if self.new_tokens is None else self._again(switches=self.switches)

    @property
    def own_template(self) -> bool:
        """Whether the template is the model's own as it stands."""
        return self._own and not self._renderer.changed

    def ask_for_thinking(self) -> None:
        """Set the ``switches`` with which the template asks for answers that have thinking, if it needs any."""
        before, self._decided = self._renderer.switches, True

        def find(switches: Mapping[str, bool]) -> tuple[TurnStyle, turns.RenderText]:
            self._renderer.switches = dict(switches)
            return turns.find_turns(self._renderer.text), self._renderer.text

        self._renderer.switches = before if before else turns.switches_for_thinking(self.template, find)
        self._find_style()

    @property
    def switches(self) -> dict[str, bool]:
        """Variables of the template with other values than its own, for ``switches`` of the next encoder."""
        return self._renderer.switches

    @property
    def notes(self) -> list[str]:
        """What a person should know of the template."""
        named = ", ".join(f"{name}={value}" for name, value in self.switches.items())
        asked = f"the chat template asks for thinking with {named}: it is trained and asked so (do the same elsewhere)"
        return [*filter(None, [self.tool_note, self.end.note if self.template else "", asked if named else ""])]

    def default_system(self, *, tools: bool = False) -> str:
        """The system message that the template writes where a conversation has none, with or without ``tools``; "" if none."""
        return self._renderer.default_system if not tools or self._renderer.is_default_beside_tools else ""

    @property
    def frozen_date(self) -> str:
        """The date that the template writes, for all of a run; "" if it writes none."""
        return self.now.strftime("%Y-%m-%d") if self._renderer.writes_date else ""

    def prompt(self, conversation: AnyConversation) -> list[int]:
        """The token ids of a conversation up to the point where the assistant's next answer begins: ``[tokens]``.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        if isinstance(conversation, PlainText):
            return self.plain.prompt(conversation)
        return self._tokens.one(self._renderer.text(as_conversation(conversation), prompt=True))

    def example(self, conversation: AnyConversation) -> Example:
        """The example of a whole conversation: its token ids, and True in the mask for the last turn of the assistant and for
        each before it that stands there as the model is asked for it.

        ValueError, with the reason, if the chat template refuses the conversation.
        """
        examples = next(self.examples([conversation]))
        if isinstance(examples, ValueError):
            raise examples
        return examples[-1]

    def examples(self, conversations: Iterable[AnyConversation]) -> Iterator[list[Example] | ValueError]:
        """The examples of each conversation, in their order; a ValueError with the reason in place of one that is refused.

        Much faster than ``example`` for many: they are tokenised together, on all cores. An assistant turn stands behind the
        tokens of ``prompt`` and is learned up to its end, so that the model learns to stop. The last example is that of the
        whole conversation; each before it ends with a turn that the template rewrites once others follow.
        """
        conversations = iter(conversations)
        while chunk := list(islice(conversations, _TOGETHER)):
            pieces = self.plain.examples([piece for piece in chunk if isinstance(piece, PlainText)])
            if not self._decided and any(turns.has_thinking(as_conversation(one)) for one in chunk):
                self.ask_for_thinking()
            drafts = [self._drafts(one) for one in chunk]
            asked = [text for one in drafts if isinstance(one, list) for draft in one for text in draft.texts]
            tokens = iter(self._tokens.encode(asked))
            for conversation, found in zip(chunk, drafts, strict=True):
                if isinstance(conversation, PlainText):
                    yield [next(pieces)]
                elif isinstance(found, ValueError):
                    yield found
                else:
                    yield self._learned(found, [[next(tokens) for _ in draft.texts] for draft in found])

    def _drafts(self, conversation: AnyConversation) -> list[Draft] | ValueError:
        """The turns to learn, as text, or why they cannot be learned; without any, the conversation as a prompt."""
        if isinstance(conversation, PlainText):
            return []
        found = as_conversation(conversation)
        try:
            drafts = turns.drafts_of(self._renderer.text, self._style, found)
            if not drafts:
                return [Draft(self._renderer.text(found, prompt=False), "")]
        except ValueError as error:
            return error
        known, stops = self.tokenizer.added_tokens_decoder, self.stop_tokens  # which are made anew each time
        marks = tuple(known[end].content for end in stops if end in known)
        return [draft._replace(completion=ended(draft.completion, self.end, marks)) for draft in drafts]

    def _learned(
        self, drafts: Sequence[Draft], tokens: Sequence[Sequence[list[int] | ValueError]]
    ) -> list[Example] | ValueError:
        """The examples of a conversation; ``tokens`` are those of each draft's texts."""
        found = []
        for draft, of_draft in zip(drafts, tokens, strict=True):
            for one in of_draft:
                if isinstance(one, ValueError):
                    return refusal(one)
            prompt, whole, *others = (one for one in of_draft if isinstance(one, list))
            if not draft.completion:
                return [Example(prompt, [False] * len(prompt))]
            try:
                completion = self._tokens.after(prompt, whole, draft.completion)
                context = [self._tokens.after(prompt, other, draft.other or "") for other in others]
            except ValueError as error:
                return error
            first = last = len(completion)
            if self.end.token is not None:  # what the template writes after it, such as a line end, is not learned
                first, last = up_to_end(completion, self.special_tokens | {self.end.token}, self.decode_all)
            kept = turns.common(completion, context[0]) if context else 0
            found.append(Turn(prompt, completion[:last], kept, draft.is_call, first))
        return examples_of_turns(found)

    def decode(self, tokens: Sequence[int]) -> str:
        """The answer in the token ids that a model wrote: without thinking, special tokens and surrounding space; those that
        mark a call of a tool stay."""
        return self.read(tokens).text

    def read(self, tokens: Sequence[int], *, stopped: bool = True) -> Reading:
        """What a model wrote: its answer, and what it thought. ``stopped``: it ended by itself; False if it was cut off, and
        what a prompt has begun as thinking, without an end, is no answer then."""
        end = next((at for at in range(len(tokens), 0, -1) if tokens[at - 1] not in self.stop_tokens), 0)
        style = self._renderer.style_in_use
        marks = self._call_marks if style else frozenset[int]()
        return self._reader.read(tokens[:end], stopped=stopped, style=style, call_marks=marks)

    def decode_all(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._tokens.text(tokens, special=True)

    def types_controls(self, conversation: AnyConversation) -> bool:
        """Whether a message, or a plain text, contains text that looks like a special token of the model."""
        found = self._renderer.types_controls(conversation)
        return found and (not isinstance(conversation, PlainText) or self.plain.special_in(conversation.text))

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Token ids at which an answer ends."""
        return self._stops if self._renderer.style_in_use is None else self._stops | self._call_ends

    @cached_property
    def _call_tail(self) -> list[int]:
        return self._tokens.one(self._renderer.call_tail)

    @cached_property
    def _call_ends(self) -> frozenset[int]:
        """Some templates end a call with a token of its own."""
        return self.special_tokens.intersection(self._call_tail[-1:])

    @cached_property
    def _call_marks(self) -> frozenset[int]:
        return self.special_tokens.intersection(self._call_tail) - self.stop_tokens

    @cached_property
    def _reader(self) -> AnswerReader:
        added = {at: one.content for at, one in self.tokenizer.added_tokens_decoder.items() if one.content.strip()}
        frame = AnswerFrame.of(self._style, self._tokens.one, added, self._stops)
        return AnswerReader(self._tokens.text, frame if self.template else None, self.special_tokens)

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
        return self._renderer.template

    @property
    def tool_note(self) -> str:
        """What of tools the template does not show; "" if it shows all that was needed so far."""
        return self._renderer.note

    @property
    def thinking_way(self) -> str:
        """How the template shows what the assistant thought: the name of a message's field, or as text."""
        return self._renderer.thinking_way
