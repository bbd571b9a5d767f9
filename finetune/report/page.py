"""The page: what the records say. Every text in them is cleaned here, and escaped by the template."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.records.benchmark import BenchmarkRecord
from finetune.records.blind import BlindRecord
from finetune.records.dataset import DatasetRecord
from finetune.records.evaluation import LOSS, NOTHING, EvaluationRecord
from finetune.records.run import RunRecord
from finetune.report import answers, asked, charts, costs, drafts, field_table, labels, matrix, preferred, since, texts
from finetune.report.curve import Metrics, curve, measure

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = Path(__file__).parent
_FILTERS = {
    "percent": texts.percent,
    "unbroken": texts.unbroken,
    "number": texts.number,
    "fixed": texts.fixed,
    "duration": texts.duration,
    "seconds": texts.seconds,
    "minute": texts.minute,
    "mark": answers.mark,
    "shortened": answers.shortened,
    "css_class": answers.css_class,
    "in_words": answers.in_words,
    "notes": since.notes,
}


def render(
    benchmark: BenchmarkRecord,
    run: RunRecord,
    metrics: Metrics,
    dataset: DatasetRecord,
    blind: BlindRecord | None = None,
) -> str:
    """One self-contained HTML page of the records of the four stages; ``metrics`` are the lines of metrics.jsonl, and ``blind``
    what a person found of the same answers.

    The same records give the same text.
    """
    from markupsafe import Markup

    benchmark, run, metrics, dataset = texts.clean((benchmark, run, metrics, dataset))
    evaluation, history = benchmark.quality, benchmark.history
    names, speed, examples = answers.labels(evaluation), costs.speed(benchmark), answers.examples(evaluation)
    script = (_FOLDER / "search.js").read_text(encoding="utf-8")
    return _template().render(
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=_policy(script),
        evaluation=evaluation,
        by_loss=evaluation.decided_by in (LOSS, NOTHING),
        skipped=answers.skipped(evaluation),
        base_told=answers.base_told(evaluation),
        benchmark=benchmark,
        run=run,
        dataset=dataset,
        labels=names,
        is_scored=answers.is_scored(evaluation),
        headline=answers.headline(evaluation),
        decisive=answers.decisive(evaluation),
        drafts=list(drafts.remarks(evaluation)),
        measures=[*answers.measures(evaluation), *drafts.measures(evaluation), *preferred.measure(evaluation, blind)],
        preferred=preferred.sentence(evaluation, blind.result) if blind and blind.result else None,
        forgotten=answers.forgotten(evaluation),
        fields=field_table.rows(evaluation),
        restricted=field_table.restricted(evaluation),
        restriction=field_table.restriction(evaluation),
        kinds=answers.kinds(evaluation),
        **_labels(evaluation),
        examples=examples,
        groups=answers.groups(examples),
        system=asked.common_system(evaluation),
        conversation=asked.conversation,
        speed=speed,
        latency_labels=costs.LATENCIES,
        memory_labels=costs.MEMORY,
        decode=costs.decode(speed),
        memory=costs.memory(benchmark, metrics),
        history=history,
        changes=since.speeds(history.speeds) if history and history.speeds else [],
        trends=since.trends(history, evaluation.metric) if history else [],
        accuracy_chart=charts.accuracy(evaluation.sides, names, evaluation.metric),
        curve_chart=charts.curve(curve(metrics)),
        curve_of=measure(metrics),
        latency_chart=charts.latency(benchmark.latency_ms),
        lengths_chart=charts.lengths(benchmark.lengths),
    )


def _labels(evaluation: EvaluationRecord) -> dict[str, object]:
    """What the page says of rows that have labels."""
    classes = evaluation.classes
    return {
        "classes": classes,
        "label_rows": labels.label_rows(classes) if classes else [],
        "warnings": labels.warnings(classes) if classes else [],
        "remarks": [*labels.remarks(evaluation, classes), *labels.confidence(classes)] if classes else [],
        "confused": labels.confused(classes.tuned) if classes else [],
        "confusion_chart": matrix.confusion(list(classes.tuned.labels), classes.tuned.confusion) if classes else None,
    }


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("finetune", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment.get_template("page.html.j2")


def _policy(script: str) -> str:
    """What the page may do: be styled, and run this one script. Nothing is fetched, nothing sent."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
