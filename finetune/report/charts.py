"""The charts, as inline SVG in the colours of the page; the same numbers give the same bytes."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import Markup

from finetune.report.texts import percent, seconds

INK, MUTED, LINE, BASE, TUNED, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
# stand-ins: in the SVG each becomes the variable of the page's style
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", BASE: "--base", TUNED: "--tuned", PAPER: "--paper"}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page shows its own font, which is narrower
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
_ON_WHITE = {INK: "#1a1a1a", MUTED: "#666666", LINE: "#d0d0d0", BASE: "#9a9a9a", TUNED: "#0b6e8f"}
_COLOURS = {"base": BASE, "tuned": TUNED}
_WIDTH = 4.4  # inches; on a phone this is shown at about its natural size, so the text can be read
_NARROW = 3.3  # of charts of which three stand side by side
_MEAN_OF = 10  # points of a curve of rewards: from step to step prompts are easier or harder


def accuracy(sides: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], metric: str) -> Markup:
    """A bar with its 95 % interval for each of ``sides``: {"base": summary, "tuned": summary}, called as ``labels`` say."""

    def draw(axes: Any) -> None:
        for y, (name, side) in enumerate(sides.items()):
            low, high = side["interval"]
            axes.barh(y, side["accuracy"], height=0.56, color=_COLOURS[name])
            axes.plot([low, high], [y, y], color=INK, linewidth=1.2, marker="|", markersize=7)
            axes.annotate(percent(side["accuracy"]), (1.03, y), va="center", annotation_clip=False)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100\N{NO-BREAK SPACE}%"])
        _rows(axes, [labels[name] for name in sides])

    told = (f"{labels[name]} {percent(side['accuracy'])}" for name, side in sides.items())
    return _svg(draw, 0.6 + 0.55 * len(sides), f"Bars of {metric}: {', '.join(told)}, with 95 % intervals")


def latency(sides: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """A dot for each whole answer, and a mark at p50, p95 and p99, in a row for each side; None without answers."""
    sides = {name: side for name, side in sides.items() if side.get("all") and name in _COLOURS}
    if not sides:
        return None
    longest = max(max(side["all"]) for side in sides.values()) or 1.0

    def draw(axes: Any) -> None:
        for y, (name, side) in enumerate(sides.items()):
            axes.scatter(side["all"], [y] * len(side["all"]), s=36, color=_COLOURS[name], alpha=0.5, linewidths=0)
            for key, up, align in (("p50", True, "right"), ("p95", False, "center"), ("p99", True, "left")):
                at = side[key]
                axes.plot([at, at], [y, y - 0.22 if up else y + 0.22], color=INK, linewidth=1.2)
                # at the left edge there is no room before the mark
                align = "left" if at < 0.15 * longest else align
                axes.text(at, y - 0.26 if up else y + 0.26, key, ha=align, va="bottom" if up else "top", fontsize=8.5)
        axes.set_xlim(0, 1.12 * longest)
        axes.xaxis.set_major_formatter(_in_seconds)
        axes.locator_params(axis="x", nbins=5)
        _rows(axes, list(sides))

    told = (f"{name} p50 {seconds(side['p50'])}, p99 {seconds(side['p99'])}" for name, side in sides.items())
    return _svg(draw, 0.6 + 0.75 * len(sides), f"Time of a whole answer, a dot each: {'; '.join(told)}")


def lengths(measured: Sequence[Mapping[str, Any]]) -> Markup | None:
    """The time to the first token over the length of the prompt; None where fewer than two lengths were measured."""
    if len(measured) < 2:
        return None
    sizes, times = [at["tokens"] for at in measured], [at["first_token_ms"] for at in measured]

    def draw(axes: Any) -> None:
        axes.plot(sizes, times, color=TUNED, linewidth=1.8, marker="o", markersize=4)
        axes.set(xlim=(0, 1.05 * max(sizes)), ylim=(0, 1.1 * max(times)), xlabel="tokens of the prompt")
        axes.set_ylabel("first token after")
        axes.locator_params(nbins=5)
        axes.yaxis.set_major_formatter(_in_seconds)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)

    told = f"{seconds(times[0])} at {sizes[0]:,} tokens to {seconds(times[-1])} at {sizes[-1]:,}"
    return _svg(draw, 2.4, f"Time to the first token by the length of the prompt: {told}")


def trend(
    points: Sequence[tuple[float, float, float, bool]],
    days: Sequence[str],
    what: str,
    write: Callable[[float], str],
    top: float | None = None,
) -> Markup:
    """A figure over the benchmarks: value, lowest and highest of each, and whether it can be compared with the last."""
    values = [value for value, *_ in points]
    alike = [(x, point) for x, point in enumerate(points) if point[3]]

    def draw(axes: Any) -> None:
        axes.plot([x for x, _ in alike], [point[0] for _, point in alike], color=TUNED, linewidth=1.8, zorder=2)
        for x, (value, low, high, filled) in enumerate(points):
            axes.plot([x, x], [low, high], color=MUTED, linewidth=1.2, zorder=1)
            face = TUNED if filled else PAPER
            axes.scatter(x, value, s=26, facecolors=face, edgecolors=TUNED, linewidths=1.2, zorder=3)
        for x, align in ((0, "right"), (len(points) - 1, "left")):
            shift = -7 if align == "right" else 7
            axes.annotate(
                write(values[x]), (x, values[x]), (shift, 0), textcoords="offset points", ha=align, va="center"
            )
        room = 0.3 * (len(points) - 1)  # for the numbers at both ends
        highest = top or 1.15 * max(high for _, _, high, _ in points)
        axes.set(xlim=(-room, len(points) - 1 + room), ylim=(-0.08 * highest, highest))  # a dot at 0 is seen whole
        axes.set_xticks([0, len(points) - 1], [days[0], days[-1]])
        axes.tick_params("x", length=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)

    return _svg(draw, 1.6, f"{what} over {len(points)} benchmarks: {write(values[0])} to {write(values[-1])}", _NARROW)


def _in_seconds(milliseconds: float, _: int) -> str:
    return f"{milliseconds / 1e3:g}{' s' if milliseconds else ''}"


def _rows(axes: Any, names: Sequence[str]) -> None:
    """A row of its own for each name, the first at the top."""
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axes.tick_params("y", length=0, labelcolor=INK)


def measure(metrics: Sequence[Mapping[str, Any]]) -> str:
    """What a run is followed by: "loss", or "reward" where the model learns from its own answers."""
    return "reward" if any("valid_reward" in row for row in metrics) else "loss"


def curve(metrics: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Training and validation loss, or reward, over the steps, the best validation marked; None without any."""
    drawn = _drawn(metrics)
    about = f"Training and validation {measure(metrics)} over the steps"
    return _svg(drawn[0], 2.4, f"{about}{drawn[1]}") if drawn else None


def curve_picture(metrics: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The same chart as a PNG on white; None without any."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn = _drawn(metrics)
    if drawn is None:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        drawn[0](figure.add_subplot())
        for artist in figure.findobj():
            for part in ("color", "edgecolor", "facecolor"):
                _repaint(artist, part)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _repaint(artist: Any, part: str) -> None:
    """Give a part of a figure the colour that its stand-in means on white."""
    from matplotlib.colors import to_hex

    getter, setter = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
    if getter is None or setter is None:
        return
    try:
        colour = to_hex(getter())
    except ValueError:  # a part with several colours, or none
        return
    if colour in _ON_WHITE:
        setter(_ON_WHITE[colour])


def _drawn(metrics: Sequence[Mapping[str, Any]]) -> tuple[Callable[[Any], None], str] | None:
    """What draws the curves, and what it shows in words."""
    shown = measure(metrics)
    training, validation = _curve(metrics, shown), _curve(metrics, f"valid_{shown}")
    best = [row["step"] for row in metrics if row.get("best") and row["step"] in validation][-1:]
    if not training and not validation:
        return None

    def draw(axes: Any) -> None:
        dot = {"marker": "o", "markersize": 3.5}
        alone = dot if len(training) == 1 else {}  # a line of one point would not be seen
        smooth = shown == "reward" and len(training) >= 2 * _MEAN_OF  # a loss falls, and a mean would lag behind
        axes.plot(*_xy(training), color=BASE, linewidth=1, label="training", alpha=0.35 if smooth else 1, **alone)
        if smooth:
            axes.plot(*_xy(_means(training)), color=BASE, linewidth=1.8, label=f"the mean of {_MEAN_OF}")
        axes.plot(*_xy(validation), color=TUNED, linewidth=1.8, label="validation", **dot)
        for step in best:
            label = f"best: {validation[step]:#.3g}, step {step}"
            axes.scatter(step, validation[step], s=80, facecolors="none", edgecolors=INK, zorder=3, label=label)
        axes.set_xlabel("step")
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel(shown)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncol=4, borderaxespad=0.2, columnspacing=1.2, fontsize="small"
        )

    return draw, "".join(f"; best validation {shown} {validation[step]:#.3g} at step {step}" for step in best)


def _means(curve: Mapping[int, float]) -> dict[int, float]:
    """At each point the mean of the last ``_MEAN_OF``, where there are so many."""
    steps, values = list(curve), list(curve.values())
    return {steps[at]: fmean(values[at + 1 - _MEAN_OF : at + 1]) for at in range(_MEAN_OF - 1, len(steps))}


def _curve(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """A figure by step. A resumed run reports some steps twice: the later one counts."""
    return {row["step"]: row[key] for row in metrics if key in row}


def _xy(curve: Mapping[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(curve)
    return steps, [curve[step] for step in steps]


def _svg(draw: Callable[[Any], None], height: float, label: str, width: float = _WIDTH) -> Markup:
    """The figure as SVG without its prologue, its fixed size, its global style and its ids of groups."""
    import matplotlib
    from matplotlib.figure import Figure

    # with the salt the ids inside are the same in each run, and others in each figure
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": label}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    svg = file.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box
    inside = re.sub(r"<style.*?</style>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.DOTALL)
    inside = re.sub(r'<g id="[^"]*"', "<g", inside)
    for colour, variable in _VARIABLES.items():
        inside = inside.replace(colour, f"var({variable})")
    head = Markup('<svg role="img" {} aria-label="{}"><title>{}</title>')
    return head.format(Markup(view_box[0]), label, label) + Markup(inside)
