"""The four configurations: each frozen dataclass is a script's command line and the record of its run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import path_of
from finetune.settings import config_file, mlx_lm, profiles, yaml_file
from finetune.settings.fields import Given, Layer, flag, flags_of, option
from finetune.settings.method_flags import DpoKnobs, GrpoKnobs, OrpoKnobs
from finetune.settings.modes import METHOD_MODES, MODES, of_other_method

_SEEDS = 2**31  # what every generator of random numbers takes
QUICK_ROWS = 10


@dataclass(frozen=True)
class FileConfig:
    """What the four have in common: a file that holds settings, and one to keep them in."""

    config: Path | None = option(
        None,
        "YAML file with values for these flags, flat or in sections for all four scripts",
        in_file=False,
        group="settings in a file",
    )
    save_config: Path | None = option(None, "write the values in force to this YAML file", in_file=False)
    origins: dict[str, str] = field(default_factory=dict)  # field -> where its value comes from


@dataclass(frozen=True)
class DatasetConfig(FileConfig):
    type: str = option("sql", "kind of task", choices="row_kinds", group="which rows")
    list: bool = option(False, "show the kinds of task, their default rows and fields, then stop", in_file=False)
    dataset_name: str | None = option(
        None,
        "a file, folder or glob (.jsonl .json .csv .parquet), a Hub dataset, or builtin"
        " (default: the type's own on the Hub, else builtin)",
    )
    revision: str | None = option(None, "branch, tag or commit of the Hub dataset")
    column: str | None = option(None, "names of the fields where they differ: sql=query,sql_prompt=question")
    sample_size: int = option(2000, "rows to keep, over all splits", at_least=3, at_most=10_000_000)
    seed: int = option(42, "draws the rows and the splits", at_least=0, at_most=_SEEDS)
    output_dir: Path = option(Path("data"), "folder for train.jsonl, valid.jsonl, test.jsonl")
    valid_fraction: float = option(0.05, "share of the rows for validation", at_least=0, at_most=0.5, group="splits")
    test_fraction: float = option(0.05, "share of the rows for the final test", at_least=0, at_most=0.5)
    split_by: str | None = option(None, "field whose values are never in two splits")
    keep_splits: bool = option(False, "divide as the source does, by file name or on the Hub")
    check_answers: bool = option(True, "run each row's SQL, and leave out what does not run", group="checks")
    strict: bool = option(False, "refuse what would be handled by rule")
    fix: bool = option(False, "leave out rows that cannot be trained on, and keep them in rejected.jsonl")
    show: int = option(0, "rows to show as the model will see them, learned tokens in colour", at_least=0)
    model: str | None = option(None, "check the rows with the tokenizer of this model as well")
    template: str = option(
        "model", "chat template: model (its own), gemma, chatml, llama, llama2, alpaca, mistral or a Jinja file"
    )
    max_seq_length: int = option(1024, "longest row, in tokens of that model", at_least=8)
    from_adapter: Path | None = option(
        None,
        "with --type preference: answers drawn from the model with the adapters of this folder",
        group="pairs from the model itself",
    )
    data_dir: Path | None = option(None, "folder with the rows to answer (default: those of its training)")
    answers: int = option(8, "answers drawn to each prompt", at_least=2, at_most=1024)
    max_tokens: int = option(128, "longest drawn answer, in tokens", at_least=1)
    temperature: float = option(1.0, "of the drawn answers", at_least=0.01, at_most=10)
    reference_chosen: bool = option(False, "where no drawn answer is right, take the row's own as the better one")


@dataclass(frozen=True)
class TrainingConfig(DpoKnobs, OrpoKnobs, GrpoKnobs, FileConfig):
    """The defaults are the standard mode; ``MODES`` holds what the other two change."""

    quick_test: bool = option(
        False, "quick mode: 100 iterations of batch 2, to see that everything works", group="mode"
    )
    conservative: bool = option(False, "conservative mode: 800 iterations, low learning rate, dropout, early stopping")
    profile: str | None = option(
        None, "settings that suit a kind of task and the size of the model", choices="profiles"
    )
    data_dir: Path = option(Path("data"), "folder that dataset.py wrote", group="rows")
    dataset_type: str | None = option(None, "kind of task (default: as dataset.py recorded)", choices="tasks")
    max_seq_length: int = option(1024, "longest row, in tokens; longer ones are left out and counted", at_least=8)
    model: str | None = option(
        None,
        "Hub name, model folder, .gguf file or builtin (default: google/gemma-3-270m-it, else builtin)",
        group="model",
    )
    template: str = option(
        "model", "chat template: model (its own), gemma, chatml, llama, llama2, alpaca, mistral or a Jinja file"
    )
    method: str = option("sft", "training method", choices="methods", group="training")
    from_adapter: Path | None = option(None, "go on from the adapters of this folder, instead of from the base model")
    backend: str = option("auto", "what computes (auto: the fastest that is installed here)", choices="backends")
    iters: int = option(2000, "optimizer steps", at_least=1)
    epochs: float | None = option(None, "passes over the training rows, instead of --iters", above=0, at_most=1e6)
    batch_size: int = option(4, "rows per batch", at_least=1)
    grad_accumulation: int = option(1, "batches per step, each weighing as much as its tokens", at_least=1)
    learning_rate: float = option(2e-4, "peak learning rate", at_least=1e-12, at_most=1)
    schedule: str = option("cosine", "learning rate after the warm-up", choices="schedules")
    warmup: int = option(10, "steps of linear warm-up", at_least=0)
    optimizer: str = option("adamw", "what turns gradients into steps", choices="optimizers")
    weight_decay: float = option(0.01, "weight decay, where the optimizer knows it", at_least=0, at_most=1)
    max_grad_norm: float = option(1.0, "clip the global gradient norm to this", above=0, at_most=1e6)
    grad_checkpoint: bool = option(
        False, "compute each block twice instead of keeping its insides: less memory, slower"
    )
    patience: int | None = option(None, "stop after this many validations without a better loss", at_least=1)
    seed: int = option(42, "draws the order of the rows and the first LoRA weights", at_least=0, at_most=_SEEDS)
    fine_tune_type: str = option(
        "lora", "what is trained: LoRA, DoRA, or the layers whole", choices="fine_tune_types", group="LoRA"
    )
    lora_rank: int = option(16, "rank of the LoRA matrices", at_least=1, at_most=65536)
    lora_scale: float = option(2.0, "factor of the LoRA update", above=0, at_most=1e5)
    lora_alpha: float | None = option(
        None, "alpha, instead of --lora-scale: the factor is alpha / rank", above=0, at_most=1e5
    )
    rslora: bool = option(False, "the factor falls with the root of the rank: alpha / sqrt(rank)")
    lora_dropout: float = option(0.0, "dropout in front of the LoRA matrices", at_least=0, at_most=0.9)
    lora_layers: int | None = option(None, "adapt only the last N layers (default: all)", at_least=1)
    lora_modules: str = option("all", "linear layers to adapt, such as q_proj,v_proj")
    adapter_path: Path = option(
        Path("checkpoints"), "folder for the adapters and the record of the run", group="what is kept and shown"
    )
    resume: bool = option(False, "go on with the run in --adapter-path, exactly where it stopped", in_file=False)
    steps_per_report: int = option(10, "steps between two reports", at_least=1)
    steps_per_eval: int = option(100, "steps between two validations", at_least=1)
    steps_per_save: int = option(50, "steps between two states that --resume can go on from", at_least=1)
    eval_samples: int = option(0, "validation rows whose answers are scored at each validation", at_least=0)
    show_samples: int = option(1, "answers to validation rows shown at each validation", at_least=0)
    report_to: str | None = option(None, "send the metrics to this tool as well", choices="reporters")
    dry_run: bool = option(
        False, "say what the run would be: every value and its origin, work, memory, time; then stop", in_file=False
    )
    probe: bool = option(
        False, "with --dry-run: measure on the whole model instead of some of its layers", in_file=False
    )
    validate: bool = option(False, "check settings and rows, without a model, then stop", in_file=False)
    export_mlx_lm: Path | None = option(
        None, "write these settings as a file for mlx_lm.lora -c, then stop", in_file=False
    )

    @property
    def lora_factor(self) -> float:
        """What the LoRA update is multiplied with; rsLoRA (arXiv 2312.03732) divides alpha by the root of the rank."""
        alpha = self.lora_scale * self.lora_rank if self.lora_alpha is None else self.lora_alpha
        return alpha / (math.sqrt(self.lora_rank) if self.rslora else self.lora_rank)


@dataclass(frozen=True)
class EvaluationConfig(FileConfig):
    adapter_path: Path = option(Path("checkpoints"), "folder that train.py wrote", group="what is judged")
    against: Path | None = option(None, "judge against the adapters of this folder instead of the base model")
    quick_test: bool = option(False, f"score {QUICK_ROWS} rows, builtin ones where there are no others")
    max_tokens: int = option(160, "longest answer, in tokens", at_least=1)
    general: bool = option(True, "ask general questions too, to see what the tuned model has forgotten")
    data_dir: Path | None = option(None, "folder with the rows (default: as train.py recorded)", group="rows")
    use_validation: bool = option(False, "score the validation rows instead of the test rows")
    num_samples: int | None = option(None, "score a seeded draw of N rows (default: all)", at_least=1)
    seed: int = option(42, "draws the rows", at_least=0, at_most=_SEEDS)
    interactive: bool = option(False, "chat with the tuned model", group="chat")
    show_base: bool = option(False, "in the chat, answer with the base model too")
    results_dir: Path = option(Path("results"), "folder for evaluation.json", group="results")
    resume: bool = option(False, "go on with an evaluation that was interrupted", in_file=False)


@dataclass(frozen=True)
class BenchmarkConfig(FileConfig):
    adapter_path: Path = option(Path("checkpoints"), "folder that train.py wrote", group="what is measured")
    compare: bool = option(False, "measure the base model too, and judge tuned against it")
    against: Path | None = option(None, "judge against the adapters of this folder instead of the base model")
    quick: bool = option(False, "few rows and few repeats, to see that everything works")
    runs: int = option(6, "repeats of each speed measurement", at_least=1, at_most=1000)
    max_tokens: int = option(160, "longest answer, in tokens", at_least=1)
    data_dir: Path | None = option(None, "folder with the rows (default: as train.py recorded)", group="rows")
    use_validation: bool = option(False, "measure on the validation rows instead of the test rows")
    num_samples: int | None = option(None, "rows for the quality measurement (default: all test rows)", at_least=1)
    seed: int = option(42, "draws the rows", at_least=0, at_most=_SEEDS)
    results_dir: Path = option(
        Path("results"), "folder for benchmark.json, benchmark.csv and report.html", group="results"
    )
    resume: bool = option(False, "keep the answers of a benchmark that was interrupted", in_file=False)
    history: bool = option(False, "compare with earlier benchmarks in --results-dir")
    json: bool = option(False, "print the result as JSON and nothing else")


FINE_TUNE_TYPES = ("lora", "dora", "full")


SECTIONS: dict[str, type[FileConfig]] = {
    "dataset": DatasetConfig,
    "train": TrainingConfig,
    "test": EvaluationConfig,
    "benchmark": BenchmarkConfig,
}
EXCLUSIVE = (  # of each pair one value can count
    ("quick_test", "conservative"),
    ("epochs", "iters"),
    ("lora_alpha", "lora_scale"),
    ("compare", "against"),
)


def file_layers(config_class: type[FileConfig], explicit: Mapping[str, Any]) -> list[Layer]:
    """What stands between the flags and the defaults: the YAML file of ``--config``, which may be mlx-lm's for train.py."""
    layers: list[Layer] = []
    if "config" in explicit:
        path = path_of(explicit["config"], "--config")
        document = yaml_file.read(path)
        if config_class is TrainingConfig and mlx_lm.recognised(document):
            layers += mlx_lm.layers(path, document, explicit)
        else:
            own = next(name for name, of_section in SECTIONS.items() if of_section is config_class)
            layers.append((str(path), config_file.values(path, document, own, SECTIONS)))
    return _given_way(explicit, layers)


def training_layers(explicit: Mapping[str, Any]) -> list[Layer]:
    """The same for train.py, strongest first: the YAML file, then the mode."""
    layers = file_layers(TrainingConfig, explicit)
    given = [("flag", explicit), *layers]
    profile = strongest(given, "profile")
    if isinstance(profile, str) and profile in profiles.PROFILES:
        size, values = profiles.read(profile, strongest(given, "model"))
        layers.append((f"{profile} profile, {size}", values))
    layers.append(_mode(given))
    return _given_way(explicit, layers)


def strongest(layers: Sequence[Layer], name: str) -> Any:
    """The value of the strongest layer that has one; None where none has."""
    return next((_plain(layer[name]) for _, layer in layers if name in layer), None)


def _mode(layers: Sequence[Layer]) -> Layer:
    """What the mode changes that these layers ask for; none asked for is the standard mode."""
    chosen = {name: _plain(value) for _, layer in reversed(layers) for name, value in layer.items()}
    mode = "quick" if chosen.get("quick_test") else "conservative" if chosen.get("conservative") else "standard"
    method = chosen.get("method")
    of_method = METHOD_MODES[method][mode] if isinstance(method, str) and method in METHOD_MODES else {}
    return f"{mode} mode" + (f", {method}" if of_method else ""), {**MODES[mode], **of_method}


def _given_way(explicit: Mapping[str, Any], layers: Sequence[Layer]) -> list[Layer]:
    """``layers`` without the values whose counterpart in ``EXCLUSIVE`` stands in a stronger layer."""
    gone: set[str] = set()
    result: list[Layer] = []
    for origin, layer in [("flag", explicit), *layers]:
        result.append((origin, {name: value for name, value in layer.items() if name not in gone}))
        for pair in EXCLUSIVE:
            for one, other in (pair, pair[::-1]):
                if _plain(result[-1][1].get(one)) not in (None, False):
                    gone.add(other)
    return result[1:]


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Given) else value


def describe(config: TrainingConfig, idle: Mapping[str, str] | None = None) -> str:
    """Every setting and where it came from, a line each, but for those of other methods; ``-`` for none, ``yes`` and ``no`` as
    in a file.

    ``idle`` says of the settings without effect what makes them so.
    """
    words = {None: "-", True: "yes", False: "no"}
    rows = []
    for setting in flags_of(type(config)):
        name, value = setting.name, getattr(config, setting.name)
        if setting.metadata["in_file"] and not of_other_method(name, config.method):
            said = words[value] if value is None or isinstance(value, bool) else str(value)
            why = f" (no effect {idle[name]})" if idle and name in idle else ""
            rows.append((flag(name), said, config.origins[name] + why))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows)
