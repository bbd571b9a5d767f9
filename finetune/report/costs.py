"""What a benchmark says of speed and memory, as the page shows it. A key that an older record lacks leaves its part out."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.report.texts import number

Record = Mapping[str, Any]

_ENOUGH = 6  # repeats: that all of them agree by chance happens in 3 of 100 cases (sign test, 2 / 2^6)
_ANSWERING = ("load", "prompt", "decode", "batch of 16")  # stages of memory_mb
# key of benchmark.json -> what it is, unit, is more of it better; the last three are of format 1
MEASURES = {
    "first_token_ms": ("first token after", "ms", False),
    "prompt_tokens_per_second": ("reading a prompt", "tokens/s", True),
    "decode_tokens_per_second": ("writing an answer", "tokens/s", True),
    "batch_1_tokens_per_second": ("an answer, its prompt included", "tokens/s", True),
    "batch_4_tokens_per_second": ("4 answers at once", "tokens/s", True),
    "batch_16_tokens_per_second": ("16 answers at once", "tokens/s", True),
    "batch_tokens_per_second": ("8 answers at once", "tokens/s", True),
    "load_seconds": ("loading", "s", False),
    "peak_memory_mb": ("peak memory", "MB", False),
}


def speed(benchmark: Record | None) -> list[dict[str, Any]]:
    """A row for each measure: ``key``, ``what``, ``unit``, and of each side its spread and what it is by the base's."""
    if not benchmark:
        return []
    sides, ratios = benchmark["speed"], benchmark.get("ratios", {})
    rows = []
    for key, (what, unit, more_is_better) in MEASURES.items():
        if not all(key in side for side in sides.values()):
            continue
        cells = {name: {"spread": side[key], "by_base": None} for name, side in sides.items()}
        for name, cell in cells.items():
            if key in ratios.get(name, {}):
                cell["by_base"] = _ratio(ratios[name][key], more_is_better, benchmark["runs"])
            elif name != "base" and "base" in sides:
                cell["by_base"] = _by_medians(sides["base"][key], sides[name][key], more_is_better)
        rows.append({"key": key, "what": what, "unit": unit, "cells": cells})
    return rows


def _ratio(found: Record, more_is_better: bool, runs: int) -> dict[str, str]:
    """Of the pairs of repeats; it is good or bad where all of them, and enough, lie on one side of 1."""
    tone = ""
    if runs >= _ENOUGH and (found["min"] > 1 or found["max"] < 1):
        tone = "good" if (found["min"] > 1) == more_is_better else "bad"
    text = "{median:.2f} × base".format(**found)
    return {"text": text, "small": "{min:.2f} to {max:.2f}".format(**found), "tone": tone}


def _by_medians(base: Record, side: Record, more_is_better: bool) -> dict[str, str]:
    """Where the record has no pairs: nothing is said where the ranges overlap."""
    if (base["min"] <= side["max"] and side["min"] <= base["max"]) or not base["median"]:
        return {"text": "within the spread", "small": "", "tone": ""}
    ratio = side["median"] / base["median"]
    return {"text": f"{ratio:.2f} × base", "small": "", "tone": "good" if (ratio > 1) == more_is_better else "bad"}


def writing(rows: Sequence[Record]) -> dict[str, str] | None:
    """The speed of writing in short: ``text`` and, in ``small``, what it is made of."""
    row = next((row for row in rows if row["key"] == "decode_tokens_per_second"), None)
    if row is None:
        return None
    told = f"{number(row['cells']['tuned']['spread']['median'])} tokens/s"
    by_base = row["cells"]["tuned"]["by_base"]
    if by_base is None:
        return {"text": told, "small": "", "tone": ""}
    small = [told, by_base["small"]]
    if fused := row["cells"].get("fused", {}).get("by_base"):
        small.append(f"fused {fused['text']}")
    return {"text": by_base["text"], "small": "; ".join(filter(None, small)), "tone": by_base["tone"]}


def memory(benchmark: Record | None, metrics: Sequence[Record]) -> dict[str, str] | None:
    """Peak memory of answering and of training, in short."""
    stages = (benchmark or {}).get("memory_mb", {})
    answering = max((stages[stage]["peak"] for stage in _ANSWERING if stage in stages), default=None)
    if answering is None and benchmark and "peak_memory_mb" in benchmark["speed"]["tuned"]:
        answering = benchmark["speed"]["tuned"]["peak_memory_mb"]["median"]
    training = max((row["peak_memory_mb"] for row in metrics if "peak_memory_mb" in row), default=None)
    told = [(value, what) for value, what in ((answering, "answering"), (training, "training")) if value is not None]
    if not told:
        return None
    (most, what), *others = told
    small = "".join(f"; {number(value)} MB {name}" for value, name in others)
    return {"text": f"{number(most)} MB", "small": what + small, "tone": ""}
