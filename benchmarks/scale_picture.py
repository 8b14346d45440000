"""What the model says of 10 to 1,000 workers and 10^8 to 10^11 rows, from docs/scale.json."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.processes import table
from benchmarks.scale_model import Costs, Job, Runner, Seconds, Workers, mean_iteration

DOCS = Path(__file__).resolve().parent.parent / "docs"
CONSTANTS, PICTURE = DOCS / "scale.json", DOCS / "scale.svg"
ROWS = tuple(10**n for n in (8, 9, 10, 11))
COUNTS = (10, 30, 100, 300, 1000)
SHAPES = {"16 features, k = 64": (16, 64), "512 features, k = 4,096": (512, 4096)}
FILE_ROWS = 1_000_000
COMPARED = 0.5  # of the rows
CACHES = (512 << 20, 16 << 30)
_CLUSTER, _PER_JOB = "FlinkRunner", 10
_MACHINE, _CORES, _MACHINE_CACHE = "FnApiRunner", 16, 64 << 30
MOST = 1 << 14  # workers that are thought of
_FEWER, _THREADS = 125, 8  # as many cores
_WORTH = 1.2  # times as fast with twice as many


@cache
def constants() -> tuple[Costs, dict[str, Runner]]:
    """What `scale` has measured."""
    found = json.loads(CONSTANTS.read_text())
    runners = {name: Runner(**values) for name, values in found["runners"].items()}
    return Costs(**found["costs"]), runners


def on_cluster(
    rows: int,
    shape: str,
    count: int,
    cache_bytes: int = CACHES[0],
    *,
    beam: float = 1.0,
    threads: int = 1,
) -> Seconds:
    """A mean iteration on a cluster of one core for each thread of each worker.

    Args:
        beam: the part of what was seen to be added for each worker, between 0 and 1: where it was
            measured all workers shared two cores, so that 1 is the most that it can be.
    """
    own, runners = constants()
    runner = runners[_CLUSTER]
    runner = replace(runner, worker=beam * runner.worker)
    workers = Workers(count, threads, count * threads, cache_bytes)
    return mean_iteration(_job(rows, shape), workers, own, runner, _PER_JOB)


def on_machine(rows: int, shape: str) -> Seconds:
    """A mean iteration in one process on a machine of 16 cores, 64 GB of them for the cache."""
    own, runners = constants()
    workers = Workers(1, _CORES, _CORES, _MACHINE_CACHE)
    return mean_iteration(_job(rows, shape), workers, own, runners[_MACHINE], _PER_JOB)


def stops(rows: int, shape: str, cache_bytes: int = CACHES[0], beam: float = 1.0) -> int:
    """The most workers, in powers of two, of which half would be much slower; see `on_cluster`."""
    count = 1
    while count < MOST:
        now, twice = (
            on_cluster(rows, shape, c, cache_bytes, beam=beam).total for c in (count, 2 * count)
        )
        if now < _WORTH * twice:
            break
        count *= 2
    return count


def measure() -> str:
    """Draws the picture and returns the same as tables."""
    with matplotlib.rc_context({"svg.hashsalt": "scale", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        for axes, shape in zip(figure.subplots(1, 2, sharey=True), SHAPES, strict=True):
            _draw(axes, shape)
        figure.savefig(PICTURE, metadata={"Date": None})
    return "\n\n".join(tables())


def tables() -> list[str]:
    """The constants; and what an iteration takes and what most of it is, for each shape."""
    return [_costs(), _runners(), *(_table(shape) for shape in SHAPES)]


def _costs() -> str:
    """All but one are seconds; nanoseconds are easier read."""
    own = vars(constants()[0])
    words = {name: f"{value * 1e9:.2g} ns" for name, value in own.items()}
    words |= {"read_file": f"{own['read_file'] * 1e3:.2g} ms", "crowded": f"{own['crowded']:.2f} x"}
    return table(tuple(words), [tuple(words.values())])


def _runners() -> str:
    header = ("", "launch", "iteration", "worker", "carry")
    rows = [
        (
            name,
            f"{runner.launch:.1f} s",
            f"{runner.iteration * 1e3:.0f} ms",
            f"{runner.worker * 1e3:.0f} ms",
            f"{runner.carry * 1e9:.0f} ns",
        )
        for name, runner in constants()[1].items()
    ]
    return table(header, rows)


def _table(shape: str) -> str:
    header = (
        shape,
        f"one process, {_CORES} cores",
        *(f"{count:,} workers" for count in COUNTS),
        f"{_FEWER:,} workers of {_THREADS} threads, 4 GB",
        "stops at",
        "with 16 GB each",
    )
    rows = []
    for n in ROWS:
        times = [on_machine(n, shape), *(on_cluster(n, shape, count) for count in COUNTS)]
        times.append(on_cluster(n, shape, _FEWER, _THREADS * CACHES[0], threads=_THREADS))
        ends = (_ends(n, shape, size) for size in CACHES)
        rows.append([f"10^{_power(n)} rows", *map(_told, times), *ends])
    return table(header, rows)


def _ends(rows: int, shape: str, cache_bytes: int) -> str:
    least, most = (stops(rows, shape, cache_bytes, part) for part in (1.0, 0.0))
    return f"{least:,} to {most:,}" if most < MOST else f"{least:,} or more"


def _told(seconds: Seconds) -> str:
    total = seconds.total
    return (
        f"{total:,.0f} s, {seconds.largest}" if total >= 10 else f"{total:.1f} s, {seconds.largest}"
    )


def _job(rows: int, shape: str) -> Job:
    d, k = SHAPES[shape]
    return Job(rows, d, k, -(-rows // FILE_ROWS), COMPARED)


def _power(rows: int) -> int:
    return len(str(rows)) - 1


def _draw(axes: Axes, shape: str) -> None:
    counts = [round(10 ** (1 + i / 12)) for i in range(25)]
    for place, n in enumerate(ROWS):
        most, least = (
            [on_cluster(n, shape, count, beam=part).total for count in counts]
            for part in (1.0, 0.0)
        )
        axes.loglog(counts, most, color=f"C{place}", label=f"$10^{{{_power(n)}}}$ rows")
        axes.fill_between(counts, least, most, color=f"C{place}", alpha=0.2)
    axes.set(title=shape, xlabel="workers of one core", ylabel="seconds an iteration")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.label_outer()
