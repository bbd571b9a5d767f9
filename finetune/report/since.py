"""What changed since an earlier benchmark, as the page shows it: of ``history`` in benchmark.json, where it was asked for."""

from collections.abc import Mapping
from typing import Any

from finetune.report import charts
from finetune.report.costs import MEASURES
from finetune.report.texts import number, percent, seconds, signed

Record = Mapping[str, Any]

_FEWEST = 3  # benchmarks that make a line


def since(benchmark: Record | None) -> dict[str, Any] | None:
    """The parts of the section: ``answers``, ``speeds``, ``charts``, ``made``; None without a history."""
    found = (benchmark or {}).get("history")
    if not found:
        return None
    metric = (benchmark or {})["quality"]["metric"]
    return {
        "answers": _answers(found["answers"]) if found["answers"] else None,
        "speeds": _speeds(found["speeds"]) if found["speeds"] else None,
        "charts": _charts(found["made"], metric) if len(found["made"]) >= _FEWEST else [],
        "made": [_made(made) for made in found["made"]],
        "older": found["older"],
        "left_out": found["left_out"],
    }


def _answers(answers: Record) -> dict[str, Any]:
    verdict = answers["verdict"]
    return {
        **answers,
        "word": "No evidence of a difference" if verdict == "no evidence" else f"Now {verdict}",
        "tone": {"better": "good", "worse": "bad"}.get(verdict, ""),
    }


def _speeds(speeds: Record) -> dict[str, Any]:
    """A row for each measure, and of each side then and now, with a tone where it has changed."""
    rows: list[dict[str, Any]] = []
    for key, (what, unit, more_is_better) in MEASURES.items():
        cells = {name: _change(side[key], more_is_better) for name, side in speeds["measures"].items() if key in side}
        if cells:
            rows.append({"what": what, "unit": unit, "cells": cells})
    changes = [cell["changed"] for row in rows for cell in row["cells"].values()]
    return {**speeds, "rows": rows, "changes": sum(changes), "of": len(changes)}


def _change(measure: Record, more_is_better: bool) -> dict[str, Any]:
    then, now = measure["then"], measure["now"]
    tone = ("good" if (now > then) == more_is_better else "bad") if measure["changed"] else ""
    return {
        "text": number(now),
        "small": f"{signed(100 * (now / then - 1), 0)}\N{NO-BREAK SPACE}% from {number(then)}",
        "tone": tone,
        "changed": measure["changed"],
    }


def _charts(made: list[Record], metric: str) -> list[dict[str, Any]]:
    """The main figures over the benchmarks; hollow where one cannot be compared with the last."""
    days = [one["created"][:10] for one in made]  # of a time in ISO 8601
    if days[0] == days[-1]:
        days = [one["created"][11:16] for one in made]
    found = []
    if all(one["accuracy"] is not None for one in made):
        accuracy = [(one["accuracy"], *one["interval"], one["same_rows"]) for one in made]
        found.append({"chart": charts.trend(accuracy, days, metric, percent, top=1.0), "caption": metric.capitalize()})
    for key, caption, write in (
        ("decode_tokens_per_second", "Writing an answer, tokens/s", number),
        ("first_token_ms", "First token after", seconds),
    ):
        speed = [
            (one[key]["median"], one[key]["min"], one[key]["max"], one["same_rows"] and one["same_setting"])
            for one in made
        ]
        found.append({"chart": charts.trend(speed, days, caption.lower(), write), "caption": caption})
    return found


def _made(made: Record) -> dict[str, str]:
    notes = [] if made["same_rows"] else ["other rows"]
    notes += [] if made["same_setting"] else ["other machine, model or versions"]
    return {
        "created": made["created"][:16].replace("T", " "),
        "adapter_path": made["adapter_path"],
        "notes": ", ".join(notes),
        "accuracy": "–" if made["accuracy"] is None else percent(made["accuracy"]),
        "decode": number(made["decode_tokens_per_second"]["median"]),
        "first_token": seconds(made["first_token_ms"]["median"]),
    }
