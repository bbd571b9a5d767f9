"""The page: what the records say. Every text in them is cleaned here, and escaped by the template."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.report import charts

Record = Mapping[str, Any]

_TOKEN = re.compile(r"\bhf_\w+|hf_[A-Za-z0-9]{20,}")
# controls, marks that turn text around, halves of characters: shown by their code, so that they do nothing
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# outcome of a row: did the base model get it right, did the tuned one; without a base model the first is None
_OUTCOMES = {
    (False, True): "fixed",
    (True, False): "broken",
    (False, False): "both wrong",
    (True, True): "both right",
    (None, True): "right",
    (None, False): "wrong",
}
_NOT_JUDGED = "not judged"

# key of benchmark.json -> what it is, unit, is more of it better
_SPEED = {
    "decode_tokens_per_second": ("writing an answer", "tokens/s", True),
    "batch_16_tokens_per_second": ("writing 16 answers at once", "tokens/s", True),
    "prompt_tokens_per_second": ("reading a prompt", "tokens/s", True),
    "first_token_ms": ("first token after", "ms", False),
}


def render(
    evaluation: Record | None,
    benchmark: Record | None,
    run: Record | None,
    metrics: Sequence[Record],
    dataset: Record | None,
) -> str:
    """One self-contained HTML page of the records of the four stages; whatever is missing is left out.

    The arguments are evaluation.json, benchmark.json, run.json, the rows of metrics.jsonl and dataset.json.
    Without an ``evaluation`` the quality in ``benchmark`` is shown. The same records give the same text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("finetune", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": charts.percent, "number": _number, "duration": _duration}
    evaluation, benchmark, run, metrics, dataset = _clean([evaluation, benchmark, run, metrics, dataset])
    evaluation = evaluation or (benchmark or {}).get("quality")
    sides = {name: evaluation[name] for name in ("base", "tuned") if name in evaluation} if evaluation else {}
    judged = bool(sides) and all(side["accuracy"] is not None for side in sides.values())
    outcomes = [_outcome(row) for row in evaluation["rows"]] if evaluation else []
    return environment.get_template("page.html.j2").render(
        evaluation=evaluation,
        benchmark=benchmark,
        run=run,
        dataset=dataset,
        sides=sides,
        judged=judged,
        by_loss=(evaluation or {}).get("decided_by") == "loss per token",
        accuracy_chart=charts.accuracy(sides, evaluation["metric"]) if evaluation and judged else None,
        loss_chart=charts.loss(metrics),
        kinds=_kinds(sides),
        speed=_speed(benchmark["speed"]) if benchmark else [],
        training_memory_mb=max((row.get("peak_memory_mb", 0) for row in metrics), default=0),
        outcomes=outcomes,
        counts=_counts(outcomes),
    )


def _clean(value: Any) -> Any:
    """The value without tokens of the Hub, and with hidden characters made visible, in its keys too."""
    if isinstance(value, str):
        return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], _TOKEN.sub("[token masked]", value))
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _outcome(row: Record) -> str:
    if row["tuned"]["value"] is None:
        return _NOT_JUDGED
    base = row["base"]["value"] == 1 if "base" in row else None
    return _OUTCOMES[base, row["tuned"]["value"] == 1]


def _counts(outcomes: Sequence[str]) -> dict[str, int]:
    """How many rows there are of each outcome that occurs."""
    counts = Counter(outcomes)
    return {outcome: counts[outcome] for outcome in [*_OUTCOMES.values(), _NOT_JUDGED] if counts[outcome]}


def _kinds(sides: Record) -> list[str]:
    """Kinds of answers, "ok" first, then the most frequent ones."""
    total: Counter[str] = Counter()
    for side in sides.values():
        total.update(side["kinds"])
    return sorted(total, key=lambda kind: (kind != "ok", -total[kind], kind))


def _speed(speed: Record) -> list[dict[str, Any]]:
    """A row for each thing measured: key, what, unit, tuned and, in a comparison, base and the change."""
    rows = []
    for key, (what, unit, more_is_better) in _SPEED.items():
        if key not in speed["tuned"]:
            continue
        row = {"key": key, "what": what, "unit": unit, **{side: speed[side][key] for side in speed}}
        if "base" in row:
            row |= _change(row["base"], row["tuned"], more_is_better)
        rows.append(row)
    return rows


def _change(base: Record, tuned: Record, more_is_better: bool) -> dict[str, str]:
    """The change of the median, and whether it is good; where the ranges overlap, no change was measured."""
    if (base["min"] <= tuned["max"] and tuned["min"] <= base["max"]) or not base["median"]:
        return {"change": "within the spread", "tone": ""}
    change = tuned["median"] / base["median"] - 1
    text = f"{100 * change:+.1f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")
    return {"change": text, "tone": "good" if (change > 0) == more_is_better else "bad"}


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
