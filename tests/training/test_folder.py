"""The adapter folder: what a run wrote is replaced, moved and removed; what anybody else keeps there stays as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.models import find
from finetune.settings.config import TrainingConfig
from finetune.training import best, checkpoints, folder, start

OLDER = Path(__file__).parents[1] / "records" / "older" / "finished"

# as people keep them: copies named by day, a fused model, another tool's checkpoints
FOREIGN = (
    "notes.md",
    "fused/model.safetensors",
    "fused/config.json",
    "previous/notes.md",
    "state/mine/a.bin",
    "state/0000001/state.json",
    "state/.backup.tmp/a.bin",
    "state/0000001-0000 copy/state.json",
    "20240131_adapters.safetensors.bak",
    "best_adapters.safetensors",
    "2024_adapters.safetensors",
    "2024-01-31_adapters.safetensors",
    "adapters.safetensors.zip",
    "tensorboard/events.out.tfevents.1",
    "Run.json.txt",
)


def a_run(place: Path, number: int) -> None:
    """What a run leaves, with ``number`` in each file."""
    folder.check(place)
    folder.set_aside(place)
    place.mkdir(exist_ok=True)
    record = (OLDER / "run.json").read_text().replace('"format"', f'"run": {number},\n  "format"', 1)
    (place / "run.json").write_text(record)
    for name in ("adapters.safetensors", "adapter_config.json", "training_config.txt", "metrics.jsonl", "loss.png"):
        (place / name).write_text(str(number))
    for step in (1, 2, 3):
        (place / f"{step:07d}_adapters.safetensors").write_text(str(number))
        checkpoints.write(place / "state", f"{step:07d}-0000", lambda at: (at / "a.bin").write_text("a") and {})


def put_foreign(place: Path) -> None:
    for name in FOREIGN:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)


def contents(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}


def test_runs_after_one_another_leave_what_others_keep_there(tmp_path: Path) -> None:
    put_foreign(tmp_path)
    for number in (1, 2, 3, 4):
        a_run(tmp_path, number)
        found = contents(tmp_path)
        assert {name: found.pop(name) for name in FOREIGN} == {name: name for name in FOREIGN}
    # ours: the newest run and the one before it, nothing of the two before those
    ours = {name: text for name, text in found.items() if not name.endswith((".json", "a.bin"))}
    assert {text for name, text in ours.items() if name.startswith("previous/")} == {"3"}
    assert {text for name, text in ours.items() if not name.startswith("previous/")} == {"4"}
    for place in (tmp_path, tmp_path / "previous"):
        assert [state.name for state in checkpoints._states(place / "state")] == ["0000002-0000", "0000003-0000"]


@pytest.mark.parametrize("calls", range(1, 14))
def test_interrupted_anywhere_the_move_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    a_run(tmp_path, 1)
    a_run(tmp_path, 2)
    left = calls

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return call(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink", "rmdir"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            folder.set_aside(tmp_path)
    folder.check(tmp_path)  # a new run is not refused
    folder.set_aside(tmp_path)
    moved = contents(tmp_path / "previous")
    assert moved["adapters.safetensors"] == "2" and '"run": 2' in moved["run.json"]
    assert not [name for name in contents(tmp_path) if not name.startswith("previous/")]


@pytest.mark.parametrize(
    "name",
    [
        "adapters.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "training_config.txt",
        "start.safetensors",
        "metrics.jsonl",
        "loss.png",
        "previous/adapters.safetensors",
        "previous/metrics.jsonl",
    ],
)
def test_what_no_run_wrote_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mlx_lm.lora")
    with pytest.raises(UserError, match=r"train\.py did not write it"):
        folder.check(tmp_path)


def test_a_run_that_was_killed_before_it_saved_anything_does_not_replace_the_one_before(tmp_path: Path) -> None:
    a_run(tmp_path, 1)
    a_run(tmp_path, 2)
    folder.set_aside(tmp_path)
    (tmp_path / "run.json").write_text((OLDER / "run.json").read_text())  # the first file of run 3, and its last
    (tmp_path / "notes.md").write_text("mine")
    a_run(tmp_path, 4)
    found = contents(tmp_path)
    assert (found["previous/adapters.safetensors"], found["adapters.safetensors"]) == ("2", "4")
    assert found["notes.md"] == "mine"


@pytest.mark.parametrize("name", ["state/0000001-0000", "previous/state/0000001-0000"])
def test_what_is_named_like_a_state_stops_a_run_before_it_begins(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "a.bin").write_text("mine")
    with pytest.raises(UserError, match=r"named like a training state, but without its state\.json"):
        folder.check(tmp_path)


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"format": 99}', '{"steps": [1, 2]}'])
def test_a_record_of_something_else_is_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json: .*will not be replaced .*another --adapter-path"):
        folder.check(tmp_path)


@pytest.mark.parametrize(
    "name", ["state", "previous", "run.json", "metrics.jsonl", "adapters.safetensors", "previous/state"]
)
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=f"{name}: a symbolic link"):
        folder.check(tmp_path / "run")
    (tmp_path / "linked").symlink_to(tmp_path / "mine")  # the folder itself can be one
    folder.check(tmp_path / "linked")


def test_a_state_is_removed_file_by_file(tmp_path: Path) -> None:
    """Also if its record names files elsewhere, or somebody has put a file into it."""
    (tmp_path / "precious").write_text("mine")
    for step in (1, 2, 3):
        checkpoints.write(tmp_path / "state", f"{step:07d}-0000", lambda at: (at / "a.bin").write_text("a") and {})
        if step == 1:
            (tmp_path / "state" / "0000001-0000" / "notes").write_text("mine")
            hostile = '{"files": {"../../precious": "", "a.bin": "", "/etc/passwd": ""}}'
            (tmp_path / "state" / "0000001-0000" / "state.json").write_text(hostile)
    assert contents(tmp_path / "state" / "0000001-0000") == {"notes": "mine"}
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_refused_state_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    for text in ("a", "b"):
        checkpoints.write(tmp_path, "0000001-0000", lambda at, text=text: (at / "a.bin").write_text(text) and {})
        assert (tmp_path / "0000001-0000" / "a.bin").read_text() == text
        (tmp_path / "0000001-0000" / "state.json").write_text("{")


def test_adapters_with_another_kind_of_number_are_no_history(tmp_path: Path) -> None:
    class Trainer:
        def save_adapters(self, path: Path) -> None:
            path.write_text("ours")

    put_foreign(tmp_path)
    for step in (5, 10, 15, 20):
        best.keep(Trainer(), step, tmp_path, "adapters.safetensors", best=True)  # type: ignore[arg-type]
    assert set(FOREIGN) <= contents(tmp_path).keys()
    kept = folder.history(tmp_path, "adapters.safetensors")
    assert [path.name[:7] for path in kept] == ["0000015", "0000020"]


@pytest.mark.parametrize(
    ("adapters", "others"),
    [
        ("data", {}),
        (".", {}),
        ("data/adapters", {}),
        ("x/../data", {}),
        ("first", {"from_adapter": "first"}),
        ("first/next", {"from_adapter": "first"}),
        ("first", {"from_adapter": "first/previous"}),
        ("model", {"model": "model"}),
        ("cache/a", {}),
    ],
)
def test_folders_of_a_run_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapters: str, others: dict[str, str]
) -> None:
    for name in ("data", "model", "x"):
        (tmp_path / name).mkdir()
    shutil.copytree(OLDER, tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    paths = {name: Path(value) if name != "model" else value for name, value in others.items()}
    with pytest.raises(UserError, match=r"--adapter-path: .*use a folder of its own"):
        start.check_start(TrainingConfig(adapter_path=Path(adapters), **paths))  # type: ignore[arg-type]


def test_without_a_home_there_is_no_cache_to_avoid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FINETUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    start.check_start(TrainingConfig(adapter_path=Path("a")))
    with pytest.raises(UserError, match="set FINETUNE_CACHE"):
        find.cache_dir()
