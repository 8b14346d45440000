"""Peak memory of `fit` on a table much larger than its cache."""

from benchmarks.data import OUT, Case
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit

CASE = Case(40_000_000, 16, 64, 16)
CACHE_MB = 512
ITERATIONS = 3
_BAR = 1.6  # GB


def measure() -> str:
    """One run; returns its peak resident memory."""
    finished = run_fit(CASE, OUT / "job", ITERATIONS, "--cache_mb", CACHE_MB)
    row = [
        CASE.name,
        CASE.files,
        CACHE_MB,
        held(finished.peak / 1e9, most=_BAR),
        f"{finished.seconds:.0f} s",
    ]
    header = ("table", "files", "cache_mb", "peak memory, GB", f"{ITERATIONS} iterations")
    return table(header, [row])
