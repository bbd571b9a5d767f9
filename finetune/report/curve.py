"""How a run went: the curves of metrics.jsonl, and their picture beside the adapters."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

Metrics = Sequence[Mapping[str, float]]
Points = list[tuple[float, float]]  # (step, value), by step

_MOST = 1e100  # of what is drawn: not NaN, not infinite, and its square is a number
_STEEP = 5  # times the last value
MEAN_OF = 10  # points of a curve of rewards: from step to step prompts are easier or harder


@dataclass(frozen=True)
class Curve:
    """Training and validation over the steps, and the best validation, if one was marked."""

    measure: str  # "loss", or "reward" for a run that learns from its own answers
    training: Points
    validation: Points
    best: tuple[float, float] | None

    @property
    def means(self) -> Points:
        """The mean of the last ``MEAN_OF`` points of a long reward curve. A loss falls, so its mean would lag behind."""
        if self.measure == "loss" or len(self.training) < 2 * MEAN_OF:
            return []
        values = [value for _, value in self.training]
        return [
            (step, fmean(values[at + 1 - MEAN_OF : at + 1]))
            for at, (step, _) in enumerate(self.training)
            if at + 1 >= MEAN_OF
        ]

    @property
    def is_steep(self) -> bool:
        """Whether a loss falls so far that on a linear axis its end would lie flat on the floor."""
        curves = [[value for _, value in points] for points in (self.training, self.validation) if points]
        is_positive = all(value > 0 for values in curves for value in values)
        return is_positive and self.measure == "loss" and any(values[0] > _STEEP * values[-1] for values in curves)

    @property
    def best_label(self) -> str:
        return f"best: {self.best[1]:#.3g}, step {self.best[0]:.0f}" if self.best else ""


def curve(metrics: Metrics) -> Curve | None:
    """The curves of a run; None if it reported neither a step nor a validation."""
    shown = measure(metrics)
    training, validation = _points(metrics, shown), _points(metrics, f"valid_{shown}")
    if not training and not validation:
        return None
    values = dict(validation)
    best = [(row["step"], values[row["step"]]) for row in metrics if row.get("best") and row["step"] in values]
    return Curve(shown, training, validation, best[-1] if best else None)


def measure(metrics: Metrics) -> str:
    """What a run is followed by: "loss" or "reward"."""
    return "reward" if any("valid_reward" in row for row in metrics) else "loss"


def _points(metrics: Metrics, key: str) -> Points:
    """The values that can be drawn, by step. A resumed run reports some steps twice: the later one counts."""
    found = {row["step"]: row[key] for row in metrics if row.get(key) is not None}
    return sorted((step, value) for step, value in found.items() if abs(value) < _MOST and abs(step) < _MOST)


def curve_picture(metrics: Metrics, title: str = "") -> bytes | None:
    """The curves as a PNG, under the name of the run; None without any."""
    found = curve(metrics)
    if found is None:
        return None
    os.environ.pop(
        "MPLBACKEND", None
    )  # is for windows, and matplotlib cannot be imported with one that it does not know
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    ink, muted, grey, blue = "#1a1a1a", "#666666", "#9a9a9a", "#0b6e8f"
    style = {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#d0d0d0", "font.size": 9.5}
    style |= {"xtick.color": "#d0d0d0", "ytick.color": "#d0d0d0", "xtick.labelcolor": muted, "ytick.labelcolor": muted}
    with matplotlib.rc_context(style | {"axes.labelcolor": muted, "legend.frameon": False}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        marker = "o-" if len(found.training) == 1 else "-"  # a line of one point would not be seen
        faint = 0.35 if found.means else 1
        axes.plot(*_xy(found.training), marker, color=grey, lw=1, alpha=faint, label="training")
        if found.means:
            axes.plot(*_xy(found.means), color=grey, lw=1.8, label=f"mean of {MEAN_OF}")
        axes.plot(*_xy(found.validation), "o-", color=blue, lw=1.8, markersize=3.5, label="validation")
        if found.best:
            axes.scatter(*found.best, s=80, facecolors="none", edgecolors=ink, zorder=3, label=found.best_label)
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="step", ylabel=found.measure, axisbelow=True)
        axes.set_title(title, loc="left", fontsize="small", color=muted, parse_math=False)
        if found.is_steep:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", color="#d0d0d0", lw=0.6)
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncol=4, borderaxespad=0.2, columnspacing=1.2, fontsize="small"
        )
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _xy(points: Points) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [value for _, value in points]
