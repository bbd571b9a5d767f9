"""A run that was stopped goes on to the same last bit, and nothing else is taken for it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.backends import load_backend
from finetune.errors import UserError
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.training import checkpoints

mlx = load_backend("mlx")

from finetune.backends.mlx import adapters  # noqa: E402

# 7 rows in batches of 2, two batches a step: the last step of each epoch has one batch of one row; 3 epochs
CONFIG = TrainingConfig(
    iters=6, batch_size=2, grad_accumulation=2, learning_rate=1e-2, lora_rank=4, lora_dropout=0.1, warmup=2
)
BATCHES = 12  # of the whole run, with the ends of its steps


@pytest.fixture(scope="module")
def examples(tiny_model: Path) -> list[Example]:
    encoder = ChatEncoder(tiny_model)
    return [
        encoder.example([{"role": "user", "content": "x" * i}, {"role": "assistant", "content": f"SELECT {i};"}])
        for i in range(7)
    ]


@pytest.fixture(scope="module")
def new(tiny_model: Path, examples: list[Example]) -> Callable:
    encoder = ChatEncoder(tiny_model)

    def make():
        return mlx.Trainer(
            mlx.load(tiny_model, encoder),
            METHODS["sft"],
            RowSource(METHODS["sft"], as_rows(examples), CONFIG),
            CONFIG,
            CONFIG.iters,
            "base",
        )

    return make


def finish(trainer) -> str:
    for _ in trainer.run(lambda: False):
        pass
    return adapters.digest(adapters.trainable(trainer.network))


def stopped_after(trainer, batches: int):
    """Train that many batches."""
    calls = iter([False] * batches)
    for _ in trainer.run(lambda: next(calls, True)):
        pass
    return trainer


@pytest.fixture(scope="module")
def whole(new: Callable) -> str:
    return finish(new())


@pytest.mark.parametrize("batches", range(BATCHES))
def test_from_any_batch_to_the_same_bit(new: Callable, whole: str, tmp_path: Path, batches: int) -> None:
    position = stopped_after(new(), batches).save(tmp_path)
    assert position["step"] < CONFIG.iters
    again = new()
    again.restore(tmp_path, json.loads(json.dumps(position)))
    assert finish(again) == whole


@pytest.mark.parametrize(
    "lost", ["adapters.safetensors", "optimizer.safetensors", "gradients.safetensors", "step", "batch", "weight"]
)
def test_every_part_of_the_state_is_needed(new: Callable, whole: str, tmp_path: Path, lost: str) -> None:
    position = stopped_after(new(), 3).save(tmp_path)
    assert position["step"] == 2 or position["batch"] == 1  # inside a step
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    first = new().save(fresh)
    if lost in position:
        position[lost] = first[lost]
    elif (fresh / lost).exists():
        shutil.copy(fresh / lost, tmp_path / lost)
    else:
        (tmp_path / lost).unlink()
    again = new()
    again.restore(tmp_path, position)
    assert finish(again) != whole


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    def fill(step: int) -> Callable[[Path], dict]:
        return lambda folder: (folder / "a.bin").write_bytes(bytes([step] * 100)) and {"step": step}

    for step in (1, 2, 3):
        checkpoints.write(tmp_path / "state", f"{step:07d}-0000", fill(step))
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["0000002-0000", "0000003-0000"]
    said: list[str] = []
    assert checkpoints.newest(tmp_path / "state", said.append)[1]["step"] == 3 and not said
    newest = tmp_path / "state" / "0000003-0000" / "a.bin"
    for damage in (newest.read_bytes()[:50], b"", bytes([3] * 99 + [7])):
        newest.write_bytes(damage)
        assert checkpoints.newest(tmp_path / "state", said.append)[1]["step"] == 2
    (tmp_path / "state" / "0000003-0000" / "state.json").write_text("{")
    assert checkpoints.newest(tmp_path / "state", said.append)[1]["step"] == 2
    assert len(said) == 4 and all("0000003-0000 is damaged" in line for line in said)
    (tmp_path / "state" / "0000002-0000" / "a.bin").unlink()
    with pytest.raises(UserError) as refused:
        checkpoints.newest(tmp_path / "state", said.append)
    assert refused.value.exit_code == 3
    with pytest.raises(UserError, match="nothing to resume here"):
        checkpoints.newest(tmp_path / "none", said.append)


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    with checkpoints.only_run(tmp_path), pytest.raises(UserError, match="another run"), checkpoints.only_run(tmp_path):
        pass
    with checkpoints.only_run(tmp_path):
        pass


def test_a_run_that_wrote_nothing_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    for folder, kept in ((tmp_path, True), (tmp_path / "new", False)):
        with checkpoints.only_run(folder):
            pass
        assert folder.exists() == kept and not list(tmp_path.iterdir())


def test_losses_do_not_depend_on_how_a_step_is_cut(tiny_model: Path, examples: list[Example]) -> None:
    """One batch of 4 rows is two batches of 2 that are accumulated, whatever their tokens."""
    encoder = ChatEncoder(tiny_model)
    losses = []
    for batch, accumulation in ((7, 1), (2, 4)):
        config = replace(CONFIG, iters=4, batch_size=batch, grad_accumulation=accumulation, lora_dropout=0.0)
        source = RowSource(METHODS["sft"], as_rows(examples), config)
        trainer = mlx.Trainer(mlx.load(tiny_model, encoder), METHODS["sft"], source, config, 4, "base")
        losses.append([step.loss for step in trainer.run(lambda: False)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
