"""The table of docs/models.md is what a run of the matrix finds, and what the page shows."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from finetune.backends.mlx.runtime import ON_CPU  # isort: skip  before any other import of MLX
from finetune.models import tokenizer
from model_matrix import builders, matrix, page, product, runs
from model_matrix.cells import GOOD

EXPECTED: matrix.Table = json.loads(matrix.EXPECTED.read_text(encoding="utf-8"))
# layers that share keys, an own head; a wrapper, layers without keys
FEW = ["gemma4_text", "qwen3_5"]
needs_float32 = pytest.mark.skipif(not ON_CPU, reason="the tolerances are those of float32, which MLX uses on the CPU")


def test_the_page_shows_the_expected_table() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.renewed(text, EXPECTED, matrix.TEMPLATES.read_text(encoding="utf-8")) == text, (
        "run: python tests/model_matrix/matrix.py --write"
    )


def test_every_type_of_the_installed_mlx_lm_has_a_row() -> None:
    assert list(EXPECTED) == list(builders.KINDS), "run: python tests/model_matrix/matrix.py --write"


def test_nothing_is_wrong_in_silence_and_most_kinds_work() -> None:
    built = {kind: cells for kind, cells in EXPECTED.items() if "build" not in cells}
    wrong = [(kind, column) for kind, cells in built.items() for column, (word, _) in cells.items() if word == "wrong"]
    assert not wrong
    can = [cells for cells in built.values() if page.runs(cells)]
    assert sum(map(page.works, can)) >= 0.95 * len(can)


def test_every_hole_has_its_reason() -> None:
    fine = GOOD
    holes = {
        (kind, column): why
        for kind, cells in EXPECTED.items()
        for column, (word, why) in cells.items()
        if word not in fine
    }
    assert not [place for place, why in holes.items() if not why]


@needs_float32
@pytest.mark.parametrize("kind", FEW)
def test_the_fast_half(kind: str, tmp_path: Path, rows: Path) -> None:
    """Training with a validation and its sample answers, in this process."""
    case = product.Case(kind, tmp_path, rows)
    assert product.COLUMNS["trains"](case).word == EXPECTED[kind]["trains"][0]


@needs_float32
@pytest.mark.parametrize("kind", ["qwen3_5", "granitemoehybrid", "step3p5", "pixtral", "llama4"])
def test_both_forms_of_config_compute_the_same(kind: str, tmp_path: Path) -> None:
    """Whose layers have attention, in transformers' names or at an interval; what transformers computes; a part that sees."""
    assert product.COLUMNS["transformers 5"](product.Case(kind, tmp_path, tmp_path)).word == "ok"


def test_a_tokenizer_loads_whatever_transformers_makes_of_config_json(tmp_path: Path) -> None:
    folder = builders.build("deepseek_v41", tmp_path / "model")
    assert tokenizer.load(folder).encode("Yes")


@needs_float32
def test_a_run_of_a_model_with_few_positions_is_resumed(tmp_path: Path, rows: Path) -> None:
    case = product.Case("gpt2", tmp_path, rows)
    assert [product.COLUMNS[column](case).word for column in ("trains", "resume")] == ["ok", "ok"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_rows(tmp_path_factory.mktemp("rows"))


@pytest.mark.models
def test_the_table_of_chat_templates() -> None:
    found = matrix.templates()
    if found is None:
        pytest.skip("TRL is not installed")
    assert found == matrix.TEMPLATES.read_text(encoding="utf-8")


@needs_float32
@pytest.mark.models
def test_the_whole_matrix(tmp_path: Path) -> None:
    found = matrix.run(builders.KINDS, tmp_path)
    print("\n".join(matrix.lines(found)))
    torch = find_spec("torch") is not None
    expected = {
        kind: {
            column: cell
            for column, cell in cells.items()
            if torch or column not in ("like transformers", "PEFT", "torch")
        }
        for kind, cells in EXPECTED.items()
    }
    other = {
        f"{kind}, {column}": f"{cells.get(column)} instead of {expected[kind].get(column)}"
        for kind, cells in found.items()
        for column in expected[kind]
        if cells.get(column) != expected[kind][column]
    }
    assert not other, other
