"""Documents cut into pieces that a model can read: by its own tokenizer, with nothing left out between two pieces."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finetune.dataset.findings import Findings
from finetune.dataset.preflight import has_controls
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.plain_text import Spans
from finetune.records.dataset import Pieces
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.terminal import Progress, counted

IN_RANGES = (
    "the documents are too few or too long to stay whole: train is their beginning, valid and test are their end"
)
LONGEST = 1 << 26  # characters of a document: it is in memory as a whole
_LONG = 2_000_000  # characters of a document that takes a while
_CHARACTERS = 4.0  # of a token, until it is known
_MARGIN = 1.3  # of the characters that are looked at, to those that are likely to fit
_TOGETHER = 64  # pieces that are checked at once: as tokens they take fifty times the memory
_TRIES = 24  # places of a text without blanks at which a cut is tried, before any is taken
_CLUSTER = 200  # characters before a place from which on its characters are told apart
# where a text is best cut, the best first: after a paragraph, a line, before the blanks after a sentence, before a blank
_ENDS = tuple(
    map(
        re.compile,
        (
            r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*()",
            r"(?:\r\n|\r|\n)()(?!\n)",
            r"[.!?\u2026\u061f\u06d4\u0964][\"'\u2019\u201d)\]]*()(?=\s)|[\u3002\uff01\uff1f][\u300d\u300f\uff09\u201d]*()",
            r"(?<=\S)()(?=\s)",
        ),
    )
)


class Piece(NamedTuple):
    """``text[start:end]`` of a document. What stands before ``new`` is the end of the piece before."""

    start: int
    new: int
    end: int


@dataclass(frozen=True)
class Cutter:
    """Cuts documents for the tokenizer of ``encoder``: pieces of at most ``length`` tokens, of which up to ``overlap`` repeat
    the end of the piece before."""

    encoder: ChatEncoder
    length: int
    overlap: int

    def rows(self, text: str, document: str) -> list[Row]:
        """The rows of a document, in order. ValueError if no cut is possible."""
        pieces: list[Piece] = []
        with Progress(f"Cutting {document}", len(text), "characters", silent=len(text) < _LONG) as bar:
            for piece in self.pieces(text):
                pieces.append(piece)
                bar.advance(piece.end - piece.new)
        return [
            {
                "text": text[piece.start : piece.end],
                "document": document,
                "piece": number,
                "pieces": len(pieces),
                "overlap": piece.new - piece.start,
            }
            for number, piece in enumerate(pieces, start=1)
        ]

    def record(self, documents: int) -> Pieces:
        """How so many documents were cut."""
        plain, encoder = self.encoder.plain, self.encoder
        begin, end = (encoder.decode_all(tokens) if tokens else None for tokens in (plain.begin, plain.end))
        return Pieces(encoder.name, plain.fingerprint, self.length, self.overlap, begin, end, documents)

    def checked(self, text: str, document: str, findings: Findings) -> list[Row]:
        """The rows of a document; what is unusual about it is told."""
        if has_controls(text):
            findings.mend("control characters kept", document)
        made = self.rows(text, document)
        if not self.gives_back(made):
            findings.mend(f"the tokenizer of {self.encoder.name} does not give a document back as it is", document)
        return made

    def gives_back(self, rows: Sequence[Row]) -> bool:
        """Whether the tokens of all pieces are their texts again: a tokenizer can change letters, or lack some."""
        texts = [row["text"] for row in rows]
        parts = (texts[at : at + _TOGETHER] for at in range(0, len(texts), _TOGETHER))
        return all(map(self.encoder.plain.gives_back, parts))

    def pieces(self, text: str) -> Iterator[Piece]:
        """The pieces in order: each begins, without its overlap, where the one before ended.

        A piece ends with a paragraph, a line, a sentence or a word if one ends in its last quarter; else between two tokens,
        and never within what a reader takes for one character, unless that alone is too long.
        """
        start = new = 0
        rate = _CHARACTERS
        while new < len(text):
            found = self._end(text, start, new, rate)
            if found is None and start < new:  # the overlap leaves no room
                start = new
                continue
            if found is None:
                raise ValueError(f"one character takes more than {self.length} tokens (raise --max-seq-length)")
            end, tokens = found
            yield Piece(start, new, end)
            rate = max(1.0, (end - start) / max(1, tokens))
            start, new = self._overlap_before(text, new, end, rate), end

    def _end(self, text: str, start: int, new: int, rate: float) -> tuple[int, int] | None:
        """Where a piece that begins at ``start`` ends, and its tokens; None if nothing after ``new`` has room."""
        room = self.length - len(self.encoder.plain.end) - (0 if start else len(self.encoder.plain.begin))
        wide = new - start + int(room * rate * _MARGIN) + 1
        while True:
            seen = self._spans(text[start : start + wide])
            if len(seen.tokens) > room or start + wide >= len(text):
                break
            wide *= 2
        if len(seen.tokens) <= room:
            return len(text), len(seen.tokens)
        most = start + max(seen.starts[room], seen.ends[room - 1])
        least = max(new, start + seen.ends[room * 3 // 4])

        def fits(end: int, *, between_tokens: bool) -> int | None:
            tokens = self._spans(text[start:end]).tokens
            if len(tokens) > room or (between_tokens and tokens != seen.tokens[: len(tokens)]):
                return None
            return len(tokens)

        for kind in _ENDS:
            ends = [found.end() for found in kind.finditer(text, least, min(len(text), most + 1))]
            if (best := max((end for end in ends if least < end <= most), default=None)) and (
                tokens := fits(best, between_tokens=False)
            ):
                return best, tokens
        return _first_fitting(text, new, most, fits)

    def _overlap_before(self, text: str, least: int, end: int, rate: float) -> int:
        """Where the overlap with the next piece begins; after ``least``, so that a token is in two pieces at most."""
        if not self.overlap or end == len(text):
            return end
        begin = max(least, end - int(self.overlap * rate * 2) - 1)
        seen = self._spans(text[begin:end])
        if len(seen.tokens) <= self.overlap:
            return begin
        start = begin + max(seen.starts[-self.overlap], seen.ends[-self.overlap - 1])
        word = re.compile(r"(?<=\S)(?=\s)|(?<=\n)(?=\S)").search(text, start, end - (end - start) // 2)
        if word:
            return word.start()
        return next((place for place in _character_ends(text, start, end)), end)

    def _spans(self, text: str) -> Spans:
        return self.encoder.plain.spans([text])[0]


def open_cutter(config: DatasetConfig, encoder: ChatEncoder | None) -> Cutter:
    """The cutter that the flags ask for. UserError if the pieces would not fit into the model's context."""
    if encoder is None:
        raise UserError(f"--type {config.type_}: needs the tokenizer of a model (--model)")
    if encoder.context_length and config.max_seq_length > encoder.context_length:
        raise UserError(
            f"--max-seq-length {config.max_seq_length}: the context of {encoder.name} has {encoder.context_length} tokens"
            f" (at most {encoder.context_length})"
        )
    overlap = config.max_seq_length // 16 if config.overlap is None else config.overlap
    return Cutter(encoder, config.max_seq_length, overlap)


def how_cut(pieces: Pieces) -> str:
    """How documents were cut, in words."""
    return (
        f"{counted(pieces.documents, 'document')} cut into pieces of at most {pieces.max_seq_length} tokens of {pieces.model};"
        f" overlap: up to {pieces.overlap} tokens; before a document: {pieces.begin or 'no token'}; after it:"
        f" {pieces.end or 'no token'}"
    )


def _first_fitting(text: str, new: int, most: int, fits: Callable[..., int | None]) -> tuple[int, int] | None:
    """The last place before ``most`` at which a text without blanks can be cut."""
    characters = sorted({*_character_ends(text, max(new, most - _CLUSTER), most)} - {new}, reverse=True)
    for between_tokens in (True, False):
        for end in characters[:_TRIES]:
            if tokens := fits(end, between_tokens=between_tokens):
                return end, tokens
    for end in range(most, new, -1):  # within a character of many code points
        if tokens := fits(end, between_tokens=False):
            return end, tokens
    return None


def _character_ends(text: str, least: int, most: int) -> Iterator[int]:
    """The places up to ``most`` between two characters as a reader sees them: letters with their marks, joined emoji, CRLF."""
    import regex  # comes with transformers

    begin = max(0, least - _CLUSTER)
    for found in regex.finditer(r"\X", text[begin : most + _CLUSTER]):
        if least <= begin + found.end() <= most:
            yield begin + found.end()


def follows(row: Row, before: Row) -> bool:
    """Whether a piece is the next one of the same document."""
    return bool(row["document"] == before["document"] and row["piece"] == before["piece"] + 1)


def alone(row: Row) -> Row:
    """The piece without what it repeats of the one before."""
    return {**row, "text": row["text"][row["overlap"] :], "overlap": 0}
