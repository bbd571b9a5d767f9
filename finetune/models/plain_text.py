"""Plain text to token ids: what a tokenizer makes of a text that no chat template renders."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from finetune.models.conversation import PlainText
from finetune.models.loss_mask import Example

_SAMPLE = "The 3 cats' café, naïve: x_1 += 42;\n\n\tДа, это так. 你好，世界。 こんにちは नमस्ते สวัสดี مرحبا 👩‍👧 \r\n  end"


class Spans(NamedTuple):
    """The token ids of a text, and where in it each token ends."""

    tokens: list[int]
    starts: list[int]  # characters before each token; blanks before a word may count as before it
    ends: list[int]  # characters up to its end


class PlainTokenizer:
    """A tokenizer of transformers for texts in which special tokens are nothing special.

    ``begin`` holds the beginning-of-sequence token if the tokenizer puts one before a text, and ``end`` the
    end-of-sequence token if it has one: a document begins and ends with them.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._backend = tokenizer, tokenizer.backend_tokenizer
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        begins = bos is not None and self._backend.encode("a", add_special_tokens=True).ids[:1] == [bos]
        self.begin: list[int] = [bos] if begins else []
        self.end: list[int] = [] if eos is None else [eos]

    def spans(self, texts: Sequence[str]) -> list[Spans]:
        with _as_text(self._backend):
            found = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [Spans(one.ids, [begin for begin, _ in one.offsets], [end for _, end in one.offsets]) for one in found]

    def examples(self, pieces: Sequence[PlainText]) -> Iterator[Example]:
        """The example of each piece: in the loss is all but the overlap, each token once, and the end-of-sequence token.

        The first token is predicted only if something stands before it.
        """
        for piece, found in zip(pieces, self.spans([piece.text for piece in pieces]), strict=True):
            begin, end = (self.begin if piece.begins else []), (self.end if piece.ends else [])
            tokens = [*begin, *found.tokens, *end]
            context = next((at for at, stop in enumerate(found.ends) if stop > piece.overlap), len(found.tokens))
            context = max(1, len(begin) + (context if piece.overlap else 0))
            yield Example(tokens, [at >= context for at in range(len(tokens))])

    def prompt(self, piece: PlainText) -> list[int]:
        """The tokens of a text to be continued."""
        return [*(self.begin if piece.begins else []), *self.spans([piece.text])[0].tokens]

    def special_in(self, text: str) -> bool:
        """Whether the text names a special token, which is learned as text all the same."""
        special = {at for at, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        return not special.isdisjoint(self._backend.encode(text, add_special_tokens=False).ids)

    def gives_back(self, texts: Sequence[str]) -> bool:
        """Whether the tokens of each text are that text again; a blank at its beginning does not count: some add one."""
        found = self._backend.decode_batch([one.tokens for one in self.spans(texts)], skip_special_tokens=False)
        return all(one.removeprefix(" ") == text.removeprefix(" ") for one, text in zip(found, texts, strict=True))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._backend.decode(list(tokens), skip_special_tokens=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary and of what becomes of a sample: the same for tokenizers that do the same."""
        vocabulary = sorted(self._backend.get_vocab(with_added_tokens=True).items())
        does = [vocabulary, self.spans([_SAMPLE])[0].tokens, self.begin, self.end]
        return hashlib.sha256(json.dumps(does).encode()).hexdigest()


@contextmanager
def _as_text(backend: Any) -> Iterator[None]:
    """Special tokens that stand in a text are not looked for."""
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        yield
    finally:
        backend.encode_special_tokens = before
