"""Charts as SVG for a page: no library, no script, as wide as there is room, in the colours that the page gives.

Places are per cent across and pixels down, so that a chart fits a phone and its text stays as large as the page's.
Everything that comes from data is escaped where it enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

LEFT, RIGHT = 8.0, 97.0
"""Between these per cent lies the data: a mark at the edge is not cut off, nor a number on the left written over."""
ABOVE, BELOW = 18, 26
"""Pixels over the highest line, for its number, and under the lowest, for what is written along it."""
HEIGHT = 220
ROW = 22
Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """From values to places, with the round numbers that are written along it."""

    low: float
    high: float
    ticks: Sequence[float]
    names: Sequence[str]

    @classmethod
    def over(cls, values: Sequence[float], zero: bool = False, about: int = 5) -> Scale:
        """Holds all values and begins and ends at round numbers; with `zero`, also zero."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            low, high = low - (abs(low) / 10 or 0.5) * (not zero), high + (abs(high) / 10 or 0.5)
        step = round_step((high - low) / about)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        ticks = [number * step for number in range(first, last + 1)]
        return cls(ticks[0], ticks[-1], ticks, [f"{tick:.{digits}f}" for tick in ticks])

    @classmethod
    def of(cls, names: Sequence[str]) -> Scale:
        """One place a name, all equally far from each other: 0 for the first, 1 for the second."""
        return cls(0.0, max(len(names) - 1.0, 1.0), [float(place) for place in range(len(names))], names)

    @classmethod
    def counted(cls, first: int, last: int, about: int = 8) -> Scale:
        """Whole numbers, such as those of passes or trials."""
        step = max(1, math.ceil(round_step(max(last - first, 1) / about)))
        ticks = [float(tick) for tick in range(first, last + 1) if (tick - first) % step == 0]
        return cls(float(first), float(max(last, first + 1)), ticks, [f"{tick:.0f}" for tick in ticks])

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def across(self, value: float) -> str:
        return f"{LEFT + (RIGHT - LEFT) * self.share(value):.2f}"


def round_step(least: float) -> float:
    """The next number at or above of the kind 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


@dataclass(frozen=True)
class Series:
    """Points that belong together. `style` is a class of the page: it gives the colour."""

    name: str
    style: str
    points: Sequence[Point]
    line: bool = True
    mark: str = "circle"
    """circle, ring, cross, or nothing."""
    titles: Sequence[str] = field(default=())
    """What each point says when it is pointed at; else its name and value."""


def lines(series: Sequence[Series], x: Scale, y: Scale, label: str) -> Markup:
    """Points over two scales, joined by lines; `label` is for who cannot see it."""
    inside = Markup().join([*_grid(x, y), *(_line(one, x, y) for one in series if one.line and len(one.points) > 1)])
    marks = Markup().join(mark for one in series for mark in _marks(one, x, y))
    return _figure(HEIGHT, label, inside + marks)


def whisker(value: float, low: float, high: float, x: Scale, style: str, label: str) -> Markup:
    """One value with its interval, for a cell of a table; all cells of a column share the scale."""
    middle = ROW / 2
    lines_down = Markup().join(_upright(x.across(tick), 0, ROW) for tick in x.ticks)
    span = Markup('<line class="span {}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(
        style, x.across(low), x.across(high), middle, middle
    )
    dot = Markup('<circle class="dot {}" cx="{}%" cy="{}" r="5"/>').format(style, x.across(value), middle)
    return _figure(ROW, label, lines_down + span + dot)


def ruler(x: Scale) -> Markup:
    """The numbers along a column of whiskers."""
    return _figure(ROW, "scale", Markup().join(_numbers(x, 15)))


def _figure(height: int, label: str, inside: Markup) -> Markup:
    start = Markup('<svg class="chart" width="100%" height="{}" role="img" aria-label="{}">').format(height, label)
    return start + inside + Markup("</svg>")


def _down(y: Scale, value: float) -> str:
    return f"{ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - y.share(value)):.1f}"


def _grid(x: Scale, y: Scale) -> Iterator[Markup]:
    for tick, name in zip(y.ticks, y.names, strict=True):
        down = _down(y, tick)
        yield Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>').format(down, down)
        yield Markup('<text class="tick" x="0" y="{:.1f}">{}</text>').format(float(down) - 4, name)
    yield from _numbers(x, HEIGHT - 6)


def _numbers(x: Scale, y: int) -> Iterator[Markup]:
    for tick, name in zip(x.ticks, x.names, strict=True):
        yield Markup('<text class="tick" text-anchor="middle" x="{}%" y="{}">{}</text>').format(x.across(tick), y, name)


def _upright(across: str, top: int, bottom: int) -> Markup:
    return Markup('<line class="grid" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(across, across, top, bottom)


def _line(one: Series, x: Scale, y: Scale) -> Markup:
    # Only a picture of its own, stretched to fit, can have corners at per cent of the width.
    points = " ".join(f"{x.across(left)},{100 * (1 - y.share(up)):.2f}" for left, up in one.points)
    return Markup(
        '<svg y="{}" width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none" overflow="visible">'
        '<polyline class="line {}" vector-effect="non-scaling-stroke" points="{}"/></svg>'
    ).format(ABOVE, HEIGHT - ABOVE - BELOW, one.style, points)


def _marks(one: Series, x: Scale, y: Scale) -> Iterator[Markup]:
    if not one.mark:
        return
    titles = one.titles or [f"{one.name}: {up:.4g}" for _, up in one.points]
    for (left, up), title in zip(one.points, titles, strict=True):
        across, down = x.across(left), _down(y, up)
        said = Markup("<title>{}</title>").format(title)
        if one.mark == "cross":
            yield Markup('<text class="cross {}" text-anchor="middle" x="{}%" y="{}">×{}</text>').format(
                one.style, across, float(down) + 5, said
            )
        else:
            yield Markup('<circle class="{} {}" cx="{}%" cy="{}" r="3.5">{}</circle>').format(
                "ring" if one.mark == "ring" else "dot", one.style, across, down, said
            )
