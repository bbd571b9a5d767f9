"""The charts, as inline SVG in the colours of the page; the same numbers give the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

from markupsafe import Markup

from finetune.records.benchmark import Latency, PromptLength
from finetune.records.evaluation import SideRecord
from finetune.report.curve import MEAN_OF, Curve
from finetune.report.svg import BASE, INK, LINE, MUTED, PAPER, TUNED, Scale, dot, figure, line, rect, text
from finetune.report.texts import percent, seconds

_COLOURS = {"base": BASE, "tuned": TUNED}
_WIDTH = 400.0  # on a phone this is shown at about its natural size, so the text can be read
_NARROW = 300.0  # of charts of which three stand side by side
_BOTTOM = 22.0  # of the marks below an axis
Arguments = ParamSpec("Arguments")


def _drawn(chart: Callable[Arguments, Markup | None]) -> Callable[Arguments, Markup | None]:
    """None for a chart of numbers that have no place on it: not finite, or too large or too small to compute with."""

    @wraps(chart)
    def draw(*arguments: Arguments.args, **named: Arguments.kwargs) -> Markup | None:
        try:
            return chart(*arguments, **named)
        except (ArithmeticError, ValueError):
            return None

    return draw


@dataclass(frozen=True)
class TrendPoint:
    """A measure in one of the benchmarks; ``comparable`` with the last of them, or not."""

    value: float
    low: float
    high: float
    comparable: bool


@_drawn
def accuracy(sides: Mapping[str, SideRecord], labels: Mapping[str, str], metric: str) -> Markup | None:
    """A bar with its 95 % interval for each side, which go by their ``labels``; None if no row could be scored."""
    if any(side.accuracy is None for side in sides.values()):
        return None
    x, height = Scale(0, 1, 45, _WIDTH - 60), 46.0 * len(sides)
    shapes = [line([(x(at), 0), (x(at), height)], LINE, 0.7) for at in (0.25, 0.5, 0.75, 1)]
    for number, (name, side) in enumerate(sides.items()):
        y, share = 46.0 * number + 23, side.accuracy or 0.0
        low, high = map(x, side.interval)
        shapes += [
            rect(x(0), y - 14, x(share) - x(0), 28, _COLOURS[name]),
            line([(low, y), (high, y)], INK),
            *(line([(end, y - 5), (end, y + 5)], INK) for end in (low, high)),
            text(x(0) - 8, y + 4, labels[name], INK, "end"),
            text(x(1) + 8, y + 4, percent(share), INK),
        ]
    shapes += _axis(x, height, {0: "0", 0.25: "25", 0.5: "50", 0.75: "75", 1: "100\N{NO-BREAK SPACE}%"})
    words = (f"{labels[name]} {percent(side.accuracy or 0)}" for name, side in sides.items())
    return figure(f"Bars of {metric}: {', '.join(words)}, with 95 % intervals", _WIDTH, height + _BOTTOM, shapes)


@_drawn
def latency(sides: Mapping[str, Latency]) -> Markup | None:
    """A row for each side: a dot for each answer, and marks at p50, p95 and p99; None without answers."""
    longest = max((time for side in sides.values() for time in side.all), default=0) or 1.0
    x, height = Scale(0, 1.08 * longest, 45, _WIDTH - 10), 70.0 * len(sides)
    shapes = []
    for number, (name, side) in enumerate(sides.items()):
        y = 70.0 * number + 35
        shapes += [text(x(0) - 8, y + 4, name, INK, "end"), line([(x(0), y), (x.end, y)], LINE, 0.7)]
        shapes += [dot(x(time), y, 3.5, _COLOURS[name], opacity=0.5) for time in side.all]
        # p50 and p99 above the dots, p95 below: they often lie side by side
        for key, time, end, anchor in (
            ("p50", side.p50, y - 16, "end"),
            ("p95", side.p95, y + 16, "middle"),
            ("p99", side.p99, y - 16, "start"),
        ):
            anchor = "start" if time < 0.15 * longest else anchor  # at the left edge there is no room before the mark
            shapes += [line([(x(time), y), (x(time), end)], INK)]
            shapes += [text(x(time), end - 3 if end < y else end + 11, key, INK, anchor)]
    shapes += _axis(x, height, {tick: _in_seconds(tick) for tick in x.ticks()})
    words = (f"{name} p50 {seconds(side.p50)}, p99 {seconds(side.p99)}" for name, side in sides.items())
    return figure(f"Latency, a dot for each answer: {'; '.join(words)}", _WIDTH, height + _BOTTOM, shapes)


@_drawn
def lengths(measured: Sequence[PromptLength]) -> Markup | None:
    """The time to first token over the length of the prompt; None for fewer than two lengths."""
    if len(measured) < 2:
        return None
    first, last = measured[0], measured[-1]
    x = Scale(0, 1.05 * max(at.tokens for at in measured), 45, _WIDTH - 10)
    y = Scale(0, 1.1 * max(at.first_token_ms for at in measured), 160, 5)
    points = [(x(at.tokens), y(at.first_token_ms)) for at in measured]
    shapes = [
        *_grid(x, y, _in_seconds),
        *_axis(x, 160, {tick: f"{tick:,.0f}" for tick in x.ticks()}),
        line(points, TUNED, 2.2),
        *(dot(*point, 3, TUNED) for point in points),
        text((x.start + x.end) / 2, 200, "prompt tokens", anchor="middle"),
    ]
    words = f"{seconds(first.first_token_ms)} at {first.tokens:,} tokens to {seconds(last.first_token_ms)} at {last.tokens:,}"
    return figure(f"Time to first token by prompt length: {words}", _WIDTH, 206, shapes)


@_drawn
def trend(
    points: Sequence[TrendPoint],
    days: Sequence[str],
    what: str,
    write: Callable[[float], str],
    top: float | None = None,
) -> Markup | None:
    """A measure over the benchmarks. A dot that cannot be compared with the last one is hollow and off the line."""
    x = Scale(0, len(points) - 1, 65, _NARROW - 65)
    y = Scale(0, top or 1.15 * max(point.high for point in points) or 1.0, 105, 8)
    at = [(x(number), y(point.value)) for number, point in enumerate(points)]
    shapes = [line([(5, 112), (_NARROW - 5, 112)], LINE, 1)]
    shapes += [line([here for here, point in zip(at, points, strict=True) if point.comparable], TUNED, 2.2)]
    for here, point in zip(at, points, strict=True):
        shapes.append(line([(here[0], y(point.low)), (here[0], y(point.high))], MUTED))
        shapes.append(dot(*here, 3.3, TUNED if point.comparable else PAPER, TUNED))
    for end, shift, anchor in ((0, -9, "end"), (-1, 9, "start")):
        shapes.append(text(at[end][0] + shift, at[end][1] + 4, write(points[end].value), INK, anchor))
        shapes.append(text(at[end][0], 128, days[end], anchor="middle"))
    words = f"{write(points[0].value)} to {write(points[-1].value)}"
    return figure(f"{what} over {len(points)} benchmarks: {words}", _NARROW, 134, shapes)


@_drawn
def curve(found: Curve | None) -> Markup | None:
    """Training and validation loss, or reward, over the steps, the best validation marked; None without any."""
    if found is None:
        return None
    steps, values = zip(*found.training, *found.validation, strict=True)
    room = 0.05 * (max(values) - min(values)) or 0.5
    x = Scale(min(steps), max(steps), 50, _WIDTH - 10)
    y = Scale(min(values) - room, max(values) + room, 175, 30)
    training, means, validation = (
        [(x(step), y(value)) for step, value in points] for points in (found.training, found.means, found.validation)
    )
    shapes = [
        *_grid(x, y, lambda tick: f"{tick:g}"),
        *_axis(x, 175, {tick: f"{tick:.0f}" for tick in x.ticks() if tick == int(tick)}),
        text((x.start + x.end) / 2, 214, "step", anchor="middle"),
        line(training, BASE, 2.2 if len(training) == 1 else 1.2, 0.35 if means else 1),
        *(dot(*point, 3, BASE) for point in training if len(training) == 1),  # a line of one point would not be seen
        line(means, BASE, 2.2),
        line(validation, TUNED, 2.2),
        *(dot(*point, 3, TUNED) for point in validation),
    ]
    if found.best:
        shapes.append(dot(x(found.best[0]), y(found.best[1]), 6, "none", INK))
    legend = [("training", BASE), ("validation", TUNED)] + ([(found.best_label, INK)] if found.best else [])
    at = _WIDTH - 10
    for label, colour in reversed(legend):
        at -= 6.2 * len(label)
        shapes.append(text(at, 16, label))
        shapes.append(dot(at - 10, 12, 4, "none" if colour == INK else colour, colour))
        at -= 30
    best = f"; best validation {found.measure} {found.best[1]:#.3g} at step {found.best[0]:.0f}" if found.best else ""
    mean = f", and the mean of {MEAN_OF} steps" if means else ""
    return figure(f"Training and validation {found.measure} over the steps{mean}{best}", _WIDTH, 220, shapes)


def _grid(x: Scale, y: Scale, write: Callable[[float], str]) -> list[Markup]:
    """A line across and its value on the left for each round value of ``y``."""
    return [
        shape
        for tick in y.ticks()
        for shape in (
            line([(x.start, y(tick)), (x.end, y(tick))], LINE, 0.7),
            text(x.start - 7, y(tick) + 4, write(tick), anchor="end"),
        )
    ]


def _axis(x: Scale, y: float, marks: Mapping[float, str]) -> list[Markup]:
    """The axis, and the marks below it."""
    axis = line([(x.start, y), (x.end, y)], LINE, 1)
    return [axis, *(text(x(at), y + 16, words, anchor="middle") for at, words in marks.items())]


def _in_seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:g}{' s' if milliseconds else ''}"
