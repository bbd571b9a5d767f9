"""The page: what the records say. Every text in them is cleaned here, and escaped by the template."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.report import answers, charts, costs, texts
from finetune.report.since import since

Record = Mapping[str, Any]

_FOLDER = Path(__file__).parent
_FILTERS = {
    "percent": texts.percent,
    "unbroken": texts.unbroken,
    "number": texts.number,
    "duration": texts.duration,
    "seconds": texts.seconds,
    "mark": answers.mark,
    "cut": answers.cut,
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
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("finetune", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    evaluation, benchmark, run, metrics, dataset = texts.clean([evaluation, benchmark, run, metrics, dataset])
    evaluation = evaluation or (benchmark or {}).get("quality")
    sides, labels = answers.sides(evaluation), answers.labels(evaluation)
    judged = answers.judged(evaluation)
    latency, lengths = (benchmark or {}).get("latency_ms", {}), (benchmark or {}).get("lengths", [])
    examples = answers.examples(evaluation)
    speed = costs.speed(benchmark)
    script = (_FOLDER / "search.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=_policy(script),
        evaluation=evaluation,
        benchmark=benchmark,
        run=run,
        dataset=dataset,
        sides=sides,
        labels=labels,
        judged=judged,
        headline=answers.headline(evaluation),
        decisive=answers.decisive(evaluation),
        measures=answers.measures(evaluation),
        forgotten=answers.forgotten(evaluation),
        kinds=answers.kinds(evaluation),
        examples=examples,
        groups=answers.groups(examples),
        speed=speed,
        writing=costs.writing(speed),
        memory=costs.memory(benchmark, metrics),
        latency=latency,
        lengths=lengths,
        since=since(benchmark),
        accuracy_chart=charts.accuracy(sides, labels, evaluation["metric"]) if evaluation and judged else None,
        curve_chart=charts.curve(metrics),
        curve_of=charts.measure(metrics),
        latency_chart=charts.latency(latency),
        lengths_chart=charts.lengths(lengths),
    )


def _policy(script: str) -> str:
    """What the page may do: be styled, and run this one script. Nothing is fetched, nothing sent."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
