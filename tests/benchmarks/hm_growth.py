"""How the seconds and the memory of our three programs grow with rows, users, items, factors and k."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import hm_stages
from hm_ours import Ours
from hm_stages import Cost, Stage

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from markupsafe import Markup  # noqa: E402

from steps.artifacts.charts import Scale, Series, lines  # noqa: E402

ITERATIONS = 5
SHARDS = "1"
MIB = 1 << 20
STEPS = (1, 2, 4, 8)
"""By which each of the measures is multiplied, while all others stay."""
WIDTH, HEIGHT, TOP, BELOW = 260, 250, 60, 30
"""Of a picture's panels, and of what is written over and under them, in pixels."""
COLOURS = {"data_publish": "#0072b2", "train": "#d55e00", "batch_predict": "#009e73"}
STYLE = """
text { font: 12px sans-serif; fill: #333 } .tick { font-size: 10px; fill: #666 } .grid { stroke: #ddd }
.line { fill: none; stroke-width: 2 } svg { overflow: visible }
"""


@dataclass(frozen=True)
class Shape:
    """Of the purchases and of what is made of them."""

    rows: int = 1_000_000
    users: int = 50_000
    items: int = 8_000
    factors: int = 32
    k: int = 12

    def times(self, measure: str, factor: int) -> Shape:
        return replace(self, **{measure: getattr(self, measure) * factor})


MEASURES = ("rows", "users", "items", "factors", "k")
WARM_UP = Shape().times("factors", STEPS[-1])
"""Is not counted: it compiles what is compiled, once for a machine, and reads the libraries from the disk."""


@dataclass(frozen=True)
class Point:
    """What the programs cost where one of the measures is this large."""

    measure: str
    value: int
    costs: Sequence[Cost]


def measure(work: Path, plot: Path | None) -> None:
    """Prints a line of the table as each is known, and draws them all at the end."""
    print(f"{about()}\n")
    costs(WARM_UP, work)
    print("\n".join(heading("")))
    points = []
    for point in measured(work):
        figures = [figure for cost in point.costs for figure in (f"{cost.seconds:.1f}", f"{cost.memory / MIB:.0f}")]
        print(row([f"{point.value:,} {point.measure}", *figures]), flush=True)
        points.append(point)
    print("\n".join(["", *heading("grows by"), *growth(points)]))
    if plot:
        plot.write_text(picture(points), encoding="utf-8")
        print(f"\n{plot}: both axes by doubling; what grows in proportion rises as steeply as it goes to the right")


def about() -> str:
    begin = ", ".join(f"{getattr(Shape(), name):,} {name}" for name in MEASURES)
    times = ", ".join(map(str, STEPS))
    return f"From {begin}: one of them times {times} while the others stay; {ITERATIONS} iterations."


def heading(first: str) -> list[str]:
    titles = [first, *(f"{name} {what}" for name in COLOURS for what in ("s", "MiB"))]
    return [row(titles), row(["---"] * len(titles))]


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def growth(points: Sequence[Point]) -> Iterator[str]:
    """How many times the seconds and the memory of the smallest the largest of each measure takes."""
    for name in dict.fromkeys(point.measure for point in points):
        first, *_, last = (point for point in points if point.measure == name)
        times = [
            figure
            for small, large in zip(first.costs, last.costs, strict=True)
            for figure in (large.seconds / small.seconds, large.memory / small.memory)
        ]
        yield row([f"{last.value / first.value:g} times the {name}", *(f"× {one:.1f}" for one in times)])


def measured(work: Path) -> Iterator[Point]:
    known: dict[Shape, list[Cost]] = {}
    for name in MEASURES:
        for factor in STEPS:
            shape = Shape().times(name, factor)
            if shape not in known:
                known[shape] = costs(shape, work)
            yield Point(name, getattr(shape, name), known[shape])


def costs(shape: Shape, work: Path) -> list[Cost]:
    """Of the three programs, from files that are made for it and go again."""
    folder = work / "growth"
    sizes = ("--rows", str(shape.rows), "--customers", str(shape.users), "--articles", str(shape.items))
    program = str(Path(__file__).with_name("hm_data.py"))
    hm_stages.run(Stage("data", [sys.executable, program, *sizes, "--folder", str(folder / "files")], counted=False))
    way = Ours(folder / "files", folder, shape.factors, ITERATIONS)
    found = [way.publish(), way.train(), *way.release(), way.predict(shape.k, SHARDS)]
    shutil.rmtree(folder)
    return [cost for cost in found if cost.stage.counted]


def doubling(values: Sequence[float]) -> Scale:
    """An axis on which twice as much is always as far."""
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    ticks = list(range(low, max(high, low + 1) + 1))
    return Scale(ticks[0], ticks[-1], ticks, [f"{2.0**tick:g}" for tick in ticks])


def beside_numbers(scale: Scale) -> Scale:
    """With room on the left, where the numbers of the other axis are written."""
    return replace(scale, low=scale.low - 0.35)


def picture(points: Sequence[Point]) -> str:
    """A panel a measure: seconds above, memory below, a line a program."""
    names = list(dict.fromkeys(point.measure for point in points))
    seconds = doubling([cost.seconds for point in points for cost in point.costs])
    memory = doubling([cost.memory / MIB for point in points for cost in point.costs])
    panels = Markup()
    for column, name in enumerate(names):
        own = [point for point in points if point.measure == name]
        x = beside_numbers(Scale.of([f"{point.value:,}" for point in own]))
        for row, (y, what) in enumerate(((seconds, "seconds"), (memory, "MiB"))):
            place = Markup('<svg x="{}" y="{}" width="{}" height="{}">').format(
                column * WIDTH + 15, TOP + row * HEIGHT, WIDTH - 40, HEIGHT
            )
            title = Markup('<text x="50%" y="4" text-anchor="middle">{} by {}</text>').format(what, name)
            panels += place + title + drawn(own, x, y, what) + Markup("</svg>")
    return str(framed(panels, len(names) * WIDTH, TOP + 2 * HEIGHT + BELOW))


def drawn(points: Sequence[Point], x: Scale, y: Scale, what: str) -> Markup:
    series = []
    for number, name in enumerate(COLOURS):
        values = [
            point.costs[number].seconds if what == "seconds" else point.costs[number].memory / MIB for point in points
        ]
        places = [(float(place), math.log2(value)) for place, value in enumerate(values)]
        titles = [f"{name}: {value:.3g} {what}" for value in values]
        series.append(Series(name, name, places, titles=titles))
    return lines(series, x, y, f"{what} of the programs")


def framed(panels: Markup, width: int, height: int) -> Markup:
    """With the colours, and the names of the lines over all of it."""
    style = STYLE + "".join(
        f".line.{name} {{ stroke: {tone} }} .dot.{name} {{ fill: {tone} }}\n" for name, tone in COLOURS.items()
    )
    begin = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}"><style>{}</style>').format(
        width, height, width, style
    )
    legend = Markup()
    for place, (name, tone) in enumerate(COLOURS.items()):
        left = 20 + 140 * place
        legend += Markup('<rect x="{}" y="16" width="14" height="4" fill="{}"/>').format(left, tone)
        legend += Markup('<text x="{}" y="22">{}</text>').format(left + 20, name)
    what = Markup('<text x="20" y="{}">{} Both axes by doubling.</text>').format(height - 12, about())
    ground = Markup('<rect width="100%" height="100%" fill="white"/>')
    return begin + ground + legend + what + panels + Markup("</svg>\n")
