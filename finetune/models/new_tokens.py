"""Tokens that a run adds to the model's tokenizer: their file, their ids, and whether rows have them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import UserError, shortened
from finetune.models.loss_mask import Example

_MOST_BYTES = 4 << 20  # of a file of tokens
_LONGEST = 100  # characters of a token
_SHOWN = 6
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn"}  # categories of characters that nobody sees, or that have no meaning


@dataclass(frozen=True)
class NewTokens:
    """Tokens added to a tokenizer, with the ids from ``first`` on. ``pieces`` are the ids that the text of each was before."""

    tokens: tuple[str, ...]
    first: int
    pieces: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> range:
        return range(self.first, self.first + len(self.tokens))

    def found_in(self, examples: Iterable[Example]) -> Counter[str]:
        """How often each occurs in the examples."""
        ids = self.ids
        found = Counter(token for example in examples for token in example.tokens if token in ids)
        return Counter({token: found[at] for token, at in zip(self.tokens, ids, strict=True)})


def read(path: Path) -> dict[str, str]:
    """The tokens of a file, one per line, each with its place in it, "tokens.txt:3". UserError for a line that is no token."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        problem = "not found" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise UserError(f"--add-tokens: {path}: {problem} (name a file with one token per line)") from None
    if len(content) > _MOST_BYTES:
        raise UserError(
            f"--add-tokens: {path}: larger than {_MOST_BYTES >> 20} MB (name a file with one token per line)"
        )
    found: dict[str, str] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            token = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise UserError(f"{path}:{number}: not UTF-8 (save the file as UTF-8)") from None
        if not token.strip():
            continue
        if problem := _problem(token):
            raise UserError(f"{path}:{number}: {shortened(repr(token))} {problem}")
        if token in found:
            raise UserError(
                f"{path}:{number}: {token!r} is also on line {found[token].rpartition(':')[2]} (remove one)"
            )
        found[token] = f"{path}:{number}"
    if not found:
        raise UserError(f"--add-tokens: {path}: no token in it (write one per line)")
    return found


def _problem(token: str) -> str:
    """Why a line is no token, as a clause; "" if it is one."""
    if token != token.strip():
        return "begins or ends with a blank (remove the blank)"
    if len(token) > _LONGEST:
        return f"has {len(token)} characters (a token has at most {_LONGEST})"
    if any(unicodedata.category(one) in _HIDDEN for one in token):
        return "holds a character that cannot be seen (write it anew)"
    return ""


def add(tokenizer: Any, added: Mapping[str, str], template: str, name: str) -> NewTokens | None:
    """Add tokens, with their places in a file, to a ``tokenizer`` of transformers; None without any.

    They are found wherever their text stands, also in what a user types. They are not *special*: those are left out of the text
    of an answer. UserError with the place of one that ``name`` has already, or that its chat ``template`` writes.
    """
    if not added:
        return None
    backend, known = tokenizer.backend_tokenizer, tokenizer.get_vocab()
    whole = [one.content for one in tokenizer.added_tokens_decoder.values() if one.content.strip()]
    for token, place in added.items():
        if token in known:
            raise UserError(
                f"{place}: {token!r} is a token of {name} already, id {known[token]} (remove the line: it is used as it is)"
            )
        if inner := next((one for one in whole if one in token), None):
            raise UserError(f"{place}: {token!r} holds {inner!r}, which is a token already (choose another text)")
        if token in template:
            raise UserError(
                f"{place}: {token!r} stands in the chat template, so that every prompt would have other tokens than {name} was"
                " trained with (choose another text, such as one in angle brackets)"
            )
    before = [tuple(one.ids) for one in backend.encode_batch(list(added), add_special_tokens=False)]
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in added])
    ids = tokenizer.convert_tokens_to_ids(list(added))
    places = list(added.values())
    for token, place, at, wanted in zip(added, places, ids, range(ids[0], ids[0] + len(ids)), strict=True):
        if at != wanted or backend.encode(token, add_special_tokens=False).ids != [at]:
            raise UserError(f"{place}: the tokenizer of {name} cannot make one token of {token!r} (remove the line)")
    return NewTokens(tuple(added), ids[0], tuple(before))


def described(new: NewTokens, train: Sequence[Example]) -> list[str]:
    """What a person should know of them before training. UserError if no row has any."""
    found = new.found_in(train)
    there = [token for token in new.tokens if found[token]]
    if not there:
        raise UserError(  # a flag without effect
            f"--add-tokens: none of its tokens occurs in the training rows, so nothing would be"
            f" learned of them (add rows with {shortened(new.tokens[0])}, or omit --add-tokens)"
        )
    lines = [
        f"New tokens: {len(new.tokens):,}, one id each from {new.first} on; in the training rows"
        f" {_listed([f'{token} {found[token]:,}x' for token in there])}."
    ]
    if missing := [token for token in new.tokens if not found[token]]:
        are = "is" if len(missing) == 1 else "are"
        lines.append(
            f"Warning: {len(missing):,} of the new tokens {are} in no training row and will not be learned: {_listed(missing)}."
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
