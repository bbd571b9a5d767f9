"""Numbers that are none, and values that were given in vain."""

import sys
from pathlib import Path

import pytest

from bad_input_table import BAD, answer, configured, numeric_flags
from finetune.errors import UserError
from finetune.scripts import prepare
from finetune.settings.fields import flag
from scripts import run


@pytest.mark.parametrize("script, field", list(numeric_flags()), ids=lambda part: getattr(part, "name", part))
def test_every_numeric_flag_refuses_what_is_no_number_for_it(script: str, field) -> None:
    zero = field.metadata["at_least"] == 0 and field.metadata["above"] is None
    for value in BAD:
        said = answer(script, flag(field.name), value)
        if value == "0" and zero:
            assert said is None
        else:
            assert said and said.startswith(f"{flag(field.name)}: ") and "\n" not in said and len(said) < 150


@pytest.mark.scripts
@pytest.mark.parametrize("script", ["dataset", "train", "test_finetuned", "benchmark"])
def test_a_bad_number_ends_the_script_at_once_and_writes_nothing(tmp_path: Path, script: str) -> None:
    for value in ("", "9" * 5000):
        done = run(tmp_path, f"{script}.py", "--seed", value, code=2)
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: --seed: ")
    assert not list(tmp_path.iterdir())


IN_VAIN = [
    ("train", "--quick-test --conservative", "--quick-test and --conservative cannot be used together (give one)"),
    ("train", "--iters 5 --epochs 1", "--epochs and --iters cannot be used together (give one)"),
    ("train", "--lora-alpha 5 --lora-scale 1", "--lora-alpha and --lora-scale cannot be used together (give one)"),
    ("train", "--lora-rank 4 --fine-tune-type full", "--lora-rank has no effect with --fine-tune-type full"),
    ("train", "--rslora --fine-tune-type full", "--rslora has no effect with --fine-tune-type full"),
    ("train", "--optimizer adam --weight-decay 0.1", "--weight-decay has no effect with --optimizer adam"),
    ("train", "--warmup 30 --iters 20", "--warmup: 30 steps are more than half of the 20 steps"),
    ("train", "--patience 2 --iters 300", "--patience has no effect with --iters 300 and --steps-per-eval 100"),
    ("train", "--patience 1 --steps-per-eval 500 --iters 400", "--patience has no effect with --iters 400"),
    ("train", "--dry-run --export-mlx-lm a.yml", "--export-mlx-lm has no effect with --dry-run (omit one of the two)"),
    ("dataset", "--valid-fraction 0.5 --test-fraction 0.5", "--valid-fraction and --test-fraction leave no rows"),
    ("dataset", "--max-seq-length 99", "--max-seq-length has no effect without --model or --show (omit it)"),
    ("dataset", "--strict --fix", "--strict and --fix cannot be used together (give one)"),
    ("dataset", "--list --seed 1", "--seed has no effect with --list (omit one of the two)"),
    ("test", "--show-base", "--show-base has no effect without --interactive (omit it)"),
    ("test", "--interactive --num-samples 3", "--num-samples has no effect with --interactive (omit one of the two)"),
    ("test", "--interactive --no-general", "--no-general has no effect with --interactive (omit one of the two)"),
    ("test", "--quick-test --general", "--general has no effect with --quick-test (omit one of the two)"),
    ("benchmark", "--compare --against other", "--compare and --against cannot be used together (give one)"),
    ("benchmark", "--quick --runs 9", "--runs has no effect with --quick, which takes 2 at most"),
]


@pytest.mark.parametrize("script, flags, message", IN_VAIN, ids=lambda part: str(part))
def test_what_is_given_in_vain_is_refused(tmp_path: Path, script: str, flags: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(configured(script, *flags.split()))
    assert str(caught.value).startswith(message) and caught.value.exit_code == 2
    assert ";" not in str(caught.value)  # nothing is said twice
    # the same in a file, but for flags that belong on the command line
    if "--list" in flags or "--dry-run" in flags:
        return
    path = tmp_path / "run.yml"
    lines = []
    for part in flags.split("--")[1:]:
        name, _, value = part.strip().partition(" ")
        lines.append(f"{name.removeprefix('no-')}: {value or str(not name.startswith('no-')).lower()}")
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        prepare(configured(script, "--config", path))
    assert "run.yml" in str(caught.value) or "leave no rows" in message


@pytest.mark.parametrize(
    "script, flags",
    [
        ("train", "--conservative --iters 100"),  # the patience of a mode was promised to nobody
        ("train", "--iters 6"),  # nor the warm-up of the standard mode
        ("train", "--fine-tune-type full --no-rslora"),
        ("train", "--lora-alpha 32 --rslora"),
        ("test", "--quick-test --seed 3"),
        ("benchmark", "--quick --runs 1 --seed 3"),
    ],
)
def test_what_has_an_effect_is_taken(script: str, flags: str) -> None:
    prepare(configured(script, *flags.split()))


def write_record(folder: Path, config: dict[str, object]) -> None:
    """A run.json of train.py with these settings and nothing else of use."""
    from finetune.records import files

    files.write_json(
        folder / files.RUN_RECORD,
        {
            "format": 2,
            "config": config,
            "origins": dict.fromkeys(config, "default"),
            "task": "sql",
            "model": {"name": "builtin", "source": "builtin", "revision": None, "path": "/none", "weights": "0"},
            "template": None,
            "template_sha256": "0",
            "data": {"folder": str(folder), "source": {"source": "builtin"}, "files": {}},
            "command": "python train.py",
        },
    )


def test_a_resumed_run_takes_no_other_settings(tmp_path: Path) -> None:
    config = configured("train", "--adapter-path", tmp_path, "--lora-rank", 8)
    write_record(tmp_path, {name: getattr(config, name) for name in config.origins})
    (tmp_path / "run.yml").write_text("lora_rank: 16")
    same = ["--adapter-path", tmp_path, "--resume", "--dry-run"]
    prepare(configured("train", *same, "--lora-rank", 8))
    for flags, words in (
        (["--lora-rank", 4], "--lora-rank was 8, is now 4"),
        (["--quick-test"], "--quick-test was False, is now True"),
        (["--config", tmp_path / "run.yml"], "--lora-rank was 8, is now 16"),
    ):
        with pytest.raises(UserError, match=words):
            prepare(configured("train", *same, *flags))


def test_other_settings_than_those_of_the_run_can_go_on_in_a_new_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = configured("train", "--adapter-path", run)
    write_record(run, {name: getattr(config, name) for name in config.origins} | {"model": "builtin"})
    same = ["--adapter-path", run, "--model", "builtin", "--resume", "--dry-run"]
    remedy = rf"go on with others in a new run: --from-adapter {run} and another --adapter-path"
    with pytest.raises(UserError, match=remedy):
        prepare(configured("train", *same, "--learning-rate", 1e-5))
    prepare(configured("train", "--from-adapter", run, "--adapter-path", tmp_path / "next", "--learning-rate", 1e-5))
    with pytest.raises(UserError, match=r"\(use the original values, or start a new run without --resume\)"):
        prepare(configured("train", *same, "--lora-rank", 4))  # adapters of another shape cannot go on


@pytest.mark.parametrize(
    "flags, rate, origin",
    [
        ("--profile code", 1e-3, "code profile, 135M"),
        ("--profile chat", 3e-4, "chat profile, 135M"),
        ("--profile code --learning-rate 3e-5", 3e-5, "flag"),
    ],
)
def test_a_profile_is_for_the_model_of_the_adapters_to_go_on_from(
    tmp_path: Path, flags: str, rate: float, origin: str
) -> None:
    write_record(tmp_path, {"model": "builtin", "lora_rank": 4, "method": "sft"})
    config = configured("train", "--from-adapter", tmp_path, *flags.split())
    assert (config.learning_rate, config.origins["learning_rate"]) == (rate, origin)
    assert (config.model, config.lora_rank) == ("builtin", 4)  # the adapters decide, not the profile


def test_validate_says_that_the_tool_for_the_metrics_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.records.dataset import DatasetRecord, Source, write_dataset
    from finetune.training import check_only

    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    messages = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "1"}]
    rows = {"train": [{"messages": messages}] * 8, "valid": [{"messages": messages}], "test": []}
    write_dataset(tmp_path, rows, [], DatasetRecord("chat", Source("own"), {}))
    flags = ["--data-dir", tmp_path, "--iters", 4, "--warmup", 1]
    check_only.run(configured("train", *flags))
    with pytest.raises(UserError, match="--report-to wandb: wandb is not installed"):
        check_only.run(configured("train", *flags, "--report-to", "wandb"))


def test_all_contradictions_are_listed_at_once() -> None:
    with pytest.raises(UserError) as caught:
        prepare(configured("train", *"--quick-test --conservative --rslora --fine-tune-type full --probe".split()))
    said = str(caught.value)
    assert said.count("; ") == 2 and "\n" not in said
    for words in ("cannot be used together", "--rslora has no effect with", "--probe has no effect without --dry-run"):
        assert words in said
