"""The few shapes that a chart is made of, as SVG in the colours of the page. Lengths are in units of the view box."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10

from markupsafe import Markup

INK, MUTED, LINE, BASE, TUNED, BAD, PAPER = (
    f"var(--{name})" for name in ("ink", "muted", "line", "base", "tuned", "bad", "paper")
)
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` onto the stretch from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies. ValueError if that is nowhere, as for one that is not a number."""
        place = self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)
        if not isfinite(place):
            raise ValueError("no place for it")
        return place

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within the scale: about ``most`` of them, and at least two. ValueError if there are none."""
        rough = ((self.high - self.low) or 1.0) / most
        power = 10.0 ** floor(log10(rough))
        step = next((power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9)), 0.0)
        if not 0 < step < inf:
            raise ValueError("no steps on this scale")
        return [step * k for k in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def figure(label: str, width: float, height: float, shapes: Iterable[Markup], *, own_size: bool = False) -> Markup:
    """The chart; ``label`` says what it shows to those who cannot see it. ``own_size``: never smaller than its units are."""
    head = Markup('<svg role="img" viewBox="0 0 {:g} {:g}" aria-label="{}" font-size="11.5"{}><title>{}</title>')
    least = Markup(' style="min-width: {:g}px"').format(width) if own_size else Markup("")
    return head.format(width, height, label, least, label) + Markup("").join(shapes) + Markup("</svg>")


def rect(x: float, y: float, width: float, height: float, colour: str) -> Markup:
    shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>')
    return shape.format(x, y, width, height, colour)


def cell(x: float, y: float, size: float, colour: str, strength: float) -> Markup:
    """A square of a table; ``strength``: 0 to 1."""
    shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}" fill-opacity="{:.2f}"/>')
    return shape.format(x, y, size, size, colour, strength)


def turned(x: float, y: float, words: str, colour: str = MUTED) -> Markup:
    """Text that runs upwards from a point."""
    shape = Markup('<text transform="translate({:.1f} {:.1f}) rotate(-90)" fill="{}">{}</text>')
    return shape.format(x, y, colour, words)


def line(points: Points, colour: str, width: float = 1.5, opacity: float = 1) -> Markup:
    """A line through the points; a single point gives nothing that can be seen."""
    shape = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{:g}" stroke-opacity="{:g}"/>')
    return shape.format(" ".join(f"{x:.1f},{y:.1f}" for x, y in points), colour, width, opacity)


def dot(x: float, y: float, radius: float, fill: str, stroke: str = "none", opacity: float = 1) -> Markup:
    shape = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" fill="{}" stroke="{}" stroke-width="1.5" opacity="{:g}"/>')
    return shape.format(x, y, radius, fill, stroke, opacity)


def text(x: float, y: float, words: str, colour: str = MUTED, anchor: str = "start") -> Markup:
    """``anchor``: where on the words the point lies, "start", "middle" or "end" of their baseline."""
    shape = Markup('<text x="{:.1f}" y="{:.1f}" fill="{}" text-anchor="{}">{}</text>')
    return shape.format(x, y, colour, anchor, words)
