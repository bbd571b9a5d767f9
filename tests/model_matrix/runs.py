"""The product's scripts called in this process, as they call themselves. Imports neither MLX nor PyTorch."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dataset
import test_finetuned
from finetune import scripts
from finetune.records import files
from finetune.settings.config import DatasetConfig, EvaluationConfig
from finetune.settings.fields import build
from model_matrix.cells import Cell, wrong

MAX_TOKENS = 8
STEPS = 3
ASKED = [
    ("Hi", "Yes."),
    ("Is two more than one?", "Yes, two is more."),
    ("What is the capital of France?", "Paris."),
    ("Count from one to nine, then say what the capital of a country is.", "1 2 3 4 5 6 7 8 9. It is a city."),
    ("No?", "No."),
    ("SELECT name FROM t; what does it do? Say it in a few words, please.", "It reads all names."),
    ("Add two and two.", "4"),
    ("Name a city.", "Rome is a city, and it is old."),
]


def configured(config_class: type, **flags: object) -> Any:
    """The configuration of a script with these flags, made as the script itself makes it."""
    explicit = {name: value for name, value in flags.items() if value is not None}
    layers = [("flag", explicit), *scripts.layers_of(config_class)(explicit)]
    config = build(config_class, layers, scripts.CHOICES)
    scripts.prepare(config)
    return config


def write_rows(folder: Path) -> Path:
    """The rows of all kinds: short and long conversations, prepared by dataset.py."""
    source = folder / "rows.jsonl"
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{question}{' Now!' * time}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for time in range(3)
        for question, answer in ASKED
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = folder / "data"
    with quiet():
        dataset.main(
            configured(
                DatasetConfig,
                type_="chat",
                dataset_name=str(source),
                output_dir=data,
                valid_fraction=0.1,
                test_fraction=0.1,
            )
        )
    return data


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Nothing on the terminal; what was said is kept."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


def flags_of(model: Path, data: Path, adapters: Path, **more: object) -> dict[str, object]:
    """Of train.py: three steps and a validation with its sample answers, into the folder ``adapters``."""
    return {
        "model": str(model),
        "data_dir": data,
        "adapter_path": adapters,
        "backend": "mlx",
        "iters": STEPS,
        "batch_size": 2,
        "steps_per_eval": STEPS,
        "steps_per_report": 1,
        "warmup": 1,
        "learning_rate": 1e-2,
        "lora_rank": 4,
        "lora_dropout": 0.1,
        "show_samples": 1,
        "eval_samples": 0,
        **more,
    }


def judge(adapters: Path, results: Path) -> Cell:
    """test_finetuned.py on the adapters of a run."""
    with quiet():
        test_finetuned.main(
            configured(
                EvaluationConfig, adapter_path=adapters, results_dir=results, max_tokens=MAX_TOKENS, general=False
            )
        )
    found = files.read_json(results / files.EVALUATION, "")
    return Cell("ok") if found["n"] and found["verdict"] else wrong("no verdict")
