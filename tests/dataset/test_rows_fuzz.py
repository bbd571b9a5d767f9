"""A thousand damaged files: each is read or refused with a reason, none makes a traceback. ``pytest -s`` shows the table."""

import bz2
import gzip
import json
import lzma
import random
import resource
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import prepare
from finetune.errors import UserError
from finetune.records.dataset import write_dataset
from finetune.settings import yaml_file
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
        {
            "messages": [
                {"role": "user", "content": "q6"},
                {"role": "assistant", "content": "a", "weight": 1, "reasoning": "b"},
            ]
        },
        {"question": "q7", "answer": 1, "choices": ["a", "b"], "context": "c", "history": [["d", "e"]], "system": "s"},
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


def several(data: bytes, draw: Draw) -> bytes:
    for _ in range(draw.randrange(2, 20)):
        data = flip(data, draw)
    return data


YAML = b"""type: sql
sample-size: 10
column: {sql: query, sql_prompt: question}
valid_fraction: 0.05  # of them
fix: true
seed: &a 42
test-fraction: 1e-1
"""
YAML_PIECES = [
    b"&a [*a]",
    b"*a",
    b"!!binary aGk=",
    b"!!python/object:os.system x",
    b"[" * 99,
    b"{a: " * 9,
    b"<<: *a\n",
    b"\t",
]
YAML_PIECES += [
    b"9" * 5000,
    b".nan",
    b"---\n",
    b"'",
    b"? ",
    b"!<x> ",
    b"\xff",
    b"%YAML 9.9\n",
    b"|\n",
    b"2001-99-99",
    b"0o9",
]


def whole_files(folder: Path) -> dict[str, bytes]:
    """A file of each format, by its name."""
    import datasets
    import pyarrow
    from pyarrow import feather

    lines = "".join(json.dumps(row) + "\n" for row in 5 * ROWS["sql"]).encode()
    table = pyarrow.Table.from_pylist(30 * ROWS["sql"])
    datasets.Dataset(table).to_csv(folder / "a.csv")
    datasets.Dataset(table).to_parquet(folder / "a.parquet")
    feather.write_feather(table, str(folder / "a.arrow"))
    with pyarrow.ipc.new_stream(str(folder / "s.arrow"), table.schema) as writer:
        writer.write_table(table)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", lines)
        archive.writestr("b/train.csv", (folder / "a.csv").read_bytes())
    made = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    columns = {name: [row[name] for row in ROWS["sql"]] for name in ROWS["sql"][0]}
    return made | {
        "a.jsonl": lines,
        "a.json": json.dumps(ROWS["sql"], indent=1).encode(),
        "columns.json": json.dumps(columns).encode(),
        "a.tsv": made["a.csv"].replace(b",", b"\t"),
        "a.jsonl.gz": gzip.compress(lines),
        "a.jsonl.bz2": bz2.compress(lines),
        "a.jsonl.xz": lzma.compress(lines),
        "a.jsonl.zst": bytes(pyarrow.compress(lines, "zstd", asbytes=True)),
        "a.txt": lines,
    }


@pytest.mark.faults
def test_a_thousand_damaged_files_of_all_formats(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, draw, found = whole_files(tmp_path / "whole"), Draw(3), Counter[tuple[str, str]]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FILES):
        name = list(whole)[number % len(whole)]
        other = draw.choice(list(whole))
        path = tmp_path / (name if draw.random() < 0.7 else other)  # with a wrong name, too
        path.write_bytes(draw.choice([flip, several, cut, splice])(whole[name], draw))
        started = time.process_time()
        try:
            config = DatasetConfig(type_="sql", dataset_name=str(path), check_answers=False, fix=draw.random() < 0.3)
            prepare(config, TASKS["sql"], print)
            found[name, "read"] += 1
        except UserError as error:
            said = "\n".join([str(error), *error.details])
            assert error.exit_code == 2 and str(path) in said and "\n" not in str(error), error
            found[name, "refused"] += 1
        assert time.process_time() - started < 10
        path.unlink()
    print("\n" + "\n".join(f"{name:<14}{found[name, 'read']:>5}{found[name, 'refused']:>5}" for name in whole))
    assert all(found[name, "refused"] for name in whole)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << (30 - (10 if sys.platform == "linux" else 0))


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["parquet", "yaml"])
def test_a_thousand_damaged_binary_files_and_settings(tmp_path: Path, kind: str) -> None:
    """None makes a traceback, takes long, or fills the memory."""
    import datasets

    draw = Draw(2)
    datasets.Dataset.from_list(30 * ROWS["sql"]).to_parquet(tmp_path / "whole.parquet")
    whole, path = (tmp_path / "whole.parquet").read_bytes() if kind == "parquet" else YAML, tmp_path / f"rows.{kind}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(FILES):
        damage = draw.choice([flip, several, cut, splice])
        if kind == "yaml" and damage is splice:
            at = draw.randrange(len(whole))
            path.write_bytes(whole[:at] + draw.choice(YAML_PIECES) + whole[at:])
        else:
            path.write_bytes(damage(whole, draw))
        started = time.process_time()
        try:
            if kind == "yaml":
                yaml_file.read(path)
            else:
                config = DatasetConfig(type_="sql", dataset_name=str(path), check_answers=False)
                prepare(config, TASKS["sql"], print)
        except UserError as error:
            assert error.exit_code == 2 and str(path) in str(error) and "\n" not in str(error), error
        assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << (
        30 - (10 if sys.platform == "linux" else 0)
    )


MUTATIONS: list[Callable[[bytes, Draw], bytes]] = [flip, cut, splice, reorder, replace_a_value, drop_a_field]


@pytest.mark.slow
@pytest.mark.parametrize("files", [FILES // 5, pytest.param(FILES, marks=pytest.mark.faults)])
def test_damaged_files(tmp_path: Path, files: int) -> None:
    found: Counter[tuple[str, str]] = Counter()
    draw = Draw(1)
    kinds = [kind for kind in ROWS if kind in TASKS]
    for number in range(files):
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
            assert error.exit_code == 2 and str(path) in "\n".join([str(error), *error.details]), error
            found[mutation.__name__, "refused"] += 1
    print("\n" + f"{'damage':<18}{'read':>6}{'refused':>9}{'traceback':>11}")
    for mutation in MUTATIONS:
        name = mutation.__name__
        print(f"{name:<18}{found[name, 'read']:>6}{found[name, 'refused']:>9}{0:>11}")
    assert sum(found.values()) == files and all(found[m.__name__, "refused"] for m in MUTATIONS if m is not reorder)
