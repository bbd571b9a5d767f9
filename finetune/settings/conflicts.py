"""Settings that have no effect or contradict each other: refused before any work, all of them in one message.

Only values that somebody gave, by a flag or in a file, are refused; nobody chose those of defaults, modes and profiles.
"""

from collections.abc import Iterable, Iterator

from finetune.errors import UserError
from finetune.settings.config import BenchmarkConfig, DatasetConfig, EvaluationConfig, FileConfig, TrainingConfig
from finetune.settings.fields import flag, flags_of, key
from finetune.settings.layers import MUTUALLY_EXCLUSIVE
from finetune.settings.modes import MODES, of_other_method

Idle = tuple[str, str]  # a field, and why it has no effect: "with --fine-tune-type full"

QUICK_RUNS = 2  # repeats of each speed measurement of benchmark.py --quick, at most


def check(config: FileConfig) -> None:
    """UserError that lists all values that were given and have no effect, or contradict each other."""
    _refuse(_problems(config))


def _problems(config: FileConfig) -> Iterator[str]:
    refused = set[
        Idle
    ]()  # of a pair that is refused, one value may have no effect with the other: that is said already
    for one, other in MUTUALLY_EXCLUSIVE:
        if config.origins.get(one) == config.origins.get(other) and _counts(config, one) and _counts(config, other):
            yield f"{named(config, one)} and {named(config, other)} cannot be used together (give one)"
            refused |= {(one, f"with {flag(other)}"), (other, f"with {flag(one)}")}
    for name, why in dict(without_effect(config)).items():
        if _counts(config, name) and (name, why) not in refused:
            remedy = "omit one of the two" if why.startswith("with ") else "omit it"
            yield f"{named(config, name)} has no effect {why} ({remedy})"
    if isinstance(config, DatasetConfig) and config.valid_fraction + config.test_fraction >= 1:
        yield "--valid-fraction and --test-fraction leave no rows to train on (their sum must be below 1)"
    if isinstance(config, DatasetConfig) and (config.overlap or 0) > config.max_seq_length // 2:
        yield (
            f"--overlap {config.overlap}: more than half of --max-seq-length {config.max_seq_length}"
            f" (at most {config.max_seq_length // 2})"
        )
    if isinstance(config, TrainingConfig) and config.epochs is None:
        yield from _warmup_problems(config, config.iters)


def _refuse(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise UserError("; ".join(found))


def _chosen(config: TrainingConfig, name: str) -> bool:
    """Whether somebody chose the value: a settings file can also hold defaults, and values of a mode, that were saved."""
    mode = MODES["quick" if config.quick_test else "conservative" if config.conservative else "standard"]
    usual = mode.get(name, getattr(TrainingConfig, name))
    return given(config, name) and (config.origins[name] == "flag" or getattr(config, name) != usual)


def check_warmup(config: TrainingConfig, steps: int) -> None:
    """UserError if a warmup that was given takes more than half of the run's ``steps``: it would be cut."""
    _refuse(_warmup_problems(config, steps))


def _warmup_problems(config: TrainingConfig, steps: int) -> Iterator[str]:
    if _chosen(config, "warmup") and config.warmup > steps // 2:
        yield (
            f"{named(config, 'warmup')}: {config.warmup} steps are more than half of the {steps} steps of the run"
            f" (at most {steps // 2})"
        )


def check_validation(config: TrainingConfig, rows: int) -> None:
    """UserError if something needs validation and there are no validation ``rows``."""
    if rows:
        return
    if config.method == "grpo":
        raise UserError("--method grpo: needs validation rows (python dataset.py with a --valid-fraction above 0)")
    _refuse(
        f"{named(config, name)} has no effect without validation rows (omit it)"
        for name in ("patience", "eval_samples", "show_samples")
        if getattr(config, name) and _chosen(config, name)
    )


def check_text(config: TrainingConfig, *, plain_text: bool) -> None:
    """UserError if answers are to be scored and the rows are plain text, which has none."""
    if plain_text and config.eval_samples and _chosen(config, "eval_samples"):
        raise UserError(
            f"{named(config, 'eval_samples')} has no effect with plain text, which has no answers (omit it)"
        )


def given(config: FileConfig, name: str) -> bool:
    """Whether somebody gave the value, by a flag or in the file."""
    return config.origins.get(name) in ("flag", str(config.config), f"{config.config} (mlx-lm)")


def named(config: FileConfig, name: str) -> str:
    """How the person who gave a value knows it: "--warmup", "--no-general", "warmup in run.yml"."""
    if given(config, name) and config.origins[name] != "flag":
        return f"{key(name)} in {config.config}"
    return flag(f"no_{name}" if getattr(config, name) is False else name)


def without_effect(config: FileConfig) -> Iterator[Idle]:
    """Every field that has no effect with the other values, and why; whether it was given or not."""
    if isinstance(config, DatasetConfig):
        yield from _dataset(config)
    elif isinstance(config, TrainingConfig):
        yield from _training(config)
    elif isinstance(config, EvaluationConfig):
        yield from _evaluation(config)
    elif isinstance(config, BenchmarkConfig):
        yield from _benchmark(config)


_OF_OWN_PAIRS = ("data_dir", "answers", "max_tokens", "temperature", "reference_chosen")
_OF_SOURCES = (
    *(
        "dataset_name",
        "subset",
        "revision",
        "split",
        "column",
        "ignore",
        "system",
        "learn",
        "thinking",
        "dialect",
        "schema",
    ),
    *("same_prompt", "multi_label", "labels_in_prompt", "fields"),
    *("valid_fraction", "test_fraction", "split_by", "keep_splits", "check_answers", "strict", "fix", "show"),
    *("model", "template", "max_seq_length", "overlap"),
)


def _dataset(config: DatasetConfig) -> Iterator[Idle]:
    if config.type_ != "preference":
        yield "from_adapter", f"with --type {config.type_}"
    if config.from_adapter is None:
        yield from ((name, "without --from-adapter") for name in _OF_OWN_PAIRS)
    else:
        yield from ((name, "with --from-adapter") for name in _OF_SOURCES)
    if config.list_:
        yield from ((field.name, "with --list") for field in flags_of(DatasetConfig) if field.name != "list_")
    if config.type_ == "text":
        yield "template", "with --type text, which has no chat template"
    else:
        yield "overlap", f"with --type {config.type_}"
        if config.model is None and not config.show:
            for name in ("template", "max_seq_length"):
                yield name, "without --model or --show"


def _training(config: TrainingConfig) -> Iterator[Idle]:
    for name, mode in (("quick_test", "quick"), ("conservative", "conservative")):
        origins = [config.origins.get(value, "") for value in MODES[mode]]
        in_file = all(origin.startswith(str(config.config)) for origin in origins)
        if getattr(config, name) and config.origins.get(name) == "flag" and config.config and in_file:
            yield name, f"with {config.config}, which sets everything that the mode would"
    if config.fine_tune_type == "full":
        for name in ("lora_rank", "lora_scale", "lora_alpha", "rslora", "lora_dropout", "lora_modules"):
            yield name, "with --fine-tune-type full"
    for field in flags_of(TrainingConfig):
        if of_other_method(field.name, config.method):
            yield field.name, f"with --method {config.method}"
    if config.method != "sft":
        yield "export_mlx_lm", f"with --method {config.method}, which mlx_lm.lora does not have"
    elif config.from_adapter:
        yield "export_mlx_lm", "with --from-adapter"
    elif config.train_embeddings or config.add_tokens:
        what = "--train-embeddings" if config.train_embeddings else "--add-tokens"
        yield "export_mlx_lm", f"with {what}, which mlx_lm.lora does not have"
    if config.from_adapter and not config.resume:
        yield (
            "add_tokens",
            "with --from-adapter: tokens are added when a base model is trained, and its adapters keep theirs",
        )
    if config.dpo_loss == "ipo":
        yield "dpo_length_normalised", "with --dpo-loss ipo, which always normalises"
    if config.scorer is None:
        yield "scorer_seconds", "without --scorer"
    elif config.method != "grpo" and not config.eval_samples:
        yield "scorer", "without --eval-samples or --method grpo"
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
            f"with --iters {config.iters} and --steps-per-eval {config.steps_per_eval}: the run ends before it can stop early",
        )
    if config.dry_run:
        yield "export_mlx_lm", "with --dry-run"
    else:
        yield "probe", "without --dry-run"
    if config.validate:
        yield "dry_run", "with --validate"
        yield "export_mlx_lm", "with --validate"


def _evaluation(config: EvaluationConfig) -> Iterator[Idle]:
    if config.show:
        yield from ((field.name, "with --show") for field in flags_of(EvaluationConfig) if field.name != "show")
        return
    if config.blind is not None:
        used = ("blind", "seed", "results_dir", "config", "save_config")
        yield from ((field.name, "with --blind") for field in flags_of(EvaluationConfig) if field.name not in used)
        return
    if config.interactive:
        names = (
            "against data_dir use_validation num_samples quick_test general restrict resume seed results_dir".split()
        )
        names += ["scorer", "scorer_seconds", "base_prompt", "few_shot"]
        yield from ((name, "with --interactive") for name in names)
        return
    if config.against:
        yield from ((name, "with --against") for name in ("base_prompt", "few_shot"))
    if config.scorer is None:
        yield "scorer_seconds", "without --scorer"
    yield "show_base", "without --interactive"
    if config.quick_test:
        yield "general", "with --quick-test"


def _benchmark(config: BenchmarkConfig) -> Iterator[Idle]:
    if config.scorer is None:
        yield "scorer_seconds", "without --scorer"
    if config.quick and config.runs > QUICK_RUNS:
        yield "runs", f"with --quick, which takes {QUICK_RUNS} at most"


def _counts(config: FileConfig, name: str) -> bool:
    """Whether a value was given that promises an effect: --no-fix promises none."""
    value: object = getattr(config, name, None)
    if isinstance(value, bool) and name != "general":
        return given(config, name) and value is not type(config).__dataclass_fields__[name].default
    return given(config, name) and value is not None
