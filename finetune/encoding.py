"""Rows to token ids and loss mask: the one place where text becomes tokens, for training, evaluation and chat."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.cli import UserError, first_line

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Example:
    """One conversation as the model sees it: ``tokens`` and ``loss_mask`` have the same length.

    ``loss_mask[i]`` is True where ``tokens[i]`` is to be learned: every assistant turn with its end-of-turn token.
    """

    tokens: list[int]
    loss_mask: list[bool]


class ChatEncoder:
    """A model's own tokenizer and chat template."""

    def __init__(self, folder: Path):
        # a tokenizer needs no PyTorch; without this transformers tells the user that it is missing
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from None
        if not self.tokenizer.chat_template:
            raise UserError(
                f"{folder}: the model has no chat template (use the instruction-tuned variant of the model)"
            )
        self._knows_system = self._keeps_system()
        added = self.tokenizer.added_tokens_decoder
        self._special = {token_id for token_id, token in added.items() if token.special}
        ends = {*_generation_eos(folder), self.tokenizer.eos_token_id, self._end_of_turn()}
        self.stop_tokens = frozenset(token for token in ends if token is not None)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to the place where the assistant's answer begins."""
        return self._apply(messages, add_generation_prompt=True)

    def example(self, messages: Sequence[Message]) -> Example:
        """Token ids and loss mask of a whole conversation.

        The template decides where each assistant turn begins: where the text up to that turn, with the generation prompt,
        ends. It is learned up to the last special token before the next turn, so that the model learns to stop.
        """
        tokens = self._apply(messages)
        loss_mask = [False] * len(tokens)
        for turn, message in enumerate(messages):
            if message["role"] == "assistant":
                start = _common(tokens, self.prompt(messages[:turn]))
                end = _common(tokens, self._apply(messages[: turn + 1]))
                end = max((i + 1 for i in range(start, end) if tokens[i] in self._special), default=end)
                loss_mask[start:end] = [True] * (end - start)
        last = max((i + 1 for i, learned in enumerate(loss_mask) if learned), default=len(tokens))
        return Example(tokens[:last], loss_mask[:last])

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    @property
    def template(self) -> str:
        return str(self.tokenizer.chat_template)

    def _apply(self, messages: Sequence[Message], **options: bool) -> list[int]:
        if not self._knows_system:
            messages = fold_system(messages)
        # sanitize: "<end_of_turn>" typed by a user stays text, it does not become the control token
        return list(
            self.tokenizer.apply_chat_template(
                list(messages), tokenize=True, return_dict=False, sanitize_control_tokens=True, **options
            )
        )

    def _keeps_system(self) -> bool:
        """Some templates refuse a system message, some drop it in silence."""
        from jinja2 import TemplateError

        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
        try:
            return "be brief" in self.tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateError:
            return False

    def _end_of_turn(self) -> int | None:
        """The special token that the template puts after an assistant's answer, if it puts one."""
        example = self.example([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        return example.tokens[-1] if example.tokens[-1] in self._special else None


def fold_system(messages: Sequence[Message]) -> Sequence[Message]:
    """The system message put before the first message of the user, for a model that has no such role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _generation_eos(folder: Path) -> list[int]:
    """The end-of-sequence ids of generation_config.json; a model may name several."""
    import json

    path = folder / "generation_config.json"
    ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id", []) if path.exists() else []
    return ids if isinstance(ids, list) else [ids]


def encode_rows(
    encoder: ChatEncoder, rows: Sequence[tuple[int, dict[str, Any]]], path: Path, max_tokens: int
) -> tuple[list[Example], list[int]]:
    """The examples of the rows of ``path``, given with their line numbers, and the lines of those left out as too long.

    Raises one UserError that counts every row that cannot be trained on and names the first by its line; also where every
    row is too long.
    """
    from jinja2 import TemplateError

    examples, too_long, problems = [], [], []
    for line, row in rows:
        try:
            example = encoder.example(row["messages"])
        except (TemplateError, ValueError) as error:
            problems.append(f"{path}:{line}: the model's chat template refuses it: {first_line(error)}")
            continue
        if len(example.tokens) > max_tokens:
            too_long.append(line)
        elif not any(example.loss_mask):
            problems.append(f"{path}:{line}: nothing to learn (the row needs an assistant message with text)")
        else:
            examples.append(example)
    if problems:
        more = f" ... and {len(problems) - 1} more rows like it" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    if too_long and not examples:
        raise UserError(f"{path}: every row has more than {max_tokens} tokens (raise --max-seq-length)")
    return examples, too_long
