"""The report's figures, as SVG that takes its colours from the page; they hold numbers only."""

import functools
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import matplotlib
import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from pipeline.output.run_record import RunRecord
from pipeline.output.scatter import BEFORE, PROTOTYPE, ROW
from pipeline.output.words import number, short

MAX_BARS = 40
WIDTH = 4.2  # inches: small, so that the text can still be read at 320 px
INTEGERS = {"nbins": 6, "integer": True}

# matplotlib knows no CSS variables: a figure is drawn in these colours, which are then replaced.
INK, LINE, RED, MARK, BAR, THEN = (f"#00000{i}" for i in range(1, 7))
HUES = [f"#00001{i}" for i in range(8)]  # that the colour-blind tell apart
SHAPES = ["o", "^", "s", "D"]  # for every eight clusters another
CSS = dict(
    zip(
        (INK, LINE, RED, MARK, BAR, THEN),
        ("ink", "line", "red", "mark", "bar", "then"),
        strict=True,
    )
)
CSS |= {hue: f"c{i}" for i, hue in enumerate(HUES)}
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.color": LINE,
    "svg.fonttype": "none",
    "svg.hashsalt": "kmeans-tf",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.major.size": 0,
    "ytick.color": INK,
    "ytick.major.size": 0,
}


def draw(figure_of: Callable[..., None], *args: Any, of: str = "") -> Markup:
    """An SVG element of what a function draws on axes; `of` tells it from its others on a page."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, WIDTH * 0.62), layout="constrained")
        figure_of(figure.add_subplot(), *args)
        svg = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=nothing)
    return _inline(svg.getvalue(), figure_of.__name__ + of)


def cost_curve(ax: Axes, history: pa.Table, run: RunRecord, chosen: int) -> None:
    """Draws a line per trial, a triangle per relocation, and the final cost as a red ring.

    Costs are per unit of weight; the run that this one is held against is dashed, behind.
    The chosen trial's line is a bold one, which leads to the ring.
    """
    weight = run.counts.weight or 1.0
    final, then = run.result.cost / weight, run.compared.costs if run.compared else []
    trial, iteration, cost, relocated = (
        history[name].to_numpy() for name in ("trial", "iteration", "cost", "relocated")
    )
    cost, trials = cost / weight, np.unique(trial)
    end = iteration.min() + run.result.iterations
    if then:
        ax.plot(np.arange(len(then)), then, "--", color=THEN, lw=1.5)
    for one in trials:
        x, y = iteration[trial == one], cost[trial == one]
        if one == chosen:
            x, y = np.append(x, end), np.append(y, final)
        colour, width = (INK, 1.8) if one == chosen else (BAR, 0.8)
        [line] = ax.plot(x, y, ".-" if len(x) < 60 else "-", color=colour, lw=width)
        line.set_zorder(2.5 if one == chosen else 2)
    refilled = relocated > 0
    above: dict[str, Any] = {"clip_on": False, "zorder": 3}
    if refilled.any():
        ax.plot(iteration[refilled], cost[refilled], "v", color=MARK, ms=8, **above)
    ax.plot([end], [final], "o", mfc="none", mec=RED, mew=2, ms=9, **above)
    ax.xaxis.set_major_locator(MaxNLocator(**INTEGERS))
    _scale_y(ax, [*cost, final, *then])


def trial_curve(ax: Axes, trials: pa.Table, name: str) -> None:
    """Draws a figure of each trial over k, a line through the means, and a ring at the chosen."""
    k, figure, chosen = (trials[column].to_numpy() for column in ("k", name, "chosen"))
    figure = figure.astype(np.float64)
    known = np.isfinite(figure)
    each = np.unique(k[known])
    ax.plot(each, [figure[known & (k == value)].mean() for value in each], "-", color=THEN, lw=1.5)
    ax.plot(k, figure, "o", color=INK, ms=4, mew=0)
    ax.plot(k[chosen], figure[chosen], "o", mfc="none", mec=RED, mew=2, ms=11, zorder=3)
    ax.xaxis.set_major_locator(MaxNLocator(**INTEGERS))
    _scale_y(ax, figure.tolist())


def size_curve(ax: Axes, rows: Sequence[int], then: Sequence[int]) -> None:
    """Draws the rows of many clusters, from the largest cluster down; those of then dashed."""
    for sizes, colour, line in ((then, THEN, "--"), (rows, INK, "-")):
        ax.plot(np.arange(1, len(sizes) + 1), np.sort(sizes)[::-1], line, color=colour)
    _scale_y(ax, [*rows, *then])


def size_bars(
    ax: Axes, labels: Sequence[int], rows: Sequence[int], then: Sequence[int | None]
) -> None:
    """Draws a bar of rows per cluster, in this order; what they were as a thin one."""
    k = len(labels)
    _figure(ax).set_figheight(0.55 + (0.3 if then else 0.22) * max(k, 3))
    bars = ax.barh(np.arange(k), rows, color=BAR, height=0.6)
    ax.bar_label(bars, [short(n, 4, max(rows)) for n in rows], padding=3)
    if then:
        ax.barh(np.arange(k) + 0.4, [n or 0 for n in then], color=THEN, height=0.2)
    largest = max(1, *rows, *(n or 0 for n in then))
    ax.set(xlim=(0, largest * 1.25), ylim=(k - 0.4, -0.6))
    ax.set_yticks(np.arange(k), [str(label) for label in labels])
    ax.grid(axis="y", visible=False)
    _ticks(ax.xaxis, rows, nbins=3)


def scatter(ax: Axes, places: pa.Table) -> None:
    """Draws rows in the hue and shape of their label, and prototypes as circles in red.

    An arrow leads to a prototype from where it was.
    """
    _figure(ax).set_figheight(WIDTH * 0.9)
    points, prototypes, before = (_places(places, kind) for kind in (ROW, PROTOTYPE, BEFORE))
    labels = sorted({p[2] for p in prototypes} | {p[2] for p in points if p[2] >= 0})
    for i, label in enumerate(labels):
        shape, hue = SHAPES[i // len(HUES) % len(SHAPES)], HUES[i % len(HUES)]
        _dots(ax, [p for p in points if p[2] == label], shape, c=hue, ms=3.2, mew=0)
    _dots(ax, [p for p in points if p[2] < 0], "x", c=MARK, ms=5)
    few = len(prototypes) <= MAX_BARS
    for x, y, label in before:
        for now in (p for p in prototypes if p[2] == label):
            style = {"arrowstyle": "->", "color": RED, "lw": 1.2, "shrinkA": 0, "shrinkB": 4}
            style |= {} if few else {"arrowstyle": "-", "lw": 0.6, "shrinkB": 1}
            ax.annotate("", now[:2], (x, y), arrowprops=style, zorder=4)
    size = 9 if few else 4
    _dots(ax, prototypes, "o", mfc="none", mec=RED, mew=size / 5, ms=size, zorder=4)
    for x, y, label in prototypes if few else []:
        _label(ax, str(label), (x, y))
    for axis, place in ((ax.xaxis, 0), (ax.yaxis, 1)):
        _ticks(axis, [p[place] for p in points + prototypes], nbins=5)


def seconds_per_iteration(ax: Axes, seconds: list[float], jobs: list[int]) -> None:
    """Draws the seconds of each iteration as steps from zero; a triangle where a job began."""
    _figure(ax).set_figheight(1.6)
    ax.stairs(seconds, np.arange(len(seconds) + 1) - 0.5, fill=True, color=BAR)
    top = max(seconds) * 1.15 or 1
    began = [i for i in jobs if i < len(seconds)]
    ax.plot(began, [top * 0.95] * len(began), "v", color=MARK, ms=6, clip_on=False)
    ax.set_ylim(0, top)
    ax.xaxis.set_major_locator(MaxNLocator(**INTEGERS))
    _ticks(ax.yaxis, seconds, nbins=3)


def is_logarithmic(values: Iterable[float]) -> bool:
    """Whether an axis of such values is."""
    finite = _finite(values)
    return min(finite) >= 0 and max(finite) > 10 * min(finite)


def _label(ax: Axes, text: str, place: tuple[float, float]) -> None:
    """Writes at a prototype, on a ground that lets it be read over points."""
    box = {"boxstyle": "round,pad=0.15", "fc": "#000009", "ec": "none", "alpha": 0.8}
    ax.annotate(
        text,
        place,
        (6, 5),
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
        bbox=box,
        zorder=5,
        annotation_clip=False,
    )


def _inline(svg: str, name: str) -> Markup:
    """Makes an SVG file an element of a page: ids of its own, colours from the page."""
    svg = svg[svg.index("<svg") :].replace("xlink:href", "href")
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"|<style.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    svg = svg.replace("#000009", "var(--paper)")
    return Markup(re.sub("#0000[01][0-9]", lambda colour: f"var(--{CSS[colour[0]]})", svg))


def _figure(ax: Axes) -> Figure:
    return cast(Figure, ax.figure)  # none of these axes is part of a subfigure


def _dots(ax: Axes, points: list, marker: str, **style: Any) -> None:
    if points:
        ax.plot([p[0] for p in points], [p[1] for p in points], marker, **style)


def _places(table: pa.Table, kind: str) -> list[tuple[float, float, int]]:
    """x, y and label of one kind; without what has no place: a bad row may lack a coordinate."""
    columns = (table[name].to_pylist() for name in ("kind", "x", "y", "label"))
    return [
        (x, y, label)
        for each, x, y, label in zip(*columns, strict=True)
        if each == kind and all(v is not None and abs(v) < 1e300 for v in (x, y))
    ]


def _finite(values: Iterable[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)] or [0]


def _scale_y(ax: Axes, values: Iterable[float]) -> None:
    values = _finite(values)
    if not is_logarithmic(values):
        least = 1e-4 * max(map(abs, values)) or 0.5  # what is flatter looks flat
        middle = (max(values) + min(values)) / 2
        if max(values) - min(values) < least:
            ax.set_ylim(max(0, middle - least), middle + least)
            values = [middle - least, middle + least]
        _ticks(ax.yaxis, values, nbins=5)
        return
    if min(values) > 0:
        ax.set_yscale("log")
        subs = (1, 2, 5) if max(values) < 1000 * min(values) else (1,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    else:  # zero has its place, below the smallest positive value
        ax.set_yscale("symlog", linthresh=min(v for v in values if v > 0))
        ax.set_ylim(bottom=0)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(_short)


def _ticks(axis: Axis, values: Iterable[float], nbins: int) -> None:
    """Labels an axis with as many digits as it takes to tell its ticks apart."""
    values = _finite(values)
    spread, largest = max(values) - min(values), max(map(abs, values))
    digits = min(15, 3 + math.ceil(math.log10(largest / spread))) if spread else 6
    axis.set_major_locator(MaxNLocator(nbins=nbins))
    axis.set_major_formatter(functools.partial(_short, digits=digits, largest=largest))


def _short(value: float, _: float, digits: int = 6, largest: float | None = None) -> str:
    many = abs(value) >= 1e15
    return number(value, min(digits, 6)) if many else short(value, digits, largest)
