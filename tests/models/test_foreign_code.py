"""No Python code that comes with a model is run, whatever is typed at a question."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    return folder


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("typed", ["y\n", "yes\n", "1\n", ""])
@pytest.mark.parametrize("tokenizer", [["evil.Evil", None], [None, "evil.Evil"], ["evil.Evil", "evil.Evil"]])
def test_a_tokenizer_with_code_of_its_own_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, tokenizer: list[str | None]
) -> None:
    edit(
        model / "tokenizer_config.json",
        lambda value: value.update(auto_map={"AutoTokenizer": tokenizer}, tokenizer_class="Evil"),
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    with pytest.raises(UserError, match=r"Python code from the model's folder, which is never run"):
        ChatEncoder(model)
    assert not (tmp_path / "ran").exists()


def test_a_model_of_a_known_kind_that_also_has_code_works_without_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many repositories keep code for older versions of transformers."""
    edit(
        model / "config.json",
        lambda value: value.update(auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}),
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert ChatEncoder(model).prompt([{"role": "user", "content": "Hello"}])
    assert not (tmp_path / "ran").exists()
