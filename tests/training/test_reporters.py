"""Tools that metrics are sent to: whatever one of them does, training neither ends nor waits. Modules stand for the tools."""

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.training import reporters
from finetune.training.reporters import Log, open_reporter

TOOL = "sent = []\ndef init(**settings): sent.append(settings)\ndef log(values, step): sent.append((step, values))\n"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python imports the tools from."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for package in reporters.REPORTERS.values():
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr("atexit.register", lambda call: None)
    return folder


def opened(tmp_path: Path, said: list[str], name: str = "wandb") -> Log:
    return open_reporter(name, tmp_path / "run\x1b[31m\udcff", {"seed": 1}, said.append)


@pytest.mark.parametrize(
    "source, error",
    [
        ("raise AttributeError('numpy has no bool8')", "wandb cannot be imported: AttributeError: numpy has no bool8"),
        ("import not_there", "wandb cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("import sys; sys.exit(1)", "wandb cannot be imported: SystemExit: 1"),
        ("def init(**settings): raise OSError('no\\nnetwork')", "cannot be started: OSError: no"),
        ("import sys\ndef init(**settings): sys.exit(3)", "cannot be started: SystemExit: 3"),
        ("", "cannot be started: AttributeError"),
        (None, "wandb is not installed (pip install wandb)"),
    ],
)
def test_a_tool_that_cannot_start_is_an_error_in_one_line(
    tool: Path, tmp_path: Path, source: str | None, error: str
) -> None:
    if source is None:
        (tool / "wandb" / "run-1").mkdir(parents=True)  # of earlier runs: to Python a package
    else:
        (tool / "wandb.py").write_text(source)
    with pytest.raises(UserError, match=r"^--report-to wandb: ") as refused:
        opened(tmp_path, [])
    assert error in str(refused.value) and "\n" not in str(refused.value)


def test_a_tool_that_fails_on_the_way_is_said_once(tool: Path, tmp_path: Path) -> None:
    (tool / "wandb.py").write_text(
        f"{TOOL}\ndef log(values, step):\n    if step == 2: raise ConnectionError('gone')\n    sent.append(step)\n"
    )
    said: list[str] = []
    send = opened(tmp_path, said)
    for step in (1, 2, 3):
        send({"step": step, "loss": 0.5})
    reporters_thread(send).join(5)
    assert said == [
        "Warning: --report-to wandb: ConnectionError: gone (nothing is sent from step 2 on; metrics.jsonl has all the metrics)"
    ]
    settings, last = sys.modules["wandb"].sent
    assert (settings["name"], settings["config"], last) == ("run␛[31m␦", {"seed": "1"}, 1)


def test_a_tool_that_waits_does_not_make_the_training_wait(
    tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tool / "wandb.py").write_text(
        f"import threading\n{TOOL}\ngo = threading.Event()\ndef log(values, step): go.wait(9)"
    )
    monkeypatch.setattr(reporters, "_LAST_SECONDS", 0.1)
    said: list[str] = []
    began = time.monotonic()
    send = opened(tmp_path, said)
    for step in range(1000):
        send({"step": step, "loss": 0.5})
    send.__self__._finish()
    assert time.monotonic() - began < 5
    assert said == ["Warning: --report-to wandb: no answer in 0.1 seconds (metrics.jsonl has all the metrics)"]
    sys.modules["wandb"].go.set()


def test_a_tool_does_not_take_the_signals_that_stop_a_run(tool: Path, tmp_path: Path) -> None:
    (tool / "wandb.py").write_text(
        "import signal\ndef init(**settings): signal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef log(values, step): pass"
    )
    before = signal.getsignal(signal.SIGTERM)
    opened(tmp_path, [])
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_folder_of_tensorboard_is_checked(tool: Path, tmp_path: Path) -> None:
    (tool / "tensorboardX.py").write_text("class SummaryWriter:\n    def __init__(self, folder): raise AssertionError")
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (run / "tensorboard").symlink_to(other)
    with pytest.raises(UserError, match="a symbolic link"):
        open_reporter("tensorboard", run, {})
    (run / "tensorboard").unlink()
    (run / "tensorboard").write_text("mine")
    with pytest.raises(UserError, match="cannot be written: it is a file"):
        open_reporter("tensorboard", run, {})


def reporters_thread(send: Log) -> threading.Thread:
    return send.__self__._thread
