"""The four configurations: each frozen dataclass is a script's command line and the record of its run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from finetune.cli import Layer, UserError, first_line, flag, option

_SEEDS = 2**31  # what every generator of random numbers takes
QUICK_ROWS = 10


@dataclass(frozen=True)
class DatasetConfig:
    type: str = option("sql", "kind of task", choices="tasks")
    list: bool = option(False, "show the kinds of task, their default rows and fields, then stop")
    dataset_name: str | None = option(
        None,
        "a file, folder or glob (.jsonl .json .csv .parquet), a Hub dataset, or builtin"
        " (default: the type's own on the Hub, else builtin)",
    )
    revision: str | None = option(None, "branch, tag or commit of the Hub dataset")
    column: str | None = option(None, "names of the fields where they differ: sql=query,sql_prompt=question")
    sample_size: int = option(2000, "rows to keep, over all splits", at_least=3)
    output_dir: Path = option(Path("data"), "folder for train.jsonl, valid.jsonl, test.jsonl")
    valid_fraction: float = option(0.05, "share of the rows for validation", at_least=0, at_most=0.5)
    test_fraction: float = option(0.05, "share of the rows for the final test", at_least=0, at_most=0.5)
    split_by: str | None = option(None, "field whose values are never in two splits")
    keep_splits: bool = option(False, "divide as the source does, by file name or on the Hub")
    check_answers: bool = option(True, "run each row's SQL, and leave out what does not run")
    model: str | None = option(None, "check the rows with the tokenizer of this model as well")
    template: str = option(
        "model", "chat template: model (its own), gemma, chatml, llama, llama2, alpaca, mistral or a Jinja file"
    )
    max_seq_length: int = option(1024, "longest row, in tokens of that model", at_least=8)
    show: int = option(0, "rows to show as the model will see them, learned tokens in colour", at_least=0)
    strict: bool = option(False, "refuse what would be handled by rule")
    fix: bool = option(False, "leave out rows that cannot be trained on, and keep them in rejected.jsonl")
    seed: int = option(42, "draws the rows and the splits", at_least=0, at_most=_SEEDS)


@dataclass(frozen=True)
class TrainingConfig:
    """The defaults are the standard mode; ``MODES`` holds what the other two change."""

    quick_test: bool = option(False, "quick mode: 100 iterations of batch 2, to see that everything works")
    conservative: bool = option(False, "conservative mode: 800 iterations, low learning rate, dropout, early stopping")
    data_dir: Path = option(Path("data"), "folder that dataset.py wrote")
    dataset_type: str | None = option(None, "kind of task (default: as dataset.py recorded)", choices="tasks")
    model: str | None = option(
        None, "Hub name, model folder, .gguf file or builtin (default: google/gemma-3-270m-it, else builtin)"
    )
    template: str = option(
        "model", "chat template: model (its own), gemma, chatml, llama, llama2, alpaca, mistral or a Jinja file"
    )
    adapter_path: Path = option(Path("checkpoints"), "folder for the adapters and the record of the run")
    method: str = option("sft", "training method", choices="methods")
    backend: str = option("mlx", "what computes", choices="backends")
    iters: int = option(2000, "optimizer steps", at_least=1)
    epochs: float | None = option(None, "passes over the training rows, instead of --iters", above=0)
    batch_size: int = option(4, "rows per batch", at_least=1)
    grad_accumulation: int = option(1, "batches per step, each weighing as much as its tokens", at_least=1)
    learning_rate: float = option(2e-4, "peak learning rate", above=0, at_most=1)
    schedule: str = option("cosine", "learning rate after the warm-up", choices="schedules")
    warmup: int = option(10, "steps of linear warm-up", at_least=0)
    optimizer: str = option("adamw", "what turns gradients into steps", choices="optimizers")
    weight_decay: float = option(0.01, "weight decay, where the optimizer knows it", at_least=0)
    max_grad_norm: float = option(1.0, "clip the global gradient norm to this", above=0)
    lora_rank: int = option(16, "rank of the LoRA matrices", at_least=1)
    lora_scale: float = option(2.0, "factor of the LoRA update", above=0)
    lora_alpha: float | None = option(None, "alpha, instead of --lora-scale: the factor is alpha / rank", above=0)
    rslora: bool = option(False, "the factor falls with the root of the rank: alpha / sqrt(rank)")
    lora_dropout: float = option(0.0, "dropout in front of the LoRA matrices", at_least=0, at_most=0.9)
    lora_layers: int | None = option(None, "adapt only the last N layers (default: all)", at_least=1)
    lora_modules: str = option("all", "linear layers to adapt, such as q_proj,v_proj")
    fine_tune_type: str = option("lora", "what is trained: LoRA, DoRA, or the layers whole", choices="fine_tune_types")
    grad_checkpoint: bool = option(
        False, "compute each block twice instead of keeping its insides: less memory, slower"
    )
    max_seq_length: int = option(1024, "longest row, in tokens; longer ones are left out and counted", at_least=8)
    steps_per_report: int = option(10, "steps between two reports", at_least=1)
    steps_per_eval: int = option(100, "steps between two validations", at_least=1)
    eval_samples: int = option(0, "validation rows whose answers are scored at each validation", at_least=0)
    show_samples: int = option(1, "answers to validation rows shown at each validation", at_least=0)
    steps_per_save: int = option(50, "steps between two states that --resume can go on from", at_least=1)
    resume: bool = option(False, "go on with the run in --adapter-path, exactly where it stopped")
    report_to: str | None = option(None, "send the metrics to this tool as well", choices="reporters")
    patience: int | None = option(None, "stop after this many validations without a better loss", at_least=1)
    seed: int = option(42, "draws the order of the rows and the first LoRA weights", at_least=0, at_most=_SEEDS)
    dry_run: bool = option(False, "print every value and where it comes from, then stop")
    config: Path | None = option(None, "YAML file with values for these flags")
    origins: dict[str, str] = field(default_factory=dict)  # flag -> where its value comes from

    @property
    def lora_factor(self) -> float:
        """What the LoRA update is multiplied with; rsLoRA (arXiv 2312.03732) divides alpha by the root of the rank."""
        alpha = self.lora_scale * self.lora_rank if self.lora_alpha is None else self.lora_alpha
        return alpha / (math.sqrt(self.lora_rank) if self.rslora else self.lora_rank)


@dataclass(frozen=True)
class EvaluationConfig:
    adapter_path: Path = option(Path("checkpoints"), "folder that train.py wrote")
    data_dir: Path | None = option(None, "folder with the rows (default: as train.py recorded)")
    use_validation: bool = option(False, "score the validation rows instead of the test rows")
    num_samples: int | None = option(None, "score a seeded draw of N rows (default: all)", at_least=1)
    quick_test: bool = option(False, f"score {QUICK_ROWS} rows, builtin ones where there are no others")
    max_tokens: int = option(160, "longest answer, in tokens", at_least=1)
    general: bool = option(True, "ask general questions too, to see what the tuned model has forgotten")
    resume: bool = option(False, "go on with an evaluation that was interrupted")
    seed: int = option(42, "draws the rows", at_least=0, at_most=_SEEDS)
    interactive: bool = option(False, "chat with the tuned model")
    show_base: bool = option(False, "in the chat, answer with the base model too")
    results_dir: Path = option(Path("results"), "folder for evaluation.json")


@dataclass(frozen=True)
class BenchmarkConfig:
    adapter_path: Path = option(Path("checkpoints"), "folder that train.py wrote")
    data_dir: Path | None = option(None, "folder with the rows (default: as train.py recorded)")
    compare: bool = option(False, "measure the base model too, and judge tuned against it")
    against: Path | None = option(None, "judge against the adapters of this folder instead of the base model")
    use_validation: bool = option(False, "measure on the validation rows instead of the test rows")
    num_samples: int | None = option(None, "rows for the quality measurement (default: all test rows)", at_least=1)
    quick: bool = option(False, "few rows and few repeats, to see that everything works")
    runs: int = option(6, "repeats of each speed measurement", at_least=1, at_most=1000)
    max_tokens: int = option(160, "longest answer, in tokens", at_least=1)
    resume: bool = option(False, "keep the answers of a benchmark that was interrupted")
    history: bool = option(False, "compare with earlier benchmarks in --results-dir")
    json: bool = option(False, "print the result as JSON and nothing else")
    seed: int = option(42, "draws the rows", at_least=0, at_most=_SEEDS)
    results_dir: Path = option(Path("results"), "folder for benchmark.json, benchmark.csv and report.html")


FINE_TUNE_TYPES = ("lora", "dora", "full")

MODES: dict[str, dict[str, Any]] = {
    "quick": {"iters": 100, "batch_size": 2, "steps_per_eval": 50},
    "standard": {},
    "conservative": {"iters": 800, "learning_rate": 5e-5, "lora_dropout": 0.05, "patience": 3},
}


def training_layers(explicit: Mapping[str, Any]) -> list[Layer]:
    """What stands between the flags and the defaults of train.py: the YAML file, then the mode."""
    from_file: Mapping[str, Any] = {}
    layers: list[Layer] = []
    if path := explicit.get("config"):
        from_file = read_yaml(Path(path), TrainingConfig)
        if "iters" in explicit:  # the flag decides how long, whatever the file says of epochs
            from_file = {name: value for name, value in from_file.items() if name != "epochs"}
        layers.append((str(path), from_file))
    chosen = {**from_file, **explicit}
    if chosen.get("quick_test") and chosen.get("conservative"):
        raise UserError("--quick-test and --conservative exclude each other (give one)")
    for one, other in (("epochs", "iters"), ("lora_alpha", "lora_scale")):
        if any(one in layer and other in layer for layer in (explicit, from_file)):
            raise UserError(f"{flag(one)} and {flag(other)} exclude each other (give one)")
    mode = "quick" if chosen.get("quick_test") else "conservative" if chosen.get("conservative") else "standard"
    return [*layers, (f"{mode} mode", MODES[mode])]


def read_yaml(path: Path, config_class: type) -> Mapping[str, Any]:
    """The values of a YAML file whose keys are the fields of ``config_class``; an unknown key is an error."""
    import difflib

    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {first_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a mapping of flag names to values")
    known = [item.name for item in fields(config_class) if "help" in item.metadata and item.name != "config"]
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            raise UserError(f"{path}: unknown key {key!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""))
    return values


def describe(config: TrainingConfig) -> str:
    """Every value and where it came from, a line each."""
    rows = [(flag(name), str(getattr(config, name)), origin) for name, origin in config.origins.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows)
