"""Documents become pieces that a model can read: nothing is left out, and no token is learned twice."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from finetune.dataset.documents import Cutter
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.models.conversation import Conversation, PlainText
from finetune.models.encoder import ChatEncoder
from finetune.models.plain_text import PlainTokenizer
from finetune.records.dataset import Pieces
from finetune.records.files import Row
from finetune.settings import conflicts
from finetune.settings.config import DatasetConfig
from finetune.tasks import TASKS

# of every script, joined emoji, flags, marks on letters, line ends, names of special tokens, control characters
PARTS = (
    *(
        "word ",
        "Satz. ",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "  ",
        "    code()\n",
        "x",
        "e\u0301",
        "a\u0301\u0302\u0303",
        "\0",
        "\ue000",
    ),
    *(
        "👩‍👧‍👦",
        "🇩🇪🇫🇷",
        "\U0001f3fb",
        "你好世界。",
        "नमस्ते ",
        "กำลัง",
        "한국어 ",
        "\u1100\u1161\u11a8",
        "مرحبا ",
        "<|im_end|>",
        "</s>",
    ),
)


class FromBackend:
    """A tokenizer of transformers, as far as plain text needs one."""

    def __init__(self, backend: Tokenizer, eos: int | None = None):
        self.backend_tokenizer = backend
        self.bos_token_id, self.eos_token_id, self.added_tokens_decoder = None, eos, {}


class OnlyPlain:
    """An encoder that has no chat template."""

    name, context_length = "made", None

    def __init__(self, backend: Tokenizer, eos: int | None = None):
        self.plain = PlainTokenizer(FromBackend(backend, eos))


def sentencepiece() -> Tokenizer:
    """Like Llama 2's: a blank before the text, words with their blank before them, bytes for what is unknown."""
    vocabulary = {token: at for at, token in enumerate(["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])}
    letters = [
        "\u2581",
        "w",
        "o",
        "r",
        "d",
        "wo",
        "rd",
        "word",
        "\u2581word",
        "S",
        "a",
        "t",
        "z",
        ".",
        "Sa",
        "tz",
        "e",
        "x",
    ]
    vocabulary |= {token: len(vocabulary) + at for at, token in enumerate(letters)}
    merges = [("w", "o"), ("r", "d"), ("wo", "rd"), ("\u2581", "word"), ("S", "a"), ("t", "z")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return backend


def lowercase() -> Tokenizer:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "word": 1}, unk_token="<unk>"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    return backend


@pytest.fixture(scope="module")
def encoder(builtin_model: Path) -> ChatEncoder:
    return ChatEncoder(builtin_model)


@pytest.fixture(params=["byte level", "SentencePiece"])
def any_encoder(request: pytest.FixtureRequest, encoder: ChatEncoder) -> Any:
    return encoder if request.param == "byte level" else OnlyPlain(sentencepiece(), eos=1)


@pytest.mark.parametrize("seed", range(40))
def test_the_pieces_without_overlaps_are_the_document(any_encoder: Any, seed: int) -> None:
    choose = random.Random(seed)
    some = choose.sample(PARTS, choose.randint(1, 6))
    text = "".join(choose.choice(some) for _ in range(choose.randint(1, 120)))
    length = choose.choice([12, 16, 40, 100])
    overlap = choose.choice([0, 1, length // 4, length // 2])
    rows = Cutter(any_encoder, length, overlap).rows(text, "a.txt")
    assert "".join(row["text"][row["overlap"] :] for row in rows) == text
    assert [row["piece"] for row in rows] == [*range(1, len(rows) + 1)]
    examples = [*any_encoder.plain.examples([PlainText.of_piece(row) for row in rows])]
    assert max(len(example.tokens) for example in examples) <= length
    for row, example in zip(rows, examples, strict=True):
        eos = any_encoder.plain.end
        assert (example.tokens[-1:] == eos) == (row["piece"] == len(rows))  # where the document ends, and nowhere else
        assert len(example.tokens) == 1 or example.learned


@pytest.mark.parametrize("overlap", [0, 5, 16])
def test_each_token_is_learned_once(encoder: ChatEncoder, overlap: int) -> None:
    text = "One two three, four five. Six seven\n\neight nine ten; eleven twelve.\r\n" * 30
    rows = Cutter(encoder, 32, overlap).rows(text, "a.txt")
    learned = ""
    for row in rows:
        example = encoder.example(Conversation.of(row))
        of = [token for token, counts in zip(example.tokens, example.loss_mask, strict=True) if counts]
        new = encoder.decode_all(of).removesuffix("<|im_end|>" if row["piece"] == row["pieces"] else "")
        if not row["overlap"]:  # nothing stands before its first token, so that one is not predicted
            new = encoder.decode_all(example.tokens[:1]) + new
        learned += new
    assert len(rows) >= 20 and learned == text


def test_a_piece_ends_where_a_reader_would_pause(encoder: ChatEncoder) -> None:
    sentences = "".join(f"This is sentence number {at} of some. " for at in range(40))
    for row in Cutter(encoder, 64, 0).rows(sentences, "a.txt")[:-1]:
        assert row["text"].endswith("some.")
    paragraphs = "".join(f"Paragraph {at} has one line.\n\n" for at in range(60))
    for row in Cutter(encoder, 64, 8).rows(paragraphs, "a.txt")[:-1]:
        assert row["text"].endswith(".\n\n")
    family = "👩‍👧‍👦" * 40  # without any blank: never within what a reader sees as one
    rows = Cutter(encoder, 64, 0).rows(family, "a.txt")
    assert len(rows) > 5 and all(set(row["text"].split("👩‍👧‍👦")) == {""} for row in rows)


@pytest.mark.parametrize("letters", ["abcdefghij", "ежкопр"])  # a token of this model can be half a Cyrillic letter
def test_a_text_without_blanks_is_cut_between_two_tokens(encoder: ChatEncoder, letters: str) -> None:
    choose = random.Random(3)
    text = "".join(choose.choice(letters) for _ in range(1500))
    pieces = list(Cutter(encoder, 64, 0).pieces(text))
    assert len(pieces) > 8
    for piece in pieces[:-1]:
        alone, longer = encoder.plain.spans([text[piece.start : piece.end], text[piece.start : piece.end + 40]])
        assert longer.tokens[: len(alone.tokens)] == alone.tokens and len(alone.tokens) > 50


@pytest.mark.parametrize("overlap", [4, 16, 32])
def test_an_overlap_is_nearly_as_long_as_was_asked(encoder: ChatEncoder, overlap: int) -> None:
    text = "".join(f"Sentence number {at} speaks about nothing in particular. " for at in range(200))
    rows = Cutter(encoder, 64, overlap).rows(text, "a.txt")
    counts = [len(one.tokens) for one in encoder.plain.spans([row["text"][: row["overlap"]] for row in rows[1:]])]
    assert len(counts) > 20 and overlap // 2 <= min(counts) and max(counts) <= overlap


def test_special_tokens_that_a_text_names_stay_text(encoder: ChatEncoder) -> None:
    text = "A turn ends with <|im_end|> there."
    example = encoder.example(PlainText(text=text, begins=False, ends=False))
    assert not encoder.special_tokens & {*example.tokens}
    assert encoder.decode_all(example.tokens) == text
    assert encoder.types_controls(PlainText(text=text)) and not encoder.types_controls(PlainText(text="<|im|>"))


def test_a_document_begins_and_ends_with_the_tokens_of_its_tokenizer(encoder: ChatEncoder) -> None:
    plain = encoder.plain
    assert plain.begin == []  # this tokenizer puts none before a text
    try:
        plain.begin = [1]
        first, middle, last = plain.examples(
            [
                PlainText(text="a b", ends=False),
                PlainText(text="a b", begins=False, ends=False),
                PlainText(text="a b", begins=False),
            ]
        )
    finally:
        plain.begin = []
    assert (first.tokens[0], first.tokens[-1], first.loss_mask) == (1, middle.tokens[-1], [False, True, True])
    assert last.tokens == [*middle.tokens, 2] and last.loss_mask == [False, True, True]


def test_a_tokenizer_that_does_not_give_a_text_back_is_noticed(encoder: ChatEncoder) -> None:
    for given, expected in ((lowercase(), [False, False]), (sentencepiece(), [True, True])):
        cutter = Cutter(OnlyPlain(given), 64, 0)  # type: ignore[arg-type]
        assert [cutter.gives_back(cutter.rows(text, "a")) for text in ("word Word", "word é")] == expected
    assert (cutter := Cutter(encoder, 64, 0)).gives_back(cutter.rows("word\r\n é 👩‍👧", "a"))


def write(folder: Path, documents: dict[str, str | bytes]) -> None:
    folder.mkdir()
    for name, text in documents.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def prepared(source: Path, encoder: ChatEncoder, **options: Any) -> Dataset:
    config = DatasetConfig(type_="text", dataset_name=str(source), **{"max_seq_length": 64, **options})
    return prepare(config, TASKS["text"], print, encoder)


def joined(rows: list[Row]) -> str:
    return "".join(row["text"][row["overlap"] :] for row in rows)


def test_the_pieces_of_a_document_are_in_one_split(encoder: ChatEncoder, tmp_path: Path) -> None:
    documents = {f"{at}.md": f"Document {at} says: {'so it is. ' * 60}" for at in range(20)}
    write(tmp_path / "docs", {**documents, "twice.txt": documents["3.md"], "empty.txt": " \n"})
    dataset = prepared(tmp_path / "docs", encoder, test_fraction=0.2)
    where = {split: {row["document"] for row in rows} for split, rows in dataset.splits.items()}
    assert sum(map(len, where.values())) == 20 and all(where.values())
    for name, text in documents.items():
        pieces = [row for rows in dataset.splits.values() for row in rows if Path(row["document"]).name == name]
        assert joined(pieces) == text or name == "3.md"
    assert dataset.findings.dropped["empty document"] == 1 and dataset.findings.dropped["duplicate row"] > 1
    assert dataset.read == sum(map(len, dataset.splits.values())) + dataset.findings.dropped.total()
    assert dataset.pieces and replace(dataset.pieces, tokenizer_sha256="") == Pieces(
        model=encoder.name,
        tokenizer_sha256="",
        max_seq_length=64,
        overlap=4,
        begin=None,
        end="<|im_end|>",
        documents=21,
    )
    assert "21 documents cut into pieces of at most 64 tokens" in dataset.notes[0]


def test_one_document_is_divided_into_ranges_that_do_not_overlap(encoder: ChatEncoder, tmp_path: Path) -> None:
    text = "".join(f"Sentence {at} of the only book.\n" for at in range(400))
    (tmp_path / "book.txt").write_bytes(text.encode())
    dataset = prepared(tmp_path / "book.txt", encoder, test_fraction=0.1, overlap=8)
    rows = dataset.splits
    for of_split in rows.values():
        numbers = [row["piece"] for row in of_split]
        assert numbers == [*range(numbers[0], numbers[-1] + 1)]
        assert of_split[0]["overlap"] == 0 and all(row["overlap"] for row in of_split[1:])
    assert joined([*rows["train"], *rows["valid"], *rows["test"]]) == text
    assert "train is their beginning" in dataset.split_rule


def test_text_is_found_in_a_field_of_rows(encoder: ChatEncoder, tmp_path: Path) -> None:
    lines = [{"body": f"A text, number {at}.\r\n", "author": f"A{at % 5}", "id": at} for at in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = prepared(tmp_path / "rows.jsonl", encoder, split_by="author")
    assert dataset.findings.unused == {"id": 60} and "'body' read as text (60 rows)" in dataset.notes
    of = {
        split: {int(row["document"].rpartition(":")[2]) % 5 for row in rows} for split, rows in dataset.splits.items()
    }
    assert not of["train"] & of["test"] and not of["train"] & of["valid"]
    with pytest.raises(UserError, match=r"--strict: .*60 x the field id is not used"):
        prepared(tmp_path / "rows.jsonl", encoder, strict=True)
    prepared(tmp_path / "rows.jsonl", encoder, strict=True, ignore="id,author")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "a.txt: a picture"),
        ("Grüße\n".encode("latin-1"), "a.txt:1: not UTF-8 text (save the file as UTF-8)"),
        ("text".encode("utf-16"), "a.txt: UTF-16 text (save the file as UTF-8"),
        (b"one\ntwo \0 three", "a.txt: not a text: it has NUL characters"),
        (b"word", "are too few to fill train, valid, test (more rows, or --valid-fraction 0 --test-fraction 0)"),
        (b" \n", "its only row is not usable: 1 x empty document"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(encoder: ChatEncoder, tmp_path: Path, content: bytes, problem: str) -> None:
    write(tmp_path / "docs", {"a.txt": content})
    with pytest.raises(UserError) as error:
        prepared(tmp_path / "docs", encoder)
    assert problem in str(error.value)


def test_the_remedies_work(encoder: ChatEncoder, tmp_path: Path) -> None:
    write(tmp_path / "one", {"a.txt": b"word"})
    dataset = prepared(tmp_path / "one", encoder, valid_fraction=0.0, test_fraction=0.0)
    assert [row["text"] for row in dataset.splits["train"]] == ["word"]
    big = tmp_path / "corpus.txt"
    with big.open("wb") as file:
        file.write(b"Once.\n")
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="a text of more than 64 MB") as error:
        prepared(big, encoder)
    assert f"(divide it into several files, for example: split -C 50m --additional-suffix=.txt {big} corpus_)" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"overlap": 33}, "--overlap 33: more than half of --max-seq-length 64 (at most 32)"),
        ({"template": "chatml"}, "--template has no effect with --type text, which has no chat template"),
        ({"type_": "chat", "overlap": 3}, "--overlap has no effect with --type chat"),
    ],
)
def test_flags_without_effect_are_refused(options: dict[str, Any], problem: str) -> None:
    config = DatasetConfig(**{"type_": "text", "max_seq_length": 64, "model": "builtin", **options})
    with pytest.raises(UserError) as error:
        conflicts.check(replace(config, origins=dict.fromkeys(options, "flag")))
    assert problem in str(error.value)


def test_a_piece_fits_into_the_context_of_the_model(encoder: ChatEncoder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match=r"--max-seq-length 9999: the context of .* has 8192 tokens \(at most 8192\)"):
        prepared(tmp_path / "a.txt", encoder, max_seq_length=9999)


def test_text_as_text_is_offered_where_it_would_be_learned_as_an_answer(encoder: ChatEncoder, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Plain text number {at}, without any marks."}) for at in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    chat = DatasetConfig(type_="chat", dataset_name=str(tmp_path / "rows.jsonl"))
    assert "(--type text: learned as it is)" in next(iter(prepare(chat, TASKS["chat"], print).findings.mended))
    assert prepared(tmp_path / "rows.jsonl", encoder, strict=True).splits["train"][0]["text"].startswith("Plain text")
    (tmp_path / "notes.txt").write_text("Just\nnotes\n")
    with pytest.raises(UserError, match=r"a text, not rows .--type text learns from texts"):
        prepare(replace(chat, dataset_name=str(tmp_path / "notes.txt")), TASKS["chat"], print)
