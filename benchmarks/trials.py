"""Nine trials in the same reads, beside as many jobs with one each."""

import shutil

from benchmarks.data import OUT, Case, make
from benchmarks.processes import run_module, table

CASE = Case(2_000_000, 16, 64, 4)
KS, RESTARTS = (8, 16, 32), 3


def measure() -> str:
    """Returns a table of the seconds of whole processes."""
    together = _seconds("--k", ",".join(map(str, KS)), "--restarts", RESTARTS)
    apart = [_seconds("--k", k, "--seed", seed) for k in KS for seed in range(RESTARTS)]
    row = [
        f"{CASE.n:,} x {CASE.d}",
        f"{together:.1f}",
        f"{sum(apart):.1f}",
        f"{together / sum(apart):.2f}",
    ]
    return table(("table", "nine trials, s", "nine jobs, s", "by them"), [row])


def _seconds(*options: object) -> float:
    output = OUT / "job"
    shutil.rmtree(output, ignore_errors=True)
    places = ("--input", make(CASE), "--output", output.absolute())
    return run_module("pipeline", "fit", *places, *options).seconds
