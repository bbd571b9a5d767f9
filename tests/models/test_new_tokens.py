"""New tokens: what a file of them may hold, and that each is one token wherever it stands, while the base model has its own."""

from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.models import new_tokens
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example

ROW = [{"role": "user", "content": "<order> or not?"}, {"role": "assistant", "content": "<order>2 red shoes</order>"}]


def of_bytes(folder: Path, content: bytes) -> dict[str, str]:
    path = folder / "tokens.txt"
    path.write_bytes(content)
    return new_tokens.read(path)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (b"<a>\n<b>\n", ["<a>", "<b>"]),
        (b"<a>\r\n<b>\r\n", ["<a>", "<b>"]),  # of Windows
        (b"\xef\xbb\xbf<a>\n<b>", ["<a>", "<b>"]),  # a byte order mark, and no last line end
        (b"\n<a>\n\n  \n<b>\n\n", ["<a>", "<b>"]),
        (b"<two words>\n", ["<two words>"]),
        ("<größe>\n<注文>\n".encode(), ["<größe>", "<注文>"]),
        (b"".join(b"<t%d>\n" % number for number in range(10_000)), [f"<t{number}>" for number in range(10_000)]),
    ],
    ids=range(7),
)
def test_files_that_are_read(content: bytes, tokens: list[str], tmp_path: Path) -> None:
    assert list(of_bytes(tmp_path, content)) == tokens


REFUSED = {
    "a blank before": (b"<a>\n <b>\n", b"<a>\n<b>\n", r"tokens\.txt:2: ' <b>' begins or ends with a blank"),
    "a tab after": (b"<a>\t\n", b"<a>\n", r":1: '<a>\\t' begins or ends with a blank \(remove the blank\)"),
    "twice": (b"<a>\n\n<b>\n<a>\n", b"<a>\n<b>\n", r":4: '<a>' is also on line 1 \(remove one\)"),
    "not UTF-8": (b"<a>\n<gr\xf6\xdfe>\n", "<a>\n<größe>\n".encode(), r":2: not UTF-8 \(save the file as UTF-8\)"),
    "UTF-16": ("<a>\n".encode("utf-16"), b"<a>\n", r":1: not UTF-8"),
    "invisible": ("<a\u200b>\n".encode(), b"<a>\n", r":1: '<a\\u200b>' holds a character that cannot be seen"),
    "private": ("<a\ue000>\n".encode(), b"<a>\n", "cannot be seen"),
    "long": (b"<" + b"a" * 200 + b">\n", b"<a>\n", r"has 202 characters \(a token has at most 100\)"),
    "empty": (b"\n \n", b"<a>\n", r"tokens\.txt: no token in it \(write one per line\)"),
    "large": (b"<a>\n" * (2 << 20), b"<a>\n", "larger than 4 MB"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused_until_the_remedy_is_followed(case: str, tmp_path: Path) -> None:
    content, mended, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        of_bytes(tmp_path, content)
    assert of_bytes(tmp_path, mended)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: not found \(name a file with one token per line\)"):
        new_tokens.read(tmp_path / "none.txt")
    with pytest.raises(UserError, match="is a directory"):
        new_tokens.read(tmp_path)


def added(*tokens: str) -> dict[str, str]:
    return {token: f"tokens.txt:{number}" for number, token in enumerate(tokens, start=1)}


def test_each_is_one_token_in_prompt_and_answer_and_stays_in_the_text(builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model, added=added("<order>", "</order>"))
    new = encoder.new_tokens
    assert new is not None and list(new.ids) == [49152, 49153]
    assert encoder.base.decode_all(new.pieces[0]) == "<order>"
    conversation = Conversation.of({"messages": ROW})
    example = encoder.example(conversation)
    learned = [token for token, counts in zip(example.tokens, example.loss_mask, strict=True) if counts]
    assert learned[0] == 49152 and 49153 in learned and example.tokens.count(49152) == 2
    assert encoder.decode(learned) == "<order>2 red shoes</order>"
    assert 49152 in encoder.prompt(conversation.prompt)
    plain = ChatEncoder(builtin_model)
    assert encoder.base.example(conversation) == plain.example(conversation)
    assert plain.base is plain and plain.new_tokens is None
    assert not encoder.types_controls(conversation)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (("<a>", "<|im_end|>"), r"tokens\.txt:2: '<\|im_end\|>' is a token of builtin already, id 2 \(remove the line"),
        (("<|im_start|>u",), r"tokens\.txt:1: '<\|im_start\|>u' holds '<\|im_start\|>', which is a token already"),
        (("order",), r"tokens\.txt:1: 'order' is a token of builtin already"),
        (("You are a helpful AI",), r"tokens\.txt:1: 'You are a helpful AI' stands in the chat template"),
    ],
)
def test_tokens_that_would_change_the_model_are_refused(
    tokens: tuple[str, ...], message: str, builtin_model: Path
) -> None:
    with pytest.raises(UserError, match=message):
        ChatEncoder(builtin_model, name="builtin", added=added(*tokens))
    remedy = tokens[:-1] or ("<another>",)
    assert ChatEncoder(builtin_model, name="builtin", added=added(*remedy)).new_tokens


def test_one_that_begins_as_another_does_is_found_whole(builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model, added=added("<item", "<item>", "<item>>", "a <b"))
    conversation = Conversation.of({"messages": [ROW[0], {"role": "assistant", "content": "<item><item>> a <b<item"}]})
    example = encoder.example(conversation)
    found = [
        token for token, counts in zip(example.tokens, example.loss_mask, strict=True) if counts and token >= 49152
    ]
    assert found == [49153, 49154, 49155, 49152]


def test_what_is_not_in_the_rows_is_named() -> None:
    new = new_tokens.NewTokens(("<a>", "<b>", "<c>"), 10, ((1,), (2,), (3,)))
    lines = new_tokens.described(new, [Example([1, 10, 10, 12, 10], [False] * 5)])
    assert lines == [
        "New tokens: 3, one id each from 10 on; in the training rows <a> 3x, <c> 1x.",
        "Warning: 1 of the new tokens is in no training row and will not be learned: <b>.",
    ]
    with pytest.raises(
        UserError, match=r"none of its tokens occurs in the training rows, .*\(add rows with <a>, or omit"
    ):
        new_tokens.described(new, [Example([1, 2], [False, True])])
    many = new_tokens.NewTokens(tuple(f"<{at}>" for at in range(5000)), 0, ((1,),) * 5000)
    (first, second) = new_tokens.described(many, [Example([0], [True])])
    assert "<0> 1x." in first and second.endswith("<1>, <2>, <3>, <4>, <5>, <6> and 4,993 more.")
