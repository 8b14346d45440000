"""Draws report.html: what a run did, on one page that needs nothing but itself.

Names from the data appear in the template only, where they are escaped; a figure holds numbers.
"""

import functools
import io
import json
import math
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any, cast

import jinja2
import matplotlib
import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from pipeline.output.run_record import Result, RunRecord, Scatter

MAX_BARS = 40
MAX_CLUSTERS = 50
MAX_FEATURES = 12
MAX_BAD = 50
WIDTH = 4.2  # inches: small, so that the text can still be read at 320 px
INTEGERS = {"nbins": 6, "integer": True}

# matplotlib knows no CSS variables: a figure is drawn in these colours, which are then replaced.
INK, LINE, RED, MARK = "#000001", "#000002", "#000003", "#000004"
GREYS = [f"#00001{level}" for level in range(8)]
CSS = {INK: "ink", LINE: "line", RED: "red", MARK: "mark"}
CSS |= {grey: f"g{level}" for level, grey in enumerate(GREYS)}
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


def render_report(run: RunRecord, history: pa.Table, prototypes: pa.Table) -> str:
    """Returns the HTML of the report, the same for the same arguments.

    Args:
      run: what run.json has.
      history: trial, iteration, cost (of the prototypes the iteration started with), relocated.
      prototypes: label, rows, weight, cost, then one column per feature or one list column.
    """
    costs, sizes = history["cost"].to_pylist(), prototypes.column(1).to_pylist()
    ranked = len(sizes) > MAX_BARS
    pace = run.seconds["iterations"]
    bad = sorted(run.counts.bad, key=lambda entry: -entry.rows)
    bad_places = sum(column.files for column in run.counts.bad_columns)
    html = _template().render(
        run=run,
        command=shlex.join(run.command),
        stages={name: s for name, s in run.seconds.items() if name != "iterations"},
        cost=_draw(cost_curve, history, run.result) if costs else None,
        cost_is_logarithmic=_is_logarithmic([*costs, run.result.cost]),
        relocated=sum(history["relocated"].to_pylist()),
        trials=len(history["trial"].unique()),
        scatter=_draw(scatter, run.scatter) if run.scatter.points else None,
        sizes=_draw(size_curve if ranked else size_bars, prototypes) if sizes else None,
        sizes_are_ranked=ranked,
        sizes_are_logarithmic=ranked and _is_logarithmic(sizes),
        pace=_draw(seconds_per_iteration, pace) if len(pace) > 1 else None,
        table=prototype_table(prototypes),
        bad=bad[:MAX_BAD],
        bad_left=max(bad_places, len(bad)) - len(bad[:MAX_BAD]),
    )
    # A file name that is not UTF-8 reaches Python as lone surrogates, which no file would take.
    return html.encode(errors="backslashreplace").decode()


def prototype_table(prototypes: pa.Table) -> dict[str, Any]:
    """Returns the first features' names, the first clusters' rows, and how many there are."""
    # By place, because a feature may well be called "weight" or "cost".
    columns = [column.slice(0, MAX_CLUSTERS).to_pylist() for column in prototypes.columns]
    names, values = list(prototypes.column_names[4:]), columns[4:]
    if values and hasattr(prototypes.schema.types[4], "value_type"):
        values = list(zip(*columns[4], strict=True))
        names = [f"{names[0]}[{i}]" for i in range(len(values))]
    rows = list(zip(*columns[:4], *values[:MAX_FEATURES], strict=True))
    return {
        "names": names[:MAX_FEATURES],
        "rows": rows,
        "features": len(names),
        "clusters": prototypes.num_rows,
    }


def cost_curve(ax: Axes, history: pa.Table, result: Result) -> None:
    """Draws a line per trial, a triangle per relocation, and the final cost as a red ring."""
    trial, iteration, cost, relocated = (
        history[name].to_numpy() for name in ("trial", "iteration", "cost", "relocated")
    )
    end, trials = iteration.min() + result.iterations, np.unique(trial)
    for one in trials:
        x, y = iteration[trial == one], cost[trial == one]
        if len(trials) == 1:
            x, y = np.append(x, end), np.append(y, result.cost)
        ax.plot(x, y, ".-" if len(x) < 60 else "-", color=INK, lw=1.5 if len(trials) == 1 else 0.8)
    refilled = relocated > 0
    above: dict[str, Any] = {"clip_on": False, "zorder": 3}
    if refilled.any():
        ax.plot(iteration[refilled], cost[refilled], "v", color=MARK, ms=8, **above)
    ax.plot([end], [result.cost], "o", mfc="none", mec=RED, mew=2, ms=9, **above)
    ax.xaxis.set_major_locator(MaxNLocator(**INTEGERS))
    _scale_y(ax, [*cost, result.cost])


def size_curve(ax: Axes, prototypes: pa.Table) -> None:
    """Draws the rows of many clusters, from the largest cluster down."""
    rows = np.sort(prototypes.column(1).to_numpy())[::-1]
    ax.plot(np.arange(1, len(rows) + 1), rows, color=INK)
    _scale_y(ax, rows.tolist())


def size_bars(ax: Axes, prototypes: pa.Table) -> None:
    """Draws a bar of rows per cluster, in the order of the table."""
    labels, rows = prototypes.column(0).to_pylist(), prototypes.column(1).to_pylist()
    k = len(labels)
    _figure(ax).set_figheight(0.55 + 0.22 * max(k, 3))
    bars = ax.barh(np.arange(k), rows, color=GREYS[4], height=0.7)
    ax.bar_label(bars, [number(n) for n in rows], padding=3)
    ax.set(xlim=(0, max(1, *rows) * 1.25), ylim=(k - 0.4, -0.6))
    ax.set_yticks(np.arange(k), [str(label) for label in labels])
    ax.grid(axis="y", visible=False)
    _ticks(ax.xaxis, rows, nbins=3)


def scatter(ax: Axes, data: Scatter) -> None:
    """Draws sampled rows in grey by label, and the prototypes as hollow circles in red."""
    _figure(ax).set_figheight(WIDTH * 0.85)
    points, prototypes = _drawable(data.points), _drawable(data.prototypes)
    labels = sorted({p[2] for p in points + prototypes} - {None})
    # Few labels spread over all greys; many take turns, so that neighbours differ.
    step = max(1, (len(GREYS) - 1) // max(1, len(labels) - 1))
    grey = {label: GREYS[i * step % len(GREYS)] for i, label in enumerate(labels)}
    for colour in GREYS:
        _dots(ax, [p for p in points if grey.get(p[2]) == colour], ".", c=colour, ms=6, mew=0)
    _dots(ax, [p for p in points if p[2] is None], "x", c=MARK, ms=5)
    size = 10 if len(prototypes) <= MAX_BARS else 4
    _dots(ax, prototypes, "o", mfc="none", mec=RED, mew=size / 5, ms=size)
    for axis, place in ((ax.xaxis, 0), (ax.yaxis, 1)):
        _ticks(axis, [p[place] for p in points + prototypes], nbins=5)


def seconds_per_iteration(ax: Axes, seconds: list[float]) -> None:
    """Draws the seconds of each iteration as steps from zero."""
    _figure(ax).set_figheight(1.6)
    ax.stairs(seconds, np.arange(len(seconds) + 1) - 0.5, fill=True, color=GREYS[4])
    ax.set_ylim(0, max(seconds) * 1.05 or 1)
    ax.xaxis.set_major_locator(MaxNLocator(**INTEGERS))
    _ticks(ax.yaxis, seconds, nbins=3)


def number(value: float | None, digits: int = 6) -> str:
    """Formats for people: `digits` significant digits, but the integer part is never rounded."""
    if value is None:
        return "—"
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e15):
        return f"{value:.{digits}g}"
    before_point = math.floor(math.log10(abs(value))) + 1 if value else 1
    text = f"{value + 0:,.{max(0, digits - before_point)}f}"  # + 0: no minus zero
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Formats a time for people: 3.25 s, 4 min 05 s, 2 h 03 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{number(seconds, 3)} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def setting(value: Any) -> str:
    """Formats an option exactly: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _draw(draw: Callable[..., None], *args: Any) -> Markup:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, WIDTH * 0.62), layout="constrained")
        draw(figure.add_subplot(), *args)
        svg = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=nothing)
    return _inline(svg.getvalue(), draw.__name__)


def _inline(svg: str, name: str) -> Markup:
    """Makes an SVG file an element of a page: ids of its own, colours from the page."""
    svg = svg[svg.index("<svg") :].replace("xlink:href", "href")
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"|<style.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    return Markup(re.sub("#0000[01][0-9]", lambda colour: f"var(--{CSS[colour[0]]})", svg))


def _figure(ax: Axes) -> Figure:
    return cast(Figure, ax.figure)  # none of these axes is part of a subfigure


def _dots(ax: Axes, points: list, marker: str, **style: Any) -> None:
    ax.plot([p[0] for p in points], [p[1] for p in points], marker, **style)


def _drawable(points: list) -> list:
    """Leaves out what has no place: a bad row may lack a coordinate."""
    return [p for p in points if all(v is not None and abs(v) < 1e300 for v in p[:2])]


def _finite(values: Iterable[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)] or [0]


def _is_logarithmic(values: Iterable[float]) -> bool:
    finite = _finite(values)
    return min(finite) >= 0 and max(finite) > 10 * min(finite)


def _scale_y(ax: Axes, values: Iterable[float]) -> None:
    values = _finite(values)
    if not _is_logarithmic(values):
        _ticks(ax.yaxis, values, nbins=5)
        ax.set_ylim(*(None, None) if any(values) else (0, 1))
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
    axis.set_major_formatter(functools.partial(_short, digits=digits))


def _short(value: float, _: float, digits: int = 6) -> str:
    if abs(value) < 1e7:
        return number(float(f"{value:.{digits}g}"), digits)
    return re.sub(r"e\+0?", "e", f"{value:.{digits}g}")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.output", "."),
        autoescape=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "duration": duration, "setting": setting}
    return environment.get_template("report.html.j2")
