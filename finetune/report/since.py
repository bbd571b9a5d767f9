"""What changed since an earlier benchmark, as the page shows it: ``history`` of benchmark.json."""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from finetune.records.benchmark import HistoryRecord, ListedBenchmark, Repeats, SpeedChange, SpeedsSince
from finetune.report import charts
from finetune.report.charts import TrendPoint
from finetune.report.costs import SPEEDS, Speed
from finetune.report.texts import Cell, number, percent, ratio, seconds, signed

_FEWEST = 3  # benchmarks that make a line


@dataclass(frozen=True)
class ChangeRow:
    """A measure of speed: its value now and its change, for each side."""

    measure: Speed
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Captioned:
    """A chart and its caption."""

    chart: Markup
    caption: str


def speeds(found: SpeedsSince) -> list[ChangeRow]:
    """A row for each measure that was taken both times."""
    rows = []
    for key, measure in SPEEDS.items():
        cells = {name: _change(side[key], measure) for name, side in found.measures.items() if key in side}
        if cells:
            rows.append(ChangeRow(measure, cells))
    return rows


def _change(found: SpeedChange, measure: Speed) -> Cell:
    colour = "good" if (found.now > found.then) == measure.more_is_better else "bad"
    change = signed(100 * (ratio(found.now, found.then) - 1), 0)
    detail = f"{change}\N{NO-BREAK SPACE}% from {number(found.then)}"
    return Cell(number(found.now), detail, colour if found.changed else "")


def trends(history: HistoryRecord, metric: str) -> list[Captioned]:
    """The main measures over the benchmarks; none for fewer than three."""
    made = history.made
    if len(made) < _FEWEST:
        return []
    days = [one.created[:10] for one in made]  # of a time in ISO 8601
    if days[0] == days[-1]:
        days = [one.created[11:16] for one in made]
    found = []
    if all(one.accuracy is not None for one in made):
        shares = [TrendPoint(one.accuracy or 0.0, *one.interval, one.same_rows) for one in made]
        found.append((charts.trend(shares, days, metric, percent, top=1.0), metric.capitalize()))

    def add(key: str, repeats: Callable[[ListedBenchmark], Repeats], unit: str, write: Callable[[float], str]) -> None:
        points = [
            TrendPoint(at.median, at.min, at.max, one.same_rows and one.same_setting)
            for one in made
            for at in [repeats(one)]
        ]
        label = SPEEDS[key].label
        found.append((charts.trend(points, days, label, write), label.capitalize() + unit))

    add("decode_tokens_per_second", lambda one: one.decode_tokens_per_second, ", tokens/s", number)
    add("first_token_ms", lambda one: one.first_token_ms, "", seconds)
    return [Captioned(chart, caption) for chart, caption in found if chart is not None]


def notes(made: ListedBenchmark) -> str:
    """Why a benchmark cannot be compared with the last one; "" if it can."""
    different = ["other rows"] if not made.same_rows else []
    different += ["other machine, model or versions"] if not made.same_setting else []
    return ", ".join(different)
