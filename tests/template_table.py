"""A table of chat templates: what is trained with each, and whether it is what the model is asked with.

``python tests/template_table.py MODEL_FOLDER TEMPLATE_FOLDER ...`` prints it for the ``*.jinja`` files of folders, with the
tokenizer of the model, to which the marks of each template are added as tokens. ``table`` makes it for other programs.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finetune.models.call_text import calls_of, read_calls
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example

ASK: Any = {"role": "user", "content": "Where is hall 4?"}
SAY: Any = {"role": "assistant", "content": "Behind the tower."}
THOUGHT: Any = {**SAY, "reasoning_content": "The plan shows a tower."}
CHAT: Any = [ASK, SAY, {"role": "user", "content": "And 5?"}, {"role": "assistant", "content": "Next to it."}]
CHAT = [*CHAT, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes, quite sure."}]
_PLACE = {"type": "object", "properties": {"hall": {"type": "string"}}, "required": ["hall"]}
TOOLS: Any = [{"type": "function", "function": {"name": "find_hall", "description": "Finds it.", "parameters": _PLACE}}]
_CALL = {"id": "call00001", "type": "function", "function": {"name": "find_hall", "arguments": {"hall": "4"}}}
CALLS: Any = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_RESULT: Any = {"role": "tool", "content": "tower", "tool_call_id": "call00001", "name": "find_hall"}
_MARK = re.compile(
    r'<\|"\|>|'
    r"<\|[\w:]+\|>|</?(?:think|seed:think)>|\[/?THINK\]|<\w+\|>|<\|\w+>|</?(?:start|end)_of_turn>|<｜[^｜]+｜>"
)
_NOT_SPECIAL = ("think", "THINK", "channel>", "<channel")  # as Qwen and others flag them


@dataclass(frozen=True)
class Line:
    """One template. A cell is "ok", or what is wrong, or why it cannot be."""

    name: str
    rendering: str = ""  # tokens as apply_chat_template makes them
    prompt: str = ""  # the tokens that are trained begin with those that the model is asked with
    end: str = ""  # each answer that is learned ends with a token that stops it
    turns: str = ""  # every turn of the assistant is learned
    cleaned: str = ""  # what is learned is read back as the answer alone
    thinking: str = ""  # the same with thinking before the answer
    tools: str = ""  # a call is learned, and read back
    note: str = ""

    @property
    def wrong(self) -> list[str]:
        """Names of the cells that are wrong; a refusal is not."""
        return [one.name for one in fields(self)[1:-1] if getattr(self, one.name).startswith("WRONG")]


def add_marks(model: Path, template: str, folder: Path) -> None:
    """A copy of the model's tokenizer in which the marks that the template writes are tokens."""
    from tokenizers import AddedToken, Tokenizer

    for name in ("tokenizer_config.json", "config.json"):
        shutil.copy(model / name, folder / name)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    marks = sorted(set(_MARK.findall(template)))
    tokenizer.add_tokens(
        [AddedToken(m, special=not any(one in m for one in _NOT_SPECIAL), normalized=False) for m in marks]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def line(name: str, folder: Path, template: str | None = None) -> Line:
    """The line of a template with the tokenizer in ``folder``."""
    try:
        encoder = ChatEncoder(folder, template)
    except (ValueError, Exception) as error:  # noqa: BLE001
        return Line(name, note=f"refused: {error}")
    cells = {
        "rendering": _tried(_rendering, encoder),
        "prompt": _tried(_prompt, encoder),
        "end": _tried(_end, encoder),
        "turns": _tried(_turns, encoder),
        "cleaned": _tried(lambda one: _read(one, SAY), encoder),
        "tools": _tried(_tools, ChatEncoder(folder, template)),
        "thinking": _tried(lambda one: _read(one, THOUGHT), ChatEncoder(folder, template)),
    }
    return Line(name, **cells, note="; ".join(encoder.notes))


def table(model: Path, templates: Mapping[str, str]) -> list[Line]:
    """A line for each template, by its name, with the tokenizer of ``model`` and the template's marks."""
    found = []
    for name, template in templates.items():
        with tempfile.TemporaryDirectory() as folder:
            add_marks(model, template, Path(folder))
            found.append(line(name, Path(folder), template))
    return found


def _tried(check: Any, encoder: ChatEncoder) -> str:
    try:
        return str(check(encoder) or "ok")
    except ValueError as error:
        return f"refused: {error}"


def _rendering(encoder: ChatEncoder) -> str:
    """The prompts are the tokenizer's; and so is an example, unless the template writes no such conversation."""
    apply, said = encoder.tokenizer.apply_chat_template, []
    given = {"return_dict": False, **encoder.switches}
    for at in (1, 3, 5):
        if encoder.prompt(CHAT[:at]) != apply(CHAT[:at], add_generation_prompt=True, **given):
            return "WRONG: another prompt"
    for messages in (CHAT[:2], CHAT):
        mine, whole = encoder.example(messages).tokens, apply(messages, **given)
        asked = encoder.prompt(messages[:-1])
        if whole[: len(asked)] != asked:
            said.append("behind the prompt")  # the template itself does not write this
        elif mine[:-1] != whole[: len(mine) - 1] or (mine != whole[: len(mine)] and not encoder.end.added):
            return "WRONG: other tokens"
    return said[0] if said else ""


def _examples(encoder: ChatEncoder, conversation: Any) -> list[Example]:
    found = next(encoder.examples([conversation]))
    if isinstance(found, ValueError):
        raise found
    return found


def _prompt(encoder: ChatEncoder) -> str:
    asked = [encoder.prompt(CHAT[:at]) for at in (1, 3, 5)]
    for example in _examples(encoder, CHAT):
        starts = [at for at, learned in enumerate(example.loss_mask) if learned and not example.loss_mask[at - 1]]
        if not starts or any(example.tokens[:at] not in asked for at in starts):
            return "WRONG: trained behind another prompt"
    return ""


def _end(encoder: ChatEncoder) -> str:
    for example in _examples(encoder, CHAT):
        mask = [*example.loss_mask, False]
        ends = [at for at in range(len(example.tokens)) if mask[at] and not mask[at + 1]]
        if any(example.tokens[at] not in encoder.stop_tokens for at in ends):
            return "WRONG: no end"
    return "added" if encoder.end.added else ""


def _turns(encoder: ChatEncoder) -> str:
    examples = _examples(encoder, CHAT)
    learned = "".join(_learned_text(encoder, example) for example in examples)
    missing = [turn["content"] for turn in CHAT[1::2] if learned.count(turn["content"]) != 1]
    others = [turn["content"] for turn in CHAT[::2] if turn["content"] in learned]
    return (
        f"WRONG: {missing or others}"
        if missing or others
        else ""
        if len(examples) == 1
        else f"{len(examples)} examples"
    )


def _learned_text(encoder: ChatEncoder, example: Example) -> str:
    return encoder.decode_all([t for t, learned in zip(example.tokens, example.loss_mask, strict=True) if learned])


def _read(encoder: ChatEncoder, answer: Any) -> str:
    (example,) = _examples(encoder, [ASK, answer])
    prompt = encoder.prompt([ASK])
    if example.tokens[: len(prompt)] != prompt or not all(example.loss_mask[len(prompt) :]):
        return "WRONG: trained behind another prompt"
    read = encoder.read(example.tokens[len(prompt) :])
    if read.text != answer["content"]:
        return f"WRONG: read as {read.text!r}"
    if (read.thought or "").strip() != answer.get("reasoning_content", ""):
        return f"WRONG: thinking read as {read.thought!r}"
    half = encoder.read(example.tokens[len(prompt) : len(prompt) + 7], stopped=False)
    if "reasoning_content" in answer and half.text:
        return f"WRONG: unfinished thinking read as {half.text!r}"
    return ", ".join(encoder.switches)


def _tools(encoder: ChatEncoder) -> str:
    conversation = Conversation([ASK, CALLS, _RESULT, SAY], TOOLS)
    examples = _examples(encoder, conversation)
    learned = "".join(_learned_text(encoder, example) for example in examples)
    if (
        learned.count("find_hall") != 1
        or learned.count(SAY["content"]) != 1
        or "tower" in learned.replace(SAY["content"], "")
    ):
        return "WRONG: not learned"
    asked = encoder.prompt(Conversation([ASK], TOOLS))
    (first,) = _examples(encoder, Conversation([ASK, CALLS], TOOLS))
    if read_calls(encoder.decode(first.tokens[len(asked) :]), TOOLS).calls != calls_of(CALLS):
        return f"WRONG: read as {encoder.decode(first.tokens[len(asked) :])!r}"
    return "as Hermes" if encoder.tool_note else ""


def as_markdown(lines: Iterable[Line]) -> str:
    """The table."""
    names = [one.name for one in fields(Line)]
    rows = [[str(getattr(one, name)).replace("|", "\\|") for name in names] for one in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *rows])


if __name__ == "__main__":
    model, *folders = map(Path, sys.argv[1:])
    paths = sorted(path for folder in folders for path in folder.glob("*.jinja") if "_training" not in path.name)
    print(as_markdown(table(model, {path.stem: path.read_text() for path in paths})))
