"""run.json, which says what made the adapters, and metrics.jsonl beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from finetune.records import files
from finetune.records.dataset import Source, Turns, upgraded_source
from finetune.records.difference import Difference
from finetune.records.machine import Machine
from finetune.records.record import Record

STARTED = "%Y-%m-%dT%H:%M:%S%z"  # form of the time at which a run started
# what older versions called the metrics that TRL has other names for
_RENAMED = {"length": "completion_length", "cut": "clipped_ratio", "clipped": "clip_fraction"}


@dataclass(frozen=True)
class Model:
    """The model that was trained."""

    name: str  # Hub name, folder, GGUF file or builtin
    source: str  # hub, folder, gguf or builtin
    revision: str | None  # commit, for a model of the Hub
    path: str  # folder with its files
    fingerprint: str  # SHA-256 over blocks of its weights


@dataclass(frozen=True)
class Data:
    """The rows that were trained on."""

    folder: str  # folder of dataset.json
    source: Source  # where dataset.py had them from
    files: Mapping[str, str]  # file name -> its SHA-256


@dataclass(frozen=True)
class Result:
    """How far the run came."""

    steps: int  # optimizer steps done
    best_step: int | None = None  # step of the best adapters; 0 is the start
    best_valid_loss: float | None = None  # their validation loss, in nats per token or per pair
    best_valid_reward: float | None = None  # their mean validation reward, for a method with rollouts
    seconds: float = 0.0  # time in optimizer steps
    seconds_on: Mapping[str, float] = field(default_factory=dict)  # of it, seconds on rollout and on reward
    wall_seconds: float | None = None  # time in all: loading, steps, validations, sample answers
    seconds_of: Mapping[str, float] = field(default_factory=dict)  # of it, seconds by part apart from the steps
    stopped_early: bool = False  # true if --patience ended the run
    validations: int = 0  # validations, apart from the one at the start
    trainable_parameters: int | None = None  # parameters that were trained
    against_start: Difference | None = None  # best adapters against those at the start, on the validation rows


@dataclass(frozen=True)
class ConvertedFrom:
    """The adapter that `convert-adapter` made this one from."""

    folder: str  # its folder
    format: str  # MLX or PEFT
    sha256: str  # hash of its weights


@dataclass(frozen=True)
class RunRecord(Record):
    """What made the adapters of a folder: written before the first step, completed after the last."""

    FORMAT: ClassVar[int] = 3
    MADE_BY: ClassVar[str] = "python train.py"
    FOLDER_FLAG = "--adapter-path"

    config: Mapping[str, object]  # setting -> value, by the names of the flags
    task: str  # task of the rows
    model: Model  # the model that was trained
    template_sha256: str  # hash of the chat template
    data: Data  # the rows that were trained on
    command: str  # the command line
    origins: Mapping[str, str] = field(default_factory=dict)  # setting -> where its value came from
    turns: Turns | None = None  # turns of the assistant in the training rows; null if a method learns only the last one
    thinking: str | None = None  # field in which the template gets thinking; "text" or "placed" for <think>; null: none
    template: str | None = None  # text of the chat template; null for the model's own
    reward_sha256: str | None = None  # hash of the file of --grpo-reward
    scorer_sha256: str | None = None  # hash of the file of --scorer
    switches: Mapping[str, bool] = field(default_factory=dict)  # template variable -> value, to be asked for thinking
    end: str | None = None  # token added after each learned answer; null if the chat template writes the end
    new_tokens: tuple[str, ...] = ()  # tokens that were added to the tokenizer, in the order of their ids
    started: str | None = None  # ISO 8601; chat templates that write a date write this one, also on resume and later
    device: str | None = None  # what the backend computed on
    machine: Machine | None = None  # the machine and its software
    result: Result | None = None  # null until the run ended or was stopped
    converted_from: ConvertedFrom | None = None  # set by convert-adapter

    @property
    def began(self) -> datetime | None:
        """When the run started, on the clock of its machine; None if that is not recorded."""
        try:
            return datetime.strptime(self.started or "", STARTED)
        except ValueError:
            return None

    @classmethod
    def upgrade(cls, value: files.Row, written: int) -> None:
        """Format 2 called the fingerprint ``weights``; format 1 had none. Before --backend there was MLX alone."""
        value["config"] = {"backend": "mlx", **value["config"]}
        model = value["model"]
        if "source" in value["data"]:
            value["data"] = {**value["data"], "source": upgraded_source(value["data"]["source"])}
        if "weights" in model:
            value["model"] = {**model, "fingerprint": model["weights"]}


def read_run(adapter_path: Path) -> RunRecord:
    """The record of the run in ``adapter_path``; UserError if it is missing or damaged."""
    return RunRecord.read(adapter_path / files.RUN_RECORD)


def finish_run(adapter_path: Path, result: Result) -> None:
    """Add how far the run came."""
    replace(read_run(adapter_path), result=result).write(adapter_path / files.RUN_RECORD)


def keep_metrics(adapter_path: Path, step: int, validated: int) -> None:
    """Drop what was reported after ``step``, or of a validation after ``validated``: it will be reported again."""
    kept = [row for row in read_metrics(adapter_path) if row["step"] <= (validated if "best" in row else step)]
    files.write_jsonl(adapter_path / files.METRICS, kept)


def read_metrics(adapter_path: Path) -> list[files.Row]:
    """The lines of metrics.jsonl; none if the run ended before its first report."""
    path = adapter_path / files.METRICS
    return [renamed_metrics(row) for _, row in files.read_jsonl(path)] if path.exists() else []


def renamed_metrics(metrics: Mapping[str, Any]) -> files.Row:
    """Metrics under the names of today, also those that an older version wrote: its ``signal`` was the share of groups whose
    rewards differ, ``frac_reward_zero_std`` is the share of the others."""
    found = {_RENAMED.get(name, name): value for name, value in metrics.items() if name != "signal"}
    return found | ({"frac_reward_zero_std": 1 - metrics["signal"]} if "signal" in metrics else {})
