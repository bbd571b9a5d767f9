"""Text to token ids and back. A prompt has the same tokens whatever follows it: where a tokenizer would join its end with the
answer, the two are tokenised apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.models.foreign import AGAIN, foreign

_JOINED = "the tokenizer cannot keep the end of the prompt apart from the answer (--template chatml)"


class RenderedTokens:
    """A tokenizer of transformers, from the ``folder`` of its model, for rendered text."""

    def __init__(self, tokenizer: Any, folder: Path):
        self._tokenizer, self._folder = tokenizer, folder

    def encode(self, texts: Sequence[str]) -> list[list[int] | ValueError]:
        """The token ids of each, or why it has none. Not through transformers, which tries all added tokens on each text: Gemma
        has 6,242."""
        from transformers.utils import chat_template_utils

        marks = (chat_template_utils._CONTROL_TOKEN_START, chat_template_utils._CONTROL_TOKEN_END)
        marked = [any(mark in text for mark in marks) for text in texts]
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            plain = [text for text, has_marks in zip(texts, marked, strict=True) if not has_marks]
            encoded = iter(self._tokenizer.backend_tokenizer.encode_batch(plain, add_special_tokens=False))
        found: list[list[int] | ValueError] = []
        for text, has_marks in zip(texts, marked, strict=True):
            try:
                found.append(
                    chat_template_utils.encode_marked_chat(self._tokenizer, text) if has_marks else next(encoded).ids
                )
            except ValueError as error:  # of a typed token that its letters make again
                found.append(error)
        return found

    def one(self, text: str) -> list[int]:
        """The token ids of a text. ValueError if it has none."""
        (found,) = self.encode([text])
        if isinstance(found, ValueError):
            raise found
        return found

    def after(self, prompt: Sequence[int], whole: Sequence[int], completion: str) -> list[int]:
        """The token ids of what follows a prompt; ``whole`` are those of both as one text. ValueError if there are none that
        leave the prompt as it is."""
        if whole[: len(prompt)] == prompt:
            return list(whole[len(prompt) :])
        newline = self.one("\n")
        behind = self.one("\n" + completion)  # SentencePiece puts a blank before the first word of a text
        candidates = [behind[len(newline) :]] if behind[: len(newline)] == newline else []
        for found in (*candidates, self.one(completion)):
            if self.text([*prompt, *found], special=True) == self.text(whole, special=True):
                return found
        raise ValueError(_JOINED)

    def text(self, tokens: Sequence[int], *, special: bool) -> str:
        """The text of token ids; with ``special``, that of special tokens too."""
        with foreign(f"{self._folder}: its tokenizer fails", AGAIN):
            return str(self._tokenizer.decode(tokens, skip_special_tokens=not special))
