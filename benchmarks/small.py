"""A job of 500 points, whole.

Beside it that of an earlier checkout, where KMEANS_TF_EARLIER is the path of one.
"""

import os
import statistics
from pathlib import Path

from benchmarks.data import OUT, Case, make
from benchmarks.processes import held, run_module, table

CASE = Case(500, 2, 4, 1)
REPEATS = 5
EARLIER = "KMEANS_TF_EARLIER"
_BAR = 0.55


def measure() -> str:
    """Runs each in turn and returns a table of medians."""
    checkouts = [Path(), *map(Path, filter(None, [os.environ.get(EARLIER)]))]
    make(CASE)
    runs = [[_seconds(each) for each in checkouts] for _ in range(REPEATS)]
    now, *before = map(statistics.median, zip(*runs, strict=True))
    header = ("points", "whole process, s", "the earlier, s", "by the earlier")
    compared = [f"{before[0]:.1f}", held(now / before[0], most=_BAR)] if before else ["", ""]
    return table(header, [(f"{CASE.n}", f"{now:.2f}", *compared)])


def _seconds(checkout: Path) -> float:
    places = ("--input", make(CASE).absolute(), "--output", (OUT / "job").absolute())
    options = ("--k", CASE.k, "--overwrite")
    return run_module("pipeline", "fit", *places, *options, folder=checkout).seconds
