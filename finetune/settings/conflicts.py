"""What was given and could have no effect, or contradicts itself: refused in a line, before any work.

Only values that somebody gave, by a flag or in a file, are refused; of modes and defaults nobody expects more than they do.
"""

from collections.abc import Iterator
from typing import Any

from finetune.errors import UserError
from finetune.settings.config import (
    EXCLUSIVE,
    BenchmarkConfig,
    DatasetConfig,
    EvaluationConfig,
    FileConfig,
    TrainingConfig,
)
from finetune.settings.fields import flag, flags_of
from finetune.settings.modes import MODES, of_other_method

Idle = tuple[str, str]  # a field, and what makes it do nothing: "with --fine-tune-type full"

QUICK_RUNS = 2  # repeats of each speed measurement of benchmark.py --quick, at most


def check(config: FileConfig) -> None:
    """UserError for the first value that was given in vain."""
    for one, other in EXCLUSIVE:
        if config.origins.get(one) == config.origins.get(other) and _counts(config, one) and _counts(config, other):
            raise UserError(f"{named(config, one)} and {named(config, other)} exclude each other (give one)")
    for name, why in without_effect(config):
        if _counts(config, name):
            remedy = "leave one out" if why.startswith("with ") else "leave it out"
            raise UserError(f"{named(config, name)} has no effect {why} ({remedy})")
    if isinstance(config, DatasetConfig) and config.valid_fraction + config.test_fraction >= 1:
        raise UserError(
            "--valid-fraction and --test-fraction leave no rows to train on (let them be less than 1 together)"
        )
    if isinstance(config, TrainingConfig) and config.epochs is None:
        check_warmup(config, config.iters)


def check_warmup(config: TrainingConfig, steps: int) -> None:
    """UserError where a warm-up that was given would be cut: it takes half of the run at most."""
    if _chosen(config, "warmup") and config.warmup > steps // 2:
        raise UserError(
            f"{named(config, 'warmup')}: {config.warmup} steps are more than half of the {steps} steps of the run"
        )


def check_validation(config: TrainingConfig, rows: int) -> None:
    """UserError where something was asked of a validation that has no rows."""
    if not rows and config.method == "grpo":
        raise UserError("--method grpo: needs validation rows, to see what the model becomes (python dataset.py)")
    for name in ("patience", "eval_samples", "show_samples"):
        if not rows and getattr(config, name) and _chosen(config, name):
            raise UserError(f"{named(config, name)} has no effect without validation rows (leave it out)")


def given(config: FileConfig, name: str) -> bool:
    """Whether a flag or the file says it."""
    return config.origins.get(name) in ("flag", str(config.config), f"{config.config} (mlx-lm)")


def _chosen(config: TrainingConfig, name: str) -> bool:
    """The same, but for what a saved file holds without anybody having said it: the values of defaults and modes."""
    mode = MODES["quick" if config.quick_test else "conservative" if config.conservative else "standard"]
    unsaid = mode.get(name, getattr(TrainingConfig, name))
    return given(config, name) and (config.origins[name] == "flag" or getattr(config, name) != unsaid)


def named(config: FileConfig, name: str) -> str:
    """How the person who gave a value knows it: "--warmup", "--no-general", "warmup in run.yml"."""
    if given(config, name) and config.origins[name] != "flag":
        return f"{name} in {config.config}"
    return flag(f"no_{name}" if getattr(config, name) is False else name)


def without_effect(config: FileConfig) -> Iterator[Idle]:
    """Every field that does nothing with the other values as they are, whether it was given or not."""
    if isinstance(config, DatasetConfig):
        yield from _dataset(config)
    elif isinstance(config, TrainingConfig):
        yield from _training(config)
    elif isinstance(config, EvaluationConfig):
        yield from _evaluation(config)
    elif isinstance(config, BenchmarkConfig):
        yield from _benchmark(config)


_OF_DRAWN_PAIRS = ("data_dir", "answers", "max_tokens", "temperature", "reference_chosen")
_OF_SOURCES = (
    *("dataset_name", "revision", "column", "valid_fraction", "test_fraction", "split_by", "keep_splits"),
    *("check_answers", "strict", "fix", "show", "model", "template", "max_seq_length"),
)


def _dataset(config: DatasetConfig) -> Iterator[Idle]:
    if config.type != "preference":
        yield "from_adapter", f"with --type {config.type}"
    if config.from_adapter is None:
        yield from ((name, "without --from-adapter") for name in _OF_DRAWN_PAIRS)
    else:
        yield from ((name, "with --from-adapter") for name in _OF_SOURCES)
    if config.list:
        yield from ((field.name, "with --list") for field in flags_of(DatasetConfig) if field.name != "list")
    if config.model is None and not config.show:
        for name in ("template", "max_seq_length"):
            yield name, "without --model or --show"


def _training(config: TrainingConfig) -> Iterator[Idle]:
    for name, mode in (("quick_test", "quick"), ("conservative", "conservative")):
        in_file = all(config.origins.get(value) == str(config.config) for value in MODES[mode])
        if getattr(config, name) and config.origins.get(name) == "flag" and in_file:
            yield name, f"with {config.config}, which gives all that it would"
    if config.fine_tune_type == "full":
        for name in ("lora_rank", "lora_scale", "lora_alpha", "rslora", "lora_dropout", "lora_modules"):
            yield name, "with --fine-tune-type full"
    for field in flags_of(TrainingConfig):
        if of_other_method(field.name, config.method):
            yield field.name, f"with --method {config.method}"
    if config.method != "sft":
        yield "export_mlx_lm", f"with --method {config.method}, which mlx_lm.lora has not"
    elif config.from_adapter:
        yield "export_mlx_lm", "with --from-adapter"
    if config.dpo_loss == "ipo":
        yield "dpo_length_normalised", "with --dpo-loss ipo, which always does"
    if config.grpo_reward is None:
        for name in ("grpo_reward_weight", "grpo_reward_seconds"):
            yield name, "without --grpo-reward"
    if config.epochs is not None:
        yield "iters", "with --epochs"
    if config.lora_alpha is not None:
        yield "lora_scale", "with --lora-alpha"
    if config.optimizer == "adam":
        yield "weight_decay", "with --optimizer adam"
    if config.patience and config.epochs is None and (config.patience + 1) * config.steps_per_eval >= config.iters:
        yield (
            "patience",
            f"with --iters {config.iters} and --steps-per-eval {config.steps_per_eval}: the run ends before",
        )
    if config.dry_run:
        yield "export_mlx_lm", "with --dry-run"
    else:
        yield "probe", "without --dry-run"
    if config.validate:
        yield "dry_run", "with --validate"
        yield "export_mlx_lm", "with --validate"


def _evaluation(config: EvaluationConfig) -> Iterator[Idle]:
    if config.interactive:
        names = "against data_dir use_validation num_samples quick_test general resume seed results_dir".split()
        yield from ((name, "with --interactive") for name in names)
        return
    yield "show_base", "without --interactive"
    if config.quick_test:
        yield "general", "with --quick-test"


def _benchmark(config: BenchmarkConfig) -> Iterator[Idle]:
    if config.quick and config.runs > QUICK_RUNS:
        yield "runs", f"with --quick, which takes {QUICK_RUNS} at most"


def _counts(config: FileConfig, name: str) -> bool:
    """Whether a value was given to have an effect: --no-fix has none and promises none."""
    value: Any = getattr(config, name, None)
    if isinstance(value, bool) and name != "general":
        return given(config, name) and value is not type(config).__dataclass_fields__[name].default
    return given(config, name) and value is not None
