"""Metrics to a tool of the user's choice, through that tool's own library, which only its users install."""

import atexit
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from finetune.errors import UserError, first_line, shortened, visible
from finetune.records import files

Log = Callable[[Mapping[str, Any]], None]  # takes what becomes a line of metrics.jsonl
_ALL = f"{files.METRICS} has all the metrics"
_LAST_SECONDS = 10  # that the end of a run waits for lines that are not sent yet


def _tensorboard(library: Any, folder: Path, settings: Mapping[str, Any]) -> Log:
    target = folder / "tensorboard"
    files.refuse_links(folder, [target.name])
    files.make_folder(target)
    writer = library.SummaryWriter(str(target))

    def log(metrics: Mapping[str, Any]) -> None:
        for name, value in _numbers(metrics).items():
            writer.add_scalar(name, value, metrics["step"])
        writer.flush()

    return log


def _run_of_a_project(library: Any, folder: Path, settings: Mapping[str, Any]) -> Log:
    """wandb, and trackio, which has the same functions."""
    name = visible(folder.resolve().name).encode(errors="replace").decode()  # names of files need not be text
    library.init(project="finetune", name=name or "finetune", config=dict(settings))
    return lambda metrics: library.log(_numbers(metrics), step=metrics["step"])


_OPEN = {"tensorboard": _tensorboard, "wandb": _run_of_a_project, "trackio": _run_of_a_project}
REPORTERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}  # and the package of each


def open_reporter(
    name: str | None, folder: Path, settings: Mapping[str, Any], say: Callable[[str], None] = lambda line: None
) -> Log:
    """What sends metrics to the tool ``name``; None sends them nowhere.

    UserError if its library is missing or fails to start. From then on nothing that the tool does ends the training or makes
    it wait: ``say`` is told if it fails.
    """
    if name is None:
        return lambda metrics: None
    library = library_of(name)
    try:
        with _our_signals():
            log = _OPEN[name](library, folder, {key: str(value) for key, value in settings.items()})
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  code of others
        raise UserError(
            f"--report-to {name}: cannot be started: {_reason(error)} (fix this, or leave --report-to out)"
        ) from None
    return _Sender(name, log, say).send


def library_of(name: str) -> Any:
    """The library of the tool ``name``. UserError if it is not installed, or cannot be imported."""
    package = REPORTERS[name]
    try:
        library = import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise UserError(f"--report-to {name}: {package} is not installed (pip install {package})") from None
        raise _broken(name, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  code of others
        raise _broken(name, error) from None
    if getattr(library, "__file__", None) is None:  # Python takes a folder for a package: wandb makes one for its runs
        raise UserError(f"--report-to {name}: {package} is not installed (pip install {package})")
    return library


def _broken(name: str, error: BaseException) -> UserError:
    package = REPORTERS[name]
    return UserError(f"--report-to {name}: {package} cannot be imported: {_reason(error)} (install it again)")


def _reason(error: BaseException) -> str:
    return shortened(f"{type(error).__name__}: {first_line(error)}", 200)


class _Sender:
    """Sends lines in a thread of its own; without one, a tool that waits for the network would stop the training."""

    def __init__(self, name: str, log: Log, say: Callable[[str], None]):
        self._name, self._log, self._say = name, log, say
        self._lines: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        atexit.register(self._finish)

    def send(self, line: Mapping[str, Any]) -> None:
        self._lines.put(dict(line))

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._log(line)
            except (Exception, SystemExit) as error:  # noqa: BLE001  code of others
                since = f"nothing is sent from step {line['step']} on"
                self._say(f"Warning: --report-to {self._name}: {_reason(error)} ({since}; {_ALL})")
                return

    def _finish(self) -> None:
        self._lines.put(None)
        self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive():
            self._say(f"Warning: --report-to {self._name}: no answer in {_LAST_SECONDS} seconds ({_ALL})")


@contextmanager
def _our_signals() -> Iterator[None]:
    """Undo what a tool does to the signals that stop a run."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that Python did not set
                    signal.signal(number, handler)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float)) and name != "step"}
