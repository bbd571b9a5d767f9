"""YAML files of settings: what is read, what is refused, and by which line."""

from pathlib import Path

import pytest

import bad_input_table
from finetune.errors import UserError
from finetune.scripts import prepare
from finetune.settings.config import SECTIONS, FileConfig, TrainingConfig
from finetune.settings.conflicts import check_validation, check_warmup, without_effect
from finetune.settings.fields import flags_of


def configured(script: str, *argv: object) -> FileConfig:
    """The configuration that a script would start with."""
    config = bad_input_table.configured(script, *argv)
    prepare(config)
    return config


@pytest.fixture
def refusal(tmp_path: Path):
    def of(content: str | bytes, script: str = "train", *flags: str) -> str:
        path = tmp_path / "run.yml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(UserError) as caught:
            configured(script, "--config", path, *flags)
        assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and len(str(caught.value)) < 400
        return str(caught.value).replace(str(path), "run.yml")

    return of


def test_values_are_what_they_would_be_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("learning-rate: 1e-5\nbatch_size: 8\nrslora: yes\nmodel: 123\nepochs: ~\ndata_dir: ~/rows\n")
    config = configured("train", "--config", path)
    assert (config.learning_rate, config.batch_size, config.rslora, config.model) == (1e-5, 8, True, "123")
    assert config.epochs is None and config.data_dir == Path.home() / "rows"
    assert config.origins["batch_size"] == str(path)


def test_each_script_takes_its_section(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("dataset: {type: chat, seed: 1}\ntrain:\n  iters: 7\ntest_finetuned: {max_tokens: 9}\nbenchmark:\n")
    assert configured("dataset", "--config", path).type_ == "chat"
    assert configured("train", "--config", path).iters == 7
    assert configured("test", "--config", path).max_tokens == 9
    assert configured("benchmark", "--config", path).max_tokens == 160


@pytest.mark.parametrize(
    "content, message",
    [
        (
            "seed: 1\nruns: 3",
            "run.yml:2: 'runs' is a setting of another script (for several scripts in one file: sections",
        ),
        ("\n\nlearning_rat: 1e-5", "run.yml:3: unknown key 'learning_rat' (did you mean learning_rate?)"),
        ("seed: 1\nbatch_size: many", "run.yml:2: batch_size: 'many' is not a whole number"),
        ("batch_size: 0", "run.yml:1: batch_size: 0 is too small (at least 1)"),
        ("schedule: slow", "run.yml:1: schedule: unknown value 'slow' (choose from constant, linear, cosine)"),
        ("iters: 010", "run.yml:1: iters: '010' is not a whole number"),
        ("iters: [1, 2]", "run.yml:1: iters: a list is not a whole number"),
        ("iters: null", "run.yml:1: iters: null is not a whole number"),
        ("rslora: 1", "run.yml:1: rslora: '1' is not true or false"),
        ("seed: 1\nlora-rank: 4\nlora_rank: 8", "run.yml:3: 'lora_rank' is given twice (first on line 2)"),
        ("model: !!python/name:os.system", "run.yml:1: unsupported YAML tag !!python/name:os.system (only"),
        ("model: !!python/object/apply:os.system ['id']", "run.yml:1: unsupported YAML tag"),
        ("train:\n\tseed: 1", "run.yml:2: a tab in the indentation (YAML is indented with spaces)"),
        ("seed: [1", "run.yml:1: cannot be read as YAML: "),
        ("seed: 1\n---\nseed: 2", "run.yml:2: cannot be read as YAML: "),
        ("", "run.yml: the file is empty"),
        ("# nothing\n", "run.yml: the file is empty"),
        ("- seed\n", "run.yml:1: not a mapping"),
        ("seed", "run.yml:1: not a mapping"),
        ("? [a]\n: 1", "run.yml:1: a setting's name must be text"),
        (b"seed: 1\xff", "run.yml: not UTF-8 text"),
        (b"seed: 1\0", "run.yml: cannot be read as YAML: "),
        ("# " + "x" * (1 << 20), "run.yml: larger than 1 MB"),
        ("a: " + "[" * 400_000, "run.yml:1: nested too deeply"),
        ("a: [" + "1," * 400_000 + "]", "run.yml:1: more than 10000 values"),
        ("config: other.yml", "run.yml:1: 'config' cannot stand in a file (give --config on the command line)"),
        ("train: {seed: 1,\n resume: true}", "run.yml:2: 'resume' cannot stand in a file (give --resume on the"),
        ("trian:\n  seed: 1", "run.yml:1: unknown key 'trian' (did you mean train?)"),
        ("train: {seed: 1}\nbenchmark: {rons: 2}", "run.yml:2: unknown key 'rons' (did you mean runs?)"),
        ("train: {seed: 1}\nbenchmark: {runs: x}", "run.yml:2: runs: 'x' is not a whole number"),
        ("train: {seed: 1}\nseed: 2", "run.yml:2: 'seed' stands beside sections"),
        ("dataset: {seed: 1}", "run.yml: no section 'train' (found: dataset)"),
        ("train: {seed: 1}\ntest: {}\ntest_finetuned: {}", "run.yml:2: the section test is given twice"),
        ("train: 5", "train: not a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(refusal, content: str | bytes, message: str) -> None:
    assert message in refusal(content)


def test_aliases_that_explode_are_harmless(refusal) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "not a file of settings" in refusal("\n".join(lines))
    assert "nested too deeply" in refusal("a: &a [*a]")


def test_a_flag_beats_its_counterpart_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("epochs: 2\nlora_alpha: 32\nconservative: true\n")
    config = configured("train", "--config", path, "--iters", 5, "--lora-scale", 3, "--quick-test")
    assert (config.epochs, config.iters, config.lora_alpha, config.lora_factor) == (None, 5, None, 3.0)
    assert (config.quick_test, config.conservative, config.origins["steps_per_eval"]) == (True, False, "quick mode")


def test_a_mode_of_the_file_can_be_switched_off(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("quick_test: true\n")
    assert configured("train", "--config", path).iters == 100
    assert configured("train", "--config", path, "--no-quick-test").iters == 2000
    path.write_text("iters: 7\nbatch_size: 3\nsteps_per_eval: 2\n")
    with pytest.raises(UserError, match="--quick-test has no effect with"):
        configured("train", "--config", path, "--quick-test")


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            configured("train", "--config", path)


@pytest.mark.parametrize(
    "script, flags",
    [
        ("train", "--conservative --lora-alpha 24 --rslora --learning-rate 3e-7"),
        ("train", "--quick-test --epochs 2.5 --model no --template on --max-grad-norm 1e5"),
        ("train", "--fine-tune-type full --optimizer adam --lora-layers 2"),
        ("train", "--iters 4"),
        ("dataset", "--type alpaca --no-check-answers --column"),
        ("test", "--interactive --show-base"),
        ("benchmark", "--against other --quick --no-history"),
    ],
)
def test_saved_values_read_back_are_the_same(tmp_path: Path, script: str, flags: str) -> None:
    path = tmp_path / "saved.yml"
    argv = [*flags.split(), *(["a: #\n\x7f\u2028'\"é🦆\\"] if flags.endswith("--column") else [])]
    first = configured(script, *argv, "--save-config", path)
    second = configured(script, "--config", path)
    for field in flags_of(SECTIONS[script]):
        if field.metadata["in_file"] and field.name not in {name for name, _ in without_effect(first)}:
            assert getattr(second, field.name) == getattr(first, field.name), field.name
    assert "# flag\n" in path.read_text() and second.origins["config"] == "flag"


def test_settings_that_cannot_be_saved_end_with_exit_4(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "saved.yml", tmp_path, Path("/")):
        with pytest.raises(UserError) as caught:
            configured("train", "--save-config", path)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "flags",
    ["--profile code", "--profile code --quick-test", "--method grpo --quick-test", "--method dpo --conservative", ""],
)
def test_saved_values_keep_their_origin(tmp_path: Path, flags: str) -> None:
    """What a profile or a mode gave is nobody's choice, in a saved file too: it is never refused as given in vain."""
    path = tmp_path / "saved.yml"
    first = configured("train", "--iters", 300, *flags.split(), "--save-config", path)
    second = configured("train", "--config", path)
    idle = {name for name, _ in without_effect(first)}
    for field in flags_of(TrainingConfig):
        name, was = field.name, first.origins[field.name]
        if field.metadata["in_file"] and name not in idle and getattr(first, name) is not None:
            assert second.origins[name] == (str(path) if was == "flag" else was), name
    if first.method != "grpo":
        check_validation(second, 0)
    check_warmup(second, 3)
    configured("train", "--config", path, "--iters", 60)  # shorter than the patience of the profile or mode
    path.write_text("warmup: 10\nshow_samples: 1\n")  # files of earlier versions held every value, defaults too
    configured("train", "--config", path, "--iters", 12)
    check_validation(configured("train", "--config", path), 0)
    given = configured("train", "--patience", 2, "--profile", "code", "--save-config", path)
    with pytest.raises(UserError, match=r"patience in .*saved\.yml has no effect without validation rows"):
        check_validation(configured("train", "--config", path), 0)
    assert given.patience == 2
