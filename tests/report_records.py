"""Records as the stages make them, of two scripted models and given repeats; and the same with an attack in every text."""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finetune.backends.interface import Answer
from finetune.benchmark import history
from finetune.benchmark.measure import Measured
from finetune.benchmark.speed import latency, ratios, repeats
from finetune.evaluation import general
from finetune.evaluation.compare import Comparison, compare
from finetune.models.conversation import Conversation, as_conversation
from finetune.models.loss_mask import Example
from finetune.records.benchmark import BenchmarkRecord, Memory, PromptLength
from finetune.records.classes import Confidence
from finetune.records.dataset import DatasetRecord, Source
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.records.machine import Machine
from finetune.records.run import Data, Model, Result, RunRecord
from finetune.tasks import TASKS, Score
from finetune.tasks.classify import table

HASH = "5e" * 32
TOKEN = "hf_" + "aB3" * 11
MACHINE = Machine("Linux x86_64, 2 cores", "3.11.7", {"mlx": "0.32.4"}, chip="a chip", memory_gb=8.3)
RATES = ("prompt", "decode", "batch_1", "batch_4", "batch_16")
ROWS: list[Row] = [
    {
        "messages": [
            {"role": "user", "content": f"Schema:\nQuestion: question {number}"},
            {"role": "assistant", "content": f"SELECT b{number} FROM t"},
        ],
        "sql_prompt": f"question {number}",
    }
    for number in range(5)
]
# what each model does with the rows: of the five each has another outcome
KINDS = {
    "base": ("wrong_rows", "ok", "wrong_rows", "ok", "unscorable"),
    "tuned": ("ok", "wrong_rows", "wrong_rows", "ok", "unscorable"),
}


class Encoder:
    """A token for each word."""

    template, context_length, new_tokens = "", None, None

    def prompt(self, conversation: Conversation) -> list[int]:
        return list(range(len(" ".join(message["content"] for message in conversation.messages).split())))

    def example(self, conversation: Conversation) -> Example:
        prompt, whole = len(self.prompt(conversation.prompt)), len(self.prompt(conversation))
        return Example(list(range(whole)), [at >= prompt for at in range(whole)])

    def examples(self, conversations: Any) -> list[Example]:
        return [[self.example(messages)] for messages in conversations]


@dataclass
class Scripted:
    """A model that answers row n with ``kinds[n]``, and every general question with its index or the right word."""

    kinds: Sequence[str]
    knows: int  # general questions, from the first on
    loss: float  # of each token
    base: "Scripted | None" = None
    encoder: Any = field(default_factory=Encoder)
    changes_nothing: bool = False
    answering: str = "together"

    def without_adapter(self) -> "Scripted":
        assert self.base
        return self.base

    def answers(
        self, conversations: Sequence[Any], on_answer: Callable[[int, Answer], None], **options: Any
    ) -> list[Answer]:
        known = {question.text: question.accepted[0] for question in general.QUESTIONS[: self.knows]}
        found = []
        for index, messages in enumerate(conversations):
            asked = as_conversation(messages).messages[-1]["content"]
            row = [i for i, row in enumerate(ROWS) if row["messages"][0]["content"] == asked]
            text = f"{self.kinds[row[0]]}: SELECT a\nFROM t" if row else known.get(asked, "nothing at all")
            found.append(Answer(text, 9, True, 1.5))
            on_answer(index, found[-1])
        return found

    def losses(self, examples: Sequence[Example], on_batch: Callable[[int], None]) -> list[float]:
        return [self.loss * sum(example.loss_mask) for example in examples]


def score(row: Row, answer: str) -> Score:
    kind = answer.partition(":")[0]
    return Score({"ok": 1.0, "unscorable": None}.get(kind, 0.0), kind, "4 rows, expected 3", {"ROUGE-L": 0.5})


def comparison(folder: Path, **options: Any) -> Comparison:
    """Of two scripted models on ``ROWS``, with the files that it needs in ``folder``."""
    (folder / "adapters.safetensors").write_text("weights")
    (folder / "adapter_config.json").write_text("{}")
    base = Scripted(KINDS["base"], knows=73, loss=1.5)
    run: Any = SimpleNamespace(
        adapter_path=folder,
        data_dir=Path("data"),
        task=replace(TASKS["sql"], open_scorer=lambda stop: nullcontext(score)),
        encoder=base.encoder,
        backend=SimpleNamespace(FORMAT=SimpleNamespace(file="adapters.safetensors")),
        record=SimpleNamespace(model=SimpleNamespace(name="builtin", fingerprint=HASH)),
        load=lambda: Scripted(KINDS["tuned"], knows=66, loss=0.5, base=base),
    )
    given = {"run": run, "rows": ROWS, "split": "test", "max_tokens": 8, "log": folder / "answers.jsonl"}
    return Comparison(**given | options)


@cache
def evaluation(**options: Any) -> EvaluationRecord:
    with tempfile.TemporaryDirectory() as folder:
        made = compare(comparison(Path(folder), **options))
    return replace(made, adapter_path="checkpoints")


def values(factor: float) -> dict[str, list[float]]:
    """Six repeats of each measure, from 2 % below to 2 % above."""
    steps = [0.98, 0.99, 1.0, 1.0, 1.01, 1.02]
    rates = {f"{name}_tokens_per_second": [50 * factor * step for step in steps] for name in RATES}
    return {"first_token_ms": [50 / factor * step for step in reversed(steps)], **rates}


def measured(sides: Mapping[str, float]) -> Measured:
    """Speeds of sides that are so many times as fast as the base model."""
    found = {name: values(factor) for name, factor in sides.items()}
    times = latency([400.0 + 50 * number for number in range(20)])
    stages = ("start", "load", "prompt", "decode", "batch of 16", "freed", "training step")
    # the third repeat and the fourth of the base model are not quite those of the others
    base = {
        key: [one * step for one, step in zip(of, (1.02, 1, 1, 1, 1, 0.98), strict=True)]
        for key, of in values(1.0).items()
    }
    return Measured(
        load_seconds=1.25,
        speed={name: {key: repeats(of) for key, of in side.items()} for name, side in found.items()},
        ratios={name: ratios(side, base) for name, side in found.items() if name != "base" and "base" in sides},
        latency_ms={name: times for name in sides if name != "fused"},
        lengths=[PromptLength(128 * n, 90.0 * n, 9.5 * n) for n in (1, 2, 4)],
        memory_mb={stage: Memory(540.0, 640.0, 10.0, 900.0 + number) for number, stage in enumerate(stages)},
    )


def benchmark(created: str = "2026-11-20T12:00:00+0000", **changes: Any) -> BenchmarkRecord:
    """A benchmark that knows of no earlier one."""
    made = BenchmarkRecord(
        created=created,
        machine=MACHINE,
        device="MLX on the CPU",
        model="builtin",
        adapter_path="checkpoints",
        runs=6,
        quality=evaluation(),
        **vars(measured({"base": 1.0, "tuned": 0.9, "fused": 1.0})),
    )
    return replace(made, **changes)


def with_value(record: BenchmarkRecord, index: int, value: float | None) -> BenchmarkRecord:
    """The benchmark with another score of the tuned model's answer to a row."""
    row = record.quality.rows[index]
    rows = [*record.quality.rows]
    rows[index] = replace(row, tuned=replace(row.tuned, value=value))
    return replace(record, quality=replace(record.quality, rows=rows))


def scaled(record: BenchmarkRecord, side: str, measure: str, factor: float) -> BenchmarkRecord:
    """The benchmark with a speed that is ``factor`` times as high."""
    at = record.speed[side][measure]
    changed = repeats([factor * at.min, factor * at.median, factor * at.max])
    return replace(record, speed={**record.speed, side: {**record.speed[side], measure: changed}})


@cache
def records() -> dict[str, Any]:
    """The arguments of ``render``, with a history of three benchmarks: decoding has become slower since the last."""
    last = with_value(
        scaled(benchmark("2026-11-19T12:00:00+0000"), "tuned", "decode_tokens_per_second", 1 / 0.9), 0, 0.0
    )
    other = replace(evaluation(), rows=evaluation().rows[:4])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for earlier in (benchmark("2026-11-18T12:00:00+0000", quality=other), last):
            earlier.write(folder / "benchmark.json")
            history.keep(folder)
        (folder / "history" / "benchmark-0.json").write_text("{}")
        now = replace(benchmark(), history=history.since(folder, benchmark()))
    run = RunRecord(
        config={"lora_rank": 16, "patience": None},
        origins={"lora_rank": "flag", "patience": "default"},
        task="sql",
        model=Model("builtin", "builtin", HASH, "/models", HASH),
        template_sha256=HASH,
        data=Data("data", Source("builtin"), {"train.jsonl": HASH}),
        machine=MACHINE,
        device="MLX on the CPU",
        command="python train.py --lora-rank 16",
        started="2026-11-20T11:00:00+0000",
        result=Result(800, 20, 0.41, seconds=240.1, trainable_parameters=4884480, stopped_early=True),
    )
    metrics = [
        {"step": 10, "loss": 1.2, "peak_memory_mb": 2100.0},
        {"step": 20, "loss": 0.9, "peak_memory_mb": 2150.0},
        {"step": 20, "valid_loss": 0.95, "best": True},
        {"step": 30, "valid_loss": 0.99, "best": False},
    ]
    dataset = DatasetRecord(
        type="sql",
        source=Source("a/repository", revision="abc"),
        seed=42,
        split_rule="no domain is in two splits",
        rows_read=2003,
        kept=2000,
        rows={"train": 1800, "valid": 100, "test": 100},
        files={"train.jsonl": HASH},
        dropped={"duplicate prompt": 3},
        mended={"blank answer": 2},
        first_places={"duplicate prompt": ("rows.jsonl:7",)},
    )
    return {"benchmark": now, "run": run, "metrics": metrics, "dataset": dataset}


def of_quality(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same records with other values in the evaluation."""
    made: BenchmarkRecord = given["benchmark"]
    return given | {"benchmark": replace(made, quality=replace(made.quality, **changes))}


def labelled(count: int, *, several: bool = False) -> dict[str, Any]:
    """The records of an evaluation of rows with so many labels: one is never right, one became worse, some are invented."""
    ends = [*ENDS, *map(str, range(count))]
    labels = [f"{NOUNS[n % len(NOUNS)]} {ends[n // len(NOUNS)]}".strip() for n in range(count)]
    draw = random.Random(count)
    wanted = [n for n in range(count) for _ in range(6 + 40 // (n + 1))]
    tuned = [draw.randrange(count) if draw.random() < 0.2 or n == 3 else n for n in wanted]
    base = [n if draw.random() < 0.2 or n == 5 else draw.randrange(count) for n in wanted]
    said = {"base": [labels[n] if n % 4 else "I think so" for n in base], "tuned": [labels[n] for n in tuned]}
    said["tuned"] = [
        labels[6] if of == 5 else "Other" if of == at == 3 else text
        for of, at, text in zip(wanted, tuned, said["tuned"], strict=True)
    ]
    expected = [[labels[n]] for n in wanted]
    named = {side: [[text] for text in of] for side, of in said.items()}
    made = table.classes(labels, expected, named, multi=several)
    sure = Confidence(1.7, 58, 0.121, 0.034, 0.83, 0.87, 0.961)
    made = replace(made, restricted={"base": 0.21, "tuned": 0.9}, confidence=sure)
    return of_quality(records(), task="classify", metric="right labels", classes=made)


NOUNS = (
    "Address",
    "App crash",
    "Billing",
    "Damaged item",
    "Data privacy",
    "Feature",
    "Late delivery",
    "Login",
    "Praise",
    "Refund",
)
ENDS = ("", "of a friend", "abroad", "in the shop", "by post", "again")
FREE_KEYS = ("kinds", "unscored", "versions", "config", "origins", "dropped", "files", "differences", "parts")
FREE_KEYS += ("mended", "first_places", "labels", "invented")
OURS = ("better", "worse", "no evidence", "test", "default", "loss per token")  # words that the page decides by


def spoilt(value: Any, attack: str, *, free: bool = False) -> Any:
    """The records with the attack in every text, and in every key that is not ours."""
    if isinstance(value, str):
        return value if value in OURS else attack + value
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: spoilt(item, attack, free=name in FREE_KEYS) for name, item in named.items()})
    if isinstance(value, Mapping):
        return {spoilt(key, attack) if free else key: spoilt(item, attack) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoilt(item, attack) for item in value)
    return value


def attacked(attack: str) -> dict[str, Any]:
    return {name: spoilt(record, attack) if name != "metrics" else record for name, record in records().items()}
