"""--system: the system message of rows that have none; and what a chat template writes there by itself."""

import json
from pathlib import Path

import pytest

from finetune.dataset import systems
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from tool_templates import TEMPLATES

TEXT = "You are Northwind's support."


@pytest.fixture(autouse=True)
def fresh() -> None:
    systems.given.cache_clear()


def prepared(folder: Path, rows: list[Row], kind: str = "chat", **options: object) -> tuple[Dataset, DatasetConfig]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_=kind, dataset_name=str(path), valid_fraction=0, test_fraction=0, **options)
    return prepare(config, ROW_KINDS[kind], print), config


def row(number: int, **more: object) -> Row:
    return {"prompt": f"Question {number}?", "completion": f"Answer {number}", **more}


def systems_of(dataset: Dataset) -> list[str]:
    """The system messages of the rows, "" for none."""
    first = [row["messages"][0] for row in dataset.splits["train"]]
    return sorted(message["content"] if message["role"] == "system" else "" for message in first)


def test_rows_without_a_system_message_get_the_given_one(tmp_path: Path) -> None:
    dataset, config = prepared(tmp_path, [row(0), row(1), row(2, system="Own")], system=TEXT)
    assert systems_of(dataset) == ["Own", TEXT, TEXT]
    assert dataset.record(config).added_system == TEXT
    assert f"{systems.ADDED} (2 rows)" in dataset.notes
    assert f"{systems.KEPT} (1 row)" in dataset.notes


def test_the_message_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text(f"\ufeff{TEXT}\r\nBe kind.\n", encoding="utf-8", newline="")
    dataset, _ = prepared(tmp_path, [row(0)], system=str(tmp_path / "system.txt"))
    assert systems_of(dataset) == [f"{TEXT}\nBe kind."]


@pytest.mark.parametrize("kind", ["chat", "preference", "alpaca", "riscv"])
def test_every_kind_with_messages_of_its_own_takes_it(tmp_path: Path, kind: str) -> None:
    fields: dict[str, Row] = {
        "preference": {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        "alpaca": {"instruction": "Say hello", "output": "Hello"},
        "riscv": {"instruction": "Add 1 to a0", "output": "addi a0, a0, 1", "input": ""},
    }
    found = fields.get(kind, row(0))
    if ROW_KINDS[kind].required and not {*ROW_KINDS[kind].required} <= found.keys():
        found = dict.fromkeys(ROW_KINDS[kind].required, "addi a0, a0, 1")
    dataset, _ = prepared(tmp_path, [found], kind, system=TEXT)
    assert systems_of(dataset) == [TEXT]


@pytest.mark.parametrize("kind", [name for name, kind in ROW_KINDS.items() if kind.writes_system or kind.plain_text])
def test_a_kind_with_a_system_message_of_its_own_refuses_it(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=f"--system has no effect with --type {kind}, which have"):
        prepared(tmp_path, [row(0)], kind, system=TEXT)
    prepared(tmp_path, [row(0)], "chat", system=TEXT)  # the remedy


def test_it_is_told_if_all_rows_have_one(tmp_path: Path) -> None:
    dataset, config = prepared(tmp_path, [row(0, system="Own")], system=TEXT)
    assert f"--system: {systems.KEPT}" in dataset.notes
    assert dataset.record(config).added_system is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("  ", "the text is empty"),
        ("missing.txt", "cannot be read: No such file"),
        ("empty.md", "the file has no text"),
        (".", "cannot be read: Is a directory"),
        ("latin.txt", "not UTF-8 text"),
        ("large.txt", "larger than 100 kB"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.md").write_text("\n")
    Path("latin.txt").write_bytes("schön".encode("latin-1"))
    Path("large.txt").write_text("x" * 100_001)
    with pytest.raises(UserError, match=said):
        systems.given(value)


def test_what_the_template_writes_by_itself_is_found_and_told(tiny_model: Path, tiny_gemma: Path) -> None:
    encoder = ChatEncoder(tiny_model, name="builtin")
    assert encoder.default_system() == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    (told,) = systems.of_template(encoder, 3, 4)  # with tools it writes these in the place of its own
    assert "3 rows without a system message" in told and "SmolLM" in told and "--system" in told
    assert not [*systems.of_template(encoder, 0, 4)]


_QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
_WITHOUT = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
_NO_ROLE = "{%- if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{%- endif %}" + _WITHOUT


@pytest.mark.parametrize(
    ("template", "text"), [(_QWEN, "You are Qwen, created by Alibaba Cloud."), (_WITHOUT, ""), (_NO_ROLE, "")]
)
def test_templates_with_and_without_a_system_message_of_their_own(tiny_model: Path, template: str, text: str) -> None:
    encoder = ChatEncoder(tiny_model, template, name="builtin")
    assert encoder.default_system() == text


def test_a_template_that_writes_its_own_beside_tools_is_told_for_rows_with_tools_too(tiny_model: Path) -> None:
    own = "You are Qwen, created by Alibaba Cloud."
    begin = f"{{% if messages[0].role != 'system' %}}{{{{ '<|im_start|>system\\n{own}<|im_end|>\\n' }}}}{{% endif %}}"
    template = begin + TEMPLATES["hermes"]
    encoder = ChatEncoder(tiny_model, template, name="builtin")
    assert (encoder.default_system(), encoder.default_system(tools=True)) == (own, own)
    (told,) = systems.of_template(encoder, 3, 4)
    assert "7 rows without a system message" in told
