import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from finetune import scripts
from finetune.errors import Stopped, UserError
from finetune.settings import command_line
from finetune.settings.command_line import parse
from finetune.settings.config import SECTIONS, FileConfig, TrainingConfig
from finetune.settings.fields import build, flag, flags_of, kind_of, option, switch
from finetune.settings.layers import training_layers
from finetune.settings.modes import MODES

COLOURS = {"colours": {"red": 1, "blue": 2}}


@dataclass(frozen=True)
class Config:
    size: int = option(3, "size", at_least=1, at_most=9)
    rate: float = option(0.5, "rate", above=0)
    colour: str = option("red", "colour", choices="colours")
    folder: Path | None = option(None, "folder")
    shuffle: bool = switch("shuffle", default=True)
    origins: dict[str, str] = field(default_factory=dict)


def built(*argv: str) -> Config:
    return build(Config, [("flag", parse(Config, COLOURS, argv, ""))], COLOURS)


def test_flags_become_typed_fields() -> None:
    config = built("--size", "7", "--rate", "1e-3", "--colour", "blue", "--folder", "a b", "--no-shuffle")
    assert (config.size, config.rate, config.colour, config.folder, config.shuffle) == (
        7,
        1e-3,
        "blue",
        Path("a b"),
        False,
    )
    assert config.origins["size"] == "flag"
    assert built().folder is None and built().origins["size"] == "default"


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--size", "seven"], ["--size", "'seven'", "whole number"]),
        (["--size", "2.5"], ["--size", "whole number"]),
        (["--size", "0"], ["--size", "at least 1"]),
        (["--size", "10"], ["--size", "at most 9"]),
        (["--rate", "nan"], ["--rate", "number"]),
        (["--rate", "0"], ["--rate", "more than 0"]),
        (["--colour", "green"], ["--colour", "red, blue"]),
        (["--folder", ""], ["--folder", "empty"]),
        (["--siz", "3"], ["--siz"]),
        (["--size"], ["--size"]),
    ],
)
def test_wrong_values_are_refused_by_flag_name(argv: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        built(*argv)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_flag_beats_yaml_beats_mode_beats_default(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("learning-rate: 1e-5\nbatch_size: 8\nseed: 1\n")
    explicit = {"config": str(path), "conservative": True, "seed": "2"}
    config = build(
        TrainingConfig,
        [("flag", explicit), *training_layers(explicit)],
        {name: {"sft": 0, "mlx": 0, "cosine": 0} for name in ("methods", "backends", "schedules", "tasks")},
    )
    assert (config.seed, config.learning_rate, config.batch_size) == (2, 1e-5, 8)
    assert (config.iters, config.lora_rank) == (MODES["conservative"]["iters"], TrainingConfig.lora_rank)
    origins = [config.origins[name] for name in ("seed", "learning_rate", "iters", "lora_rank")]
    assert origins == ["flag", str(path), "conservative mode", "default"]


def test_unknown_yaml_key_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("learning_rte: 1e-5\n")
    with pytest.raises(UserError, match=r"run.yml:1: unknown key.*learning_rte.*did you mean learning_rate"):
        training_layers({"config": str(path)})


def test_modes_are_as_documented() -> None:
    assert (MODES["quick"]["iters"], MODES["quick"]["batch_size"]) == (100, 2)
    assert (TrainingConfig.iters, TrainingConfig.batch_size) == (2000, 4)
    assert (MODES["conservative"]["iters"], MODES["conservative"]["learning_rate"]) == (800, 5e-5)


def test_a_positional_and_a_required_field() -> None:
    @dataclass(frozen=True)
    class Copy:
        source: Path = option(None, "source", positional=True)
        target: Path = option(None, "target", required=True)

    explicit = parse(Copy, {}, ["a b", "--target", "c"], "")
    assert build(Copy, [("flag", explicit)], {}) == Copy(Path("a b"), Path("c"))
    with pytest.raises(UserError, match="required: SOURCE, --target"):
        parse(Copy, {}, [], "")
    with pytest.raises(UserError, match="SOURCE: the value is empty"):
        build(Copy, [("flag", {**explicit, "source": ""})], {})


@pytest.mark.parametrize("error, code", [(UserError("no"), 2), (UserError("full", 4), 4), (Stopped("saved", 15), 143)])
def test_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config) -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        command_line.run(main, Config, choices=COLOURS, argv=[])
    assert stopped.value.code == code
    assert str(error) in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_the_work(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned: list[int] = []

    def main(config: Config) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(number)

    before = signal.signal(number, signal.SIG_DFL)  # below nohup, SIGHUP is ignored
    try:
        with pytest.raises(SystemExit) as stopped:
            command_line.run(main, Config, choices=COLOURS, argv=[])
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert stopped.value.code == 128 + number and cleaned == [number]
    assert capsys.readouterr().err == "stopped\n"


def test_what_belongs_to_another_user_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config) -> None:
        raise PermissionError(13, "Permission denied", "theirs/state")

    with pytest.raises(SystemExit) as stopped:
        command_line.run(main, Config, choices=COLOURS, argv=[])
    assert stopped.value.code == 2
    said = "error: theirs/state: Permission denied (make it accessible for this user, or use another path)\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "said, remedy",
    [
        ("Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)", "--resume"),
        ("Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)", "let the display sleep"),
        ("[metal::malloc] Resource limit (499000) exceeded.", "use a smaller --batch-size"),
    ],
)
def test_a_gpu_that_the_system_stops_is_one_line(
    said: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: TrainingConfig) -> None:
        raise RuntimeError(f"[METAL] Command buffer execution failed: {said}")

    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        scripts.run(main, TrainingConfig)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("error: the system stopped the GPU: ") and remedy in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cudaMallocAsync(&data, size, stream) failed: out of memory"),
        RuntimeError(
            "CUDA out of memory. Tried to allocate 188.00 MiB. GPU 0 has a total capacity of 139.80 GiB of which ..."
        ),
        RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPU)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: TrainingConfig) -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        scripts.run(main, TrainingConfig)
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.startswith("error: out of memory: ") and "--batch-size" in line
    assert "GPU 0" not in line  # PyTorch goes on for ten lines


def test_other_errors_of_a_library_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(config: TrainingConfig) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(RuntimeError, match="shapes differ"):
        scripts.run(main, TrainingConfig)


@dataclass(frozen=True)
class _Twice(Config):
    names: str | None = option(None, "names", commas=True)
    sources: str | tuple[str, ...] | None = option(None, "sources", several=True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--size 4 --size 5", "--size is given twice: 4, then 5 (give it once)"),
        ("--size=4 --rate 0.1 --size=4", "--size is given twice: 4, then 4 (give it once)"),
        ("--shuffle --no-shuffle", "--shuffle and --no-shuffle contradict each other (give one of them)"),
        ("--no-shuffle --no-shuffle", "--no-shuffle is given twice (give it once)"),
        ("--names a,b --names c", "--names is given twice: a,b, then c (give it once: --names a,b,c)"),
        ("--folder a --folder b", "--folder is given twice: a, then b (give it once)"),
    ],
)
def test_what_is_given_twice_is_refused(argv: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(_Twice, COLOURS, argv.split(), "")
    assert str(refused.value) == said


def test_what_is_said_to_do_about_it_works() -> None:
    argv = "--names a,b,c --sources x --sources y --no-shuffle".split()
    found = {"names": "a,b,c", "sources": ["x", "y"], "shuffle": False}
    assert parse(_Twice, COLOURS, argv, "") == found


@pytest.mark.parametrize("config", [*SECTIONS.values()], ids=[*SECTIONS])
def test_no_flag_of_a_script_can_be_given_twice_without_effect(config: type[FileConfig]) -> None:
    for one in flags_of(config):
        kind = kind_of(config, one)[0]
        if one.metadata["several"]:
            continue
        value = [] if kind is bool else ["1"]
        with pytest.raises(UserError, match="twice"):
            parse(config, {}, [flag(one.name), *value, flag(one.name), *value], "")
