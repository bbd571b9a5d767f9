"""The four configurations: each frozen dataclass is a script's command line and the record of its run."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from finetune.settings.fields import option, switch
from finetune.settings.method_flags import DpoFlags, GrpoFlags, OrpoFlags
from finetune.settings.scorer_flags import ScorerFlags

_SEEDS = 2**31  # what every generator of random numbers takes
QUICK_ROWS = 10
FINE_TUNE_TYPES = ("lora", "dora", "full")
SAME_PROMPTS = ("keep", "first", "refuse")
LABELS_IN_PROMPT = ("auto", "yes", "no")
CLASSIFY_SPLITS = {"valid_fraction": 0.1, "test_fraction": 0.2}  # large enough to say something of each label
_TEMPLATE = "chat template: model (the model's own), gemma, chatml, llama, llama2, alpaca, mistral or a Jinja file"
_LONGEST_ANSWER = "longest answer, in tokens"
_RESTRICT = "also let the models answer with a label only, and say how sure they are, or by the JSON schema only"
_RUN_FOLDER = "folder that train.py wrote"
_ROWS_FOLDER = "folder with the rows (default: the folder recorded by train.py)"
_AGAINST = "compare with the adapters in this folder instead of the base model"


@dataclass(frozen=True)
class FileConfig:
    """What the four have in common: a file that holds settings, and one to keep them in."""

    config: Path | None = option(
        None,
        "YAML file with values for these flags, flat or with a section for each of the four scripts",
        in_file=False,
        group="settings in a file",
    )
    save_config: Path | None = option(None, "write all settings of this run to a YAML file for --config", in_file=False)
    origins: dict[str, str] = field(default_factory=dict)  # field -> where its value comes from


@dataclass(frozen=True)
class DatasetConfig(FileConfig):
    type_: str = option("sql", "kind of rows", choices="row_kinds", group="rows")
    list_: bool = switch("list the kinds of rows with their default source and fields, then exit", in_file=False)
    dataset_name: str | tuple[str, ...] | None = option(
        None,
        "source of the rows: a file, folder or glob (.jsonl .json .csv .tsv .parquet .arrow, also .gz .zst .zip;"
        " with --type text .txt .md), a Hub dataset, or builtin; give the flag again for further sources, each"
        " [TYPE:]NAME[=WEIGHT], WEIGHT a number or a share such as 20%% (default: the Hub dataset of --type, or builtin if the"
        " Hub cannot be reached)",
        several=True,
    )
    revision: str | None = option(None, "branch, tag or commit of the Hub dataset")
    subset: str | None = option(None, "configuration of the Hub dataset, if it has several")
    split: str | None = option(None, "splits of the Hub dataset to read: train_sft,test_sft (default: train)")
    column: str | None = option(
        None, "field names that differ from the expected ones: sql=query,sql_prompt=question", commas=True
    )
    ignore: str | None = option(
        None, "fields that are meant not to be used, which are not reported or refused: id,source", commas=True
    )
    system: str | None = option(
        None, "system message of rows that have none: the text itself, or a file that holds it; other rows keep theirs"
    )
    learn: str = option(
        "all", "turns of the assistant that are learned: all, the last one, or those with weight 1", choices="learn"
    )
    thinking: str | None = option(
        None,
        "what the assistant thought before an answer (reasoning_content, <think>): learn it, keep it as context, or drop it"
        " (default: learn)",
        choices="thinking",
    )
    dialect: str | None = option(
        None,
        "SQL dialect of rows that do not name theirs: sqlite (the default), postgres, mysql, tsql, duckdb, bigquery,"
        " snowflake, oracle or spark",
    )
    schema: Path | None = option(
        None,
        "of --type sql the tables: a .sql file in their dialect, or a database of SQLite; of --type extract the JSON schema",
    )
    fields: str | None = option(
        None, "with --type extract: the columns that make the object, in its order: sku,quantity,total", commas=True
    )
    multi_label: bool = switch("with --type classify: rows can have several labels, in a list or as a|b")
    labels_in_prompt: str = option(
        "auto",
        "with --type classify: name the labels in the system message of every row (auto: if the list is short)",
        choices="labels_in_prompt",
    )
    sample_size: int | None = option(
        None, "number of rows to keep, all splits together (default: all rows; of the builtin rows 2000)", at_least=3
    )
    same_prompt: str | None = option(
        None,
        "several answers to one prompt: keep all, in one split; keep the first; or refuse (default: keep; of riscv rows the"
        " first, which accepts the others; of classify rows none)",
        choices="same_prompts",
    )
    seed: int = option(42, "random seed for sampling and splitting rows", at_least=0, at_most=_SEEDS)
    output_dir: Path = option(Path("data"), "folder for train.jsonl, valid.jsonl and test.jsonl")
    valid_fraction: float = option(
        0.05,
        "fraction of the rows for validation, 0 to 0.5 (with --type classify 0.1)",
        at_least=0,
        at_most=0.5,
        group="splits",
    )
    test_fraction: float = option(
        0.05, "fraction of the rows for the test split, 0 to 0.5 (with --type classify 0.2)", at_least=0, at_most=0.5
    )
    split_by: str | None = option(None, "keep rows with the same value of this field in one split")
    keep_splits: bool = switch("keep the splits of the source: its file names, or its splits on the Hub")
    check_answers: bool = switch("run the SQL of each row and skip rows whose SQL fails", default=True, group="checks")
    strict: bool = switch("fail instead of dropping or repairing rows")
    fix: bool = switch("skip unusable rows and write them to rejected.jsonl")
    show: int = option(0, "number of rows to print as the model sees them, learned tokens in colour", at_least=0)
    model: str | None = option(
        None, "also check the rows with the tokenizer of this model; with --type text: cut documents for it"
    )
    template: str = option("model", _TEMPLATE)
    max_seq_length: int = option(1024, "longest row, or piece of a document, in tokens of that model", at_least=8)
    overlap: int | None = option(
        None,
        "with --type text: tokens that a piece of a document repeats of the one before, as context outside the loss"
        " (default: a sixteenth of --max-seq-length)",
        at_least=0,
    )
    from_adapter: Path | None = option(
        None,
        "with --type preference: build the pairs from answers sampled from the model with the adapters in this folder",
        group="pairs from the model's own answers",
    )
    data_dir: Path | None = option(
        None, "folder with the rows whose prompts are answered (default: the rows the adapters were trained on)"
    )
    answers: int = option(8, "answers sampled per prompt", at_least=2, at_most=1024)
    max_tokens: int = option(128, "longest sampled answer, in tokens", at_least=1)
    temperature: float = option(1.0, "sampling temperature", at_least=0.01, at_most=10)
    reference_chosen: bool = switch("use the row's own answer as chosen if no sampled answer is correct")

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The sources that were given."""
        names = self.dataset_name
        return () if names is None else (names,) if isinstance(names, str) else names


@dataclass(frozen=True)
class TrainingConfig(DpoFlags, OrpoFlags, GrpoFlags, ScorerFlags, FileConfig):
    """The defaults are the standard mode; ``MODES`` holds what the other two change."""

    quick_test: bool = switch("quick mode: 100 steps with batch size 2, to check that everything works", group="mode")
    conservative: bool = switch("conservative mode: 800 steps, low learning rate, dropout, early stopping")
    profile: str | None = option(
        None, "preset for a kind of task, adapted to the size of the model", choices="profiles"
    )
    data_dir: Path = option(Path("data"), "folder that dataset.py wrote", group="rows")
    dataset_type: str | None = option(None, "kind of task (default: as recorded by dataset.py)", choices="tasks")
    max_seq_length: int = option(1024, "longest row, in tokens; longer rows are skipped and counted", at_least=8)
    model: str | None = option(
        None,
        "base model: Hub name, folder, .gguf file, or builtin (default: google/gemma-3-270m-it, or builtin if the Hub"
        " cannot be reached)",
        group="model",
    )
    template: str = option("model", _TEMPLATE)
    method: str = option("sft", "training method", choices="methods", group="training")
    from_adapter: Path | None = option(
        None, "continue from the adapters in this folder, in a new run, instead of starting from the base model"
    )
    backend: str = option("auto", "compute backend (auto: the fastest one installed)", choices="backends")
    iters: int = option(2000, "optimizer steps", at_least=1)
    epochs: float | None = option(None, "epochs, instead of --iters", above=0, at_most=1e6)
    batch_size: int = option(4, "batch size, in rows", at_least=1)
    grad_accumulation: int = option(1, "gradient accumulation: batches per optimizer step", at_least=1)
    learning_rate: float = option(2e-4, "peak learning rate", at_least=1e-12, at_most=1)
    schedule: str = option("cosine", "learning rate schedule after warmup", choices="schedules")
    warmup: int = option(10, "steps of linear learning rate warmup", at_least=0)
    optimizer: str = option("adamw", "optimizer", choices="optimizers")
    weight_decay: float = option(0.01, "weight decay, for optimizers that have it", at_least=0, at_most=1)
    max_grad_norm: float = option(1.0, "maximum gradient norm (clipping)", above=0, at_most=1e6)
    grad_checkpoint: bool = switch(
        "gradient checkpointing: recompute activations in the backward pass (less memory, slower)"
    )
    patience: int | None = option(
        None, "early stopping: stop after this many validations without improvement (default: never)", at_least=1
    )
    seed: int = option(42, "random seed for the order of rows and the initial adapters", at_least=0, at_most=_SEEDS)
    fine_tune_type: str = option(
        "lora",
        "what to train: LoRA adapters, DoRA adapters, or all weights (full)",
        choices="fine_tune_types",
        group="LoRA",
    )
    lora_rank: int = option(16, "LoRA rank", at_least=1, at_most=65536)
    lora_scale: float = option(2.0, "LoRA scale, alpha / rank: multiplies the adapter's output", above=0, at_most=1e5)
    lora_alpha: float | None = option(
        None, "LoRA alpha, instead of --lora-scale: the scale is then alpha / rank", above=0, at_most=1e5
    )
    rslora: bool = switch("rank-stabilised LoRA: the scale is alpha / sqrt(rank)")
    lora_dropout: float = option(0.0, "dropout on the input of the adapters, 0 to 0.9", at_least=0, at_most=0.9)
    lora_layers: int | None = option(None, "adapt only the last N layers (default: all)", at_least=1)
    lora_modules: str = option(
        "all", "modules to adapt: all, or names and patterns such as q_proj,self_attn.*,layers.8-15.mlp", commas=True
    )
    train_embeddings: bool = switch("also train the embeddings and the output head", group="embeddings and tokens")
    add_tokens: Path | None = option(None, "file of new tokens, one per line (<order>), whose embeddings are trained")
    adapter_path: Path = option(
        Path("checkpoints"), "folder for the adapters and the record of the run", group="output"
    )
    resume: bool = switch("resume the run in --adapter-path from its last training state", in_file=False)
    steps_per_report: int = option(10, "steps between two reports of the loss", at_least=1)
    steps_per_eval: int = option(100, "steps between two validations", at_least=1)
    steps_per_save: int = option(50, "steps between two saved training states (for --resume)", at_least=1)
    eval_samples: int = option(0, "validation rows to answer and score at each validation", at_least=0)
    show_samples: int = option(1, "validation rows whose answers are printed at each validation", at_least=0)
    report_to: str | None = option(None, "also send the metrics to this tool", choices="reporters")
    dry_run: bool = switch(
        "show the plan, then exit: every setting and its source, steps, memory estimate, time", in_file=False
    )
    probe: bool = switch("with --dry-run: measure on the whole model instead of a few of its layers", in_file=False)
    validate: bool = switch("check settings and rows without loading a model, then exit", in_file=False)
    export_mlx_lm: Path | None = option(
        None, "write these settings as a config file for mlx_lm.lora -c, then exit", in_file=False
    )

    @property
    def lora_factor(self) -> float:
        """The LoRA scale in force; rsLoRA (arXiv 2312.03732) divides alpha by the square root of the rank."""
        alpha = self.lora_scale * self.lora_rank if self.lora_alpha is None else self.lora_alpha
        return alpha / (math.sqrt(self.lora_rank) if self.rslora else self.lora_rank)


@dataclass(frozen=True)
class EvaluationConfig(ScorerFlags, FileConfig):
    adapter_path: Path = option(Path("checkpoints"), _RUN_FOLDER, group="models")
    against: Path | None = option(None, _AGAINST)
    quick_test: bool = switch(f"score only {QUICK_ROWS} rows (builtin rows if there are no others)")
    max_tokens: int = option(160, _LONGEST_ANSWER, at_least=1)
    base_prompt: Path | None = option(
        None, "text file with a system message for the base model alone, so that it knows what is asked of it"
    )
    few_shot: int | None = option(
        None, "training rows that the base model alone is shown as earlier turns", at_least=1, at_most=64
    )
    general: bool = switch("also ask general questions, to measure what the tuned model has forgotten", default=True)
    restrict: bool = switch(_RESTRICT)
    data_dir: Path | None = option(None, _ROWS_FOLDER, group="rows")
    use_validation: bool = switch("score the validation rows instead of the test rows")
    num_samples: int | None = option(None, "score a random sample of N rows (default: all)", at_least=1)
    seed: int = option(42, "random seed for sampling rows", at_least=0, at_most=_SEEDS)
    interactive: bool = switch("chat with the tuned model", group="chat")
    show_base: bool = switch("in the chat, show the base model's answer too")
    blind: int | None = option(
        None,
        "judge N rows of a finished evaluation yourself: choose between two answers without knowing which model wrote which",
        at_least=1,
        in_file=False,
        group="your own judgement",
    )
    results_dir: Path = option(Path("results"), "folder for evaluation.json", group="output")
    show: Path | None = option(
        None, "print a finished evaluation again: evaluation.json or benchmark.json", in_file=False
    )
    resume: bool = switch("resume an interrupted evaluation", in_file=False)


@dataclass(frozen=True)
class BenchmarkConfig(ScorerFlags, FileConfig):
    adapter_path: Path = option(Path("checkpoints"), _RUN_FOLDER, group="models")
    compare: bool = switch("measure the base model too, and compare the tuned model with it")
    against: Path | None = option(None, _AGAINST)
    quick: bool = switch("use few rows and few repeats, to check that everything works")
    runs: int = option(6, "repeats of each speed measurement", at_least=1, at_most=1000)
    max_tokens: int = option(160, _LONGEST_ANSWER, at_least=1)
    restrict: bool = switch(_RESTRICT)
    data_dir: Path | None = option(None, _ROWS_FOLDER, group="rows")
    use_validation: bool = switch("use the validation rows instead of the test rows")
    num_samples: int | None = option(None, "rows for the quality measurement (default: all test rows)", at_least=1)
    seed: int = option(42, "random seed for sampling rows", at_least=0, at_most=_SEEDS)
    results_dir: Path = option(
        Path("results"), "folder for benchmark.json, benchmark.csv and report.html", group="output"
    )
    resume: bool = switch("resume an interrupted benchmark; its answers are kept", in_file=False)
    history: bool = switch("compare with earlier benchmarks in --results-dir")
    json: bool = switch("print only the result, as JSON")


SECTIONS: dict[str, type[FileConfig]] = {
    "dataset": DatasetConfig,
    "train": TrainingConfig,
    "test": EvaluationConfig,
    "benchmark": BenchmarkConfig,
}
