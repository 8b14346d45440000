"""Peak memory of `fit` on a table much larger than its cache."""

from benchmarks.data import OUT, Case
from benchmarks.processes import table
from benchmarks.run_fit import run_fit

CASE = Case(20_000_000, 16, 16, 40)
CACHE_MB = 256
ITERATIONS = 3


def measure() -> str:
    """One run; returns its peak resident memory."""
    finished = run_fit(CASE, OUT / "job", ITERATIONS, "--cache_mb", CACHE_MB)
    row = [
        CASE.name,
        CASE.files,
        CACHE_MB,
        f"{finished.peak / 1e9:.2f} GB",
        f"{finished.seconds:.0f} s",
    ]
    return table(("table", "files", "cache_mb", "peak memory", f"{ITERATIONS} iterations"), [row])
