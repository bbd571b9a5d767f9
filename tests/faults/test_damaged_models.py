"""Files of a model with flipped bits, wrong numbers, missing parts: each is loaded or refused. ``make test-faults``."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune.models.gguf import convert
from tiny_gguf import write_gguf

FILES = 2000  # of each kind
PROCESSES = 2
SECONDS, BYTES = 10, 256 << 20  # the most for one file, and for its memory beyond four times its size
pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "model"
    folder.mkdir()
    write_gguf(folder / "gemma.gguf", "gemma3")
    convert(write_gguf(folder / "llama.gguf", "llama"), folder)
    return folder


def outcomes(model: Path, kind: str, first: int, last: int) -> Iterator[dict]:
    """What happened to each file. A process that ends is started again behind the file that ended it."""
    script = str(Path(__file__).with_name("damaged_models.py"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    while first < last:
        command = [sys.executable, script, str(model), kind, str(first), str(last)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        yield from (line for line in lines if "outcome" in line)
        if done.returncode:
            said = done.stderr[-300:]
            yield {"number": lines[-1]["number"], "outcome": f"ended the process ({done.returncode}): {said}"}
        first = lines[-1]["number"] + 1


@pytest.mark.parametrize(
    "kind", ["*.gguf", "model.safetensors", "tokenizer.json", "config.json", "generation_config.json"]
)
def test_a_damaged_file_is_loaded_or_refused_in_one_line(model: Path, kind: str) -> None:
    share = FILES // PROCESSES
    with ThreadPoolExecutor(PROCESSES) as pool:
        starts = range(0, FILES, share)
        found = [
            line for part in pool.map(lambda at: list(outcomes(model, kind, at, at + share)), starts) for line in part
        ]
    assert len(found) == FILES
    bad = [line for line in found if line["outcome"] != "loaded" and not line["outcome"].startswith("refused: ")]
    assert not bad, "\n".join(f"{len(bad)} files, for example {line}" for line in bad[:5])
    several = [line for line in found if "\n" in line["outcome"]]
    assert not several, several[:5]
    slowest, largest = max(found, key=lambda line: line["seconds"]), max(found, key=lambda line: line["bytes"])
    loaded = sum(line["outcome"] == "loaded" for line in found)
    print(
        f"\n  {kind}: {FILES} files, {loaded} loaded; at most {slowest['seconds']:.2f} s (number {slowest['number']}) and"
        f" {largest['bytes'] / 1e6:.0f} MB (number {largest['number']})",
        end="",
    )
    assert slowest["seconds"] < SECONDS
    assert all(line["bytes"] < BYTES + 4 * line["size"] for line in found), largest
