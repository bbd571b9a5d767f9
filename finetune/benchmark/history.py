"""Earlier benchmarks: kept when a new one is written, and what changed since, beyond the spread of the repeats."""

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.evaluation.verdict import judge
from finetune.records import files
from finetune.terminal import say

Record = Mapping[str, Any]
_NOT_IN_NAMES = re.compile("[^0-9A-Za-z]+")
_MAIN = ("decode_tokens_per_second", "first_token_ms")
_NEWEST = 20  # benchmarks that are listed
_BY_CHANCE = 0.01


def keep(results_dir: Path) -> None:
    """Copy the benchmark that is there, whatever it is, into the history, under the time it was made."""
    path = results_dir / files.BENCHMARK
    if not path.exists():
        return
    record = _read(path)
    if record is None:
        made = f"unreadable-{files.file_hash(path)[:8]}"
    else:
        made = _NOT_IN_NAMES.sub("-", str(record.get("created", "earlier"))[:40])
    folder = results_dir / files.HISTORY
    files.make_folder(folder)
    kept = folder / f"benchmark-{made}.json"
    with files.atomic(kept) as temporary:
        shutil.copyfile(path, temporary)
    if record is None:
        say(f"Note: {path} was no record of a benchmark; it is now {kept}.")


def since(results_dir: Path, now: Record, record_format: int) -> dict[str, Any]:
    """What ``history`` of benchmark.json holds: the earlier benchmarks, and ``now`` against the last that can be compared.

    Files that another version wrote, or nobody, are passed over and named in ``left_out``.
    """
    made: list[dict[str, Any]] = []
    left_out: list[str] = []
    answers, speeds = None, None
    for path in sorted((results_dir / files.HISTORY).glob("benchmark-*.json")):
        record = _read(path)
        try:
            if record is None or record["format"] != record_format:
                raise ValueError
            figures = _figures(record, now)
            answers_since = _answers(record, now) if figures["same_rows"] else None
            # the prompts decide the time to the first token, the machine everything
            alike = figures["same_rows"] and figures["same_setting"]
            speeds_since = _speeds(record, now) if alike else None
        except (KeyError, TypeError, ValueError, AttributeError):
            left_out.append(path.name)
            continue
        made.append(figures)
        answers, speeds = answers_since or answers, speeds_since or speeds
    made.append(_figures(now, now))
    older = max(0, len(made) - _NEWEST)
    return {"made": made[older:], "older": older, "left_out": left_out, "answers": answers, "speeds": speeds}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _figures(record: Record, now: Record) -> dict[str, Any]:
    """The main figures of a benchmark, and how far it is like ``now``."""
    tuned = record["quality"]["tuned"]
    accuracy = None if tuned["accuracy"] is None else _number(tuned["accuracy"])
    low, high = tuned["interval"]
    return {
        "created": str(record["created"]),
        "adapter_path": str(record["adapter_path"]),
        "same_rows": _rows(record) == _rows(now),
        "same_setting": all(record[name] == now[name] for name in ("machine", "device", "model")),
        "accuracy": accuracy,
        "interval": [_number(low), _number(high)],
        **{measure: _spread(record["speed"]["tuned"][measure]) for measure in _MAIN},
    }


def _rows(record: Record) -> tuple[str, list[tuple[str, str]]]:
    return record["quality"]["task"], [(row["prompt"], row["reference"]) for row in record["quality"]["rows"]]


def _answers(before: Record, now: Record) -> dict[str, Any] | None:
    """The tuned models of two benchmarks on the same rows; None where no row could be judged both times."""
    values = [
        (then["tuned"]["value"], row["tuned"]["value"])
        for then, row in zip(before["quality"]["rows"], now["quality"]["rows"], strict=True)
    ]
    right = [(then == 1, value == 1) for then, value in values if then is not None and value is not None]
    if not right:
        return None
    then, today = ([pair[side] for pair in right] for side in (0, 1))
    verdict = judge(then, today)
    return {
        **_named(before),
        "scored": len(right),
        "then": sum(then) / len(right),
        "now": sum(today) / len(right),
        "verdict": verdict.verdict,
        "explanation": verdict.explanation,
    }


def _speeds(before: Record, now: Record) -> dict[str, Any]:
    """Each measure then and now; it has changed where the repeats of then and of now do not touch."""
    runs = [int(record["runs"]) for record in (before, now)]
    # chance puts all repeats of one below all of the other this often, if nothing has changed
    enough = 2 / math.comb(sum(runs), runs[0]) < _BY_CHANCE
    measures: dict[str, dict[str, Any]] = {}
    for side, found in now["speed"].items():
        for measure, spread in found.items():
            if measure not in before["speed"].get(side, {}):
                continue
            then, today = _spread(before["speed"][side][measure]), _spread(spread)
            apart = then["max"] < today["min"] or today["max"] < then["min"]
            measures.setdefault(side, {})[measure] = {
                "then": then["median"],
                "now": today["median"],
                "changed": enough and apart,
            }
    return {**_named(before), "runs": runs, "enough": enough, "measures": measures}


def _named(record: Record) -> dict[str, str]:
    return {"created": str(record["created"]), "adapter_path": str(record["adapter_path"])}


def _spread(found: Record) -> dict[str, float]:
    spread = {part: _number(found[part]) for part in ("median", "min", "max")}
    if not all(spread.values()):
        raise ValueError("nothing takes no time")
    return spread


def _number(value: Any) -> float:
    """ValueError or TypeError where it is none, or not a figure that was measured."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no figure")
    return float(value)
