"""A thousand damaged files: each is read or refused with a reason, none makes a traceback. ``pytest -s`` shows the table."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import prepare
from finetune.errors import UserError
from finetune.records.dataset import write_dataset
from finetune.settings.config import DatasetConfig
from finetune.tasks import TASKS

FILES = 1000
ROWS: dict[str, list[dict[str, Any]]] = {
    "sql": [
        {"sql_prompt": f"How many {i}?", "sql": "SELECT a FROM t", "sql_context": "CREATE TABLE t (a INT);"}
        for i in range(6)
    ],
    "chat": [
        {"messages": [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q2"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q3", "completion": "a"},
        {"instruction": "q4", "input": "", "output": "a"},
        {"text": "<|im_start|>user\nq5<|im_end|>\n<|im_start|>assistant\na<|im_end|>"},
    ],
    "alpaca": [{"instruction": f"i{i}", "input": "x", "output": "o"} for i in range(6)],
    "riscv": [{"description": f"Adds {i}.", "instructions": "add a0, a1, a2"} for i in range(6)],
}
VALUES = [
    None,
    "",
    " ",
    0,
    -1.5,
    True,
    [],
    {},
    [[]],
    {"a": None},
    "\x00",
    "\x1b[31m",
    "\u202e",
    "a" * 300_000,
    [1, "a"],
    "\ud800",
]
Draw = random.Random


def flip(data: bytes, draw: Draw) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def cut(data: bytes, draw: Draw) -> bytes:
    return data[: draw.randrange(len(data))]


def splice(data: bytes, draw: Draw) -> bytes:
    piece = draw.choice(
        [b"\x00", b"\xe9", b"\xef\xbb\xbf", b"\r\n\r\n", b"NaN", b"}", b'"', b"\\ud800", b"[" * 5000, b"1e999"]
    )
    at = draw.randrange(len(data))
    return data[:at] + piece + data[at:]


def reorder(data: bytes, draw: Draw) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(draw.choices(lines, k=len(lines) + 3))


def replace_a_value(data: bytes, draw: Draw) -> bytes:
    rows = [json.loads(line) for line in data.splitlines()]
    holder: Any = draw.choice(rows)
    while True:
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
        if not isinstance(holder[key], (dict, list)) or not holder[key] or draw.random() < 0.3:
            break
        holder = holder[key]
    holder[key] = draw.choice(VALUES)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def drop_a_field(data: bytes, draw: Draw) -> bytes:
    rows = [json.loads(line) for line in data.splitlines()]
    row = draw.choice(rows)
    del row[draw.choice(list(row))]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


MUTATIONS: list[Callable[[bytes, Draw], bytes]] = [flip, cut, splice, reorder, replace_a_value, drop_a_field]


@pytest.mark.slow
def test_a_thousand_damaged_files(tmp_path: Path) -> None:
    found: Counter[tuple[str, str]] = Counter()
    draw = Draw(1)
    kinds = [kind for kind in ROWS if kind in TASKS]
    for number in range(FILES):
        kind, mutation = kinds[number % len(kinds)], draw.choice(MUTATIONS)
        suffix = draw.choice([".jsonl", ".jsonl", ".json", ".csv"])
        data = "".join(json.dumps(row) + "\n" for row in ROWS[kind]).encode()
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(mutation(data, draw))
        config = DatasetConfig(type_=kind, dataset_name=str(path), check_answers=kind != "sql", fix=draw.random() < 0.3)
        try:
            dataset = prepare(config, TASKS[kind], print)
            write_dataset(tmp_path / "data", dataset.splits, dataset.findings.rejected, dataset.record(config))
            record = dataset.record(config)
            assert record.rows_read == record.kept + sum(record.dropped.values())
            found[mutation.__name__, "read"] += 1
        except UserError as error:
            assert error.exit_code == 2 and str(path) in str(error), error
            found[mutation.__name__, "refused"] += 1
    print("\n" + f"{'damage':<18}{'read':>6}{'refused':>9}{'traceback':>11}")
    for mutation in MUTATIONS:
        name = mutation.__name__
        print(f"{name:<18}{found[name, 'read']:>6}{found[name, 'refused']:>9}{0:>11}")
    assert sum(found.values()) == FILES and all(found[m.__name__, "refused"] for m in MUTATIONS if m is not reorder)
