"""A Modelfile for Ollama: the prompt of the training as a Go template, found by probing and compared on the run's own prompts.

Without it ``ollama create`` replaces a chat template by the nearest one that it knows, which can be another.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.export.gguf.chat_template import folds_system
from finetune.export.gguf.trial import Trial
from finetune.export.gguf.vocabulary import prompt_text
from finetune.export.source import Source
from finetune.models.conversation import Conversation, Message

_SYSTEM, _USER, _ANSWER, _AGAIN = "S1s", "U1u", "A1a", "U2u"
_ROUND = 1024  # tokens of num_ctx
_USUAL = 256  # tokens of an answer where the run does not say it
_LEAST = 2048


@dataclass(frozen=True)
class GoTemplate:
    """What is written around the turns of each role. ``default`` stands where a conversation has no system message."""

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str  # the beginning of the answer that is asked for
    default: str
    folds: bool  # a system message stands in the first user turn

    def rendered(self, messages: Sequence[Message]) -> str:
        """What Go's engine makes of ``text``, for messages without tools."""
        parts, folded = [], ""
        if self.default and messages and messages[0]["role"] != "system":
            parts.append(self.default)
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "system" and self.folds:
                folded = f"{content}\n\n"
                continue
            before, after = {"system": self.system, "user": self.user}.get(role, self.assistant)
            if role == "user":
                content, folded = folded + content, ""
            parts.append(before + content + after)
        return "".join(parts) + self.answer

    @property
    def text(self) -> str:
        """In Go's text/template, as Ollama has it."""
        system = f"{_go(self.system[0])}{{{{ .Content }}}}{_go(self.system[1])}"
        content = "{{ .Content }}"
        if self.folds:
            system = "{{ $system = .Content }}"
            content = '{{ if $system }}{{ $system }}{{ "\\n\\n" }}{{ $system = "" }}{{ end }}{{ .Content }}'
        first = '{{ $system := "" }}' if self.folds else ""
        if self.default:
            first += f'{{{{ if ne (index .Messages 0).Role "system" }}}}{_go(self.default)}{{{{ end }}}}'
        return (
            f'{first}{{{{ range .Messages }}}}{{{{ if eq .Role "system" }}}}{system}'
            f'{{{{ else if eq .Role "user" }}}}{_go(self.user[0])}{content}{_go(self.user[1])}'
            f"{{{{ else }}}}{_go(self.assistant[0])}{{{{ .Content }}}}{_go(self.assistant[1])}{{{{ end }}}}"
            f"{{{{ end }}}}{_go(self.answer)}"
        )


def _go(text: str) -> str:
    """A text that Go's engine writes as it is."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def go_template(source: Source, trial: Trial) -> tuple[GoTemplate | None, str]:
    """The template, and a note about it; None and why if a Go template cannot say what the run asked."""
    if not source.chat_template:
        return None, "the run has no chat template"
    try:
        found = _probed(source)
    except ValueError as why:
        return None, str(why)
    others = 0
    for conversation, ids in trial.conversations:
        wanted = prompt_text(source, ids)
        if conversation.uses_tools:
            return None, "its prompts have tools"
        if found.rendered(conversation.messages) == wanted:
            continue
        trimmed = [{**message, "content": message["content"].strip()} for message in conversation.messages]
        if found.rendered(trimmed) != wanted:  # type: ignore[arg-type]
            return None, "no Go template of turns makes the prompts of the run"
        others += 1
    note = f"{others} prompts of the run begin or end with blanks, which its template cuts and Ollama's does not"
    return found, note if others else ""


def _probed(source: Source) -> GoTemplate:
    """What stands around each turn, from prompts of short texts. ValueError if it cannot be taken apart."""

    def prompt(*turns: tuple[str, str]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return prompt_text(source, source.encoder.prompt(Conversation(messages)))  # type: ignore[arg-type]

    turns = (("user", _USER), ("assistant", _ANSWER), ("user", _AGAIN))
    folds = folds_system(source)
    alone, plain, full = prompt(turns[0]), prompt(*turns), prompt(("system", _SYSTEM), *turns)
    before, _, rest = plain.partition(_USER)
    after_user, _, rest = rest.partition(_ANSWER)
    between, _, end = rest.partition(_AGAIN)
    last = alone.partition(_USER)[2]
    system_before, _, after = full.partition(_SYSTEM)
    after_system = after.partition(_USER)[0]
    if end != last:
        raise ValueError("the last question is written otherwise than those before it")
    # what stands before a question is the end of what stands between an answer and the next one, without the answer's own end
    user_before = _common_end(between, before)
    user_before = user_before if folds else _common_end(user_before, after_system)
    user_before = user_before[_own_end(source, user_before) :]
    default = before[: len(before) - len(user_before)]
    assistant_after = between[: len(between) - len(user_before)]
    system = ("", "") if folds else (system_before, after_system[: len(after_system) - len(user_before)])
    user_after = _common_start(after_user, last)
    user_after = user_after[: _own_end(source, user_after) or len(user_after)]
    answer, assistant_before = last[len(user_after) :], after_user[len(user_after) :]
    return GoTemplate(system, (user_before, user_after), (assistant_before, assistant_after), answer, default, folds)


def _own_end(source: Source, text: str) -> int:
    """How much of a text is the end of a turn, with blanks behind it; 0 if it does not begin with one."""
    encoder = source.encoder
    for end in (encoder.decode_all([at]) for at in sorted(encoder.stop_tokens)):
        if end.strip() and text.startswith(end):
            return len(text) - len(text[len(end) :].lstrip())
    return 0


def _common_end(one: str, other: str) -> str:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return one[len(one) - count :]


def _common_start(one: str, other: str) -> str:
    return _common_end(one[::-1], other[::-1])[::-1]


def context_of(source: Source, trial: Trial, most: int) -> int:
    """Tokens of the longest row and of an answer, rounded up; at most what the model was made for."""
    wanted = max(_LEAST, trial.longest + answer_limit(source))
    return min(most, -(-wanted // _ROUND) * _ROUND)


def answer_limit(source: Source) -> int:
    """The most tokens of an answer."""
    given = source.run.record.config.get("max_tokens") if source.run else None
    return max(_USUAL, given) if isinstance(given, int) else _USUAL


def modelfile(source: Source, file: str, template: GoTemplate | None, context: int) -> str:
    """The text of the Modelfile for one of the files beside it. It answers greedily, as the run was judged."""
    encoder = source.encoder
    ends = [encoder.decode_all([at]) for at in sorted(encoder.stop_tokens)]
    lines = [f"FROM ./{file}"]
    if template is not None:
        lines.append(f'TEMPLATE """{template.text}"""')
    lines += [f"PARAMETER stop {json.dumps(one, ensure_ascii=False)}" for one in ends if one.strip()]
    lines += [
        f"PARAMETER num_ctx {context}",
        f"PARAMETER num_predict {answer_limit(source)}",
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1.0",
    ]
    return "\n".join(lines) + "\n"
