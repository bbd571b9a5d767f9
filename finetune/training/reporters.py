"""Metrics to a tool of the user's choice, through that tool's own library, which only its users install."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from finetune.errors import UserError

Log = Callable[[Mapping[str, Any]], None]  # takes what becomes a line of metrics.jsonl


def _tensorboard(library: Any, folder: Path, settings: Mapping[str, Any]) -> Log:
    writer = library.SummaryWriter(str(folder / "tensorboard"))

    def log(metrics: Mapping[str, Any]) -> None:
        for name, value in _numbers(metrics).items():
            writer.add_scalar(name, value, metrics["step"])
        writer.flush()

    return log


def _run_of_a_project(library: Any, folder: Path, settings: Mapping[str, Any]) -> Log:
    """wandb, and trackio, which has the same functions."""
    library.init(project="finetune", name=folder.resolve().name, config=dict(settings))
    return lambda metrics: library.log(_numbers(metrics), step=metrics["step"])


_OPEN = {"tensorboard": _tensorboard, "wandb": _run_of_a_project, "trackio": _run_of_a_project}
REPORTERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}  # and the package of each


def open_reporter(name: str | None, folder: Path, settings: Mapping[str, Any]) -> Log:
    """What sends metrics to the tool ``name``; None sends them nowhere. UserError if its library is missing."""
    if name is None:
        return lambda metrics: None
    library = library_of(name)
    return _OPEN[name](library, folder, {key: str(value) for key, value in settings.items()})


def library_of(name: str) -> Any:
    """The library of the tool ``name``. UserError if it is not installed."""
    package = REPORTERS[name]
    try:
        return import_module(package)
    except ImportError:
        raise UserError(f"--report-to {name}: {package} is not installed (pip install {package})") from None


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float)) and name != "step"}
