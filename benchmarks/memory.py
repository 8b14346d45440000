"""Peak memory of `fit` on a table much larger than its cache."""

import shutil

from benchmarks.data import OUT, Case, make
from benchmarks.processes import run_module, table

CASE = Case(20_000_000, 16, 16, 40)
CACHE_MB = 256
ITERATIONS = 3


def measure() -> str:
    """One run; returns its peak resident memory."""
    folder, output = make(CASE), OUT / "job"
    shutil.rmtree(output, ignore_errors=True)
    finished = run_module(
        "pipeline",
        "fit",
        "--input",
        folder,
        "--output",
        output,
        "--k",
        CASE.k,
        "--init",
        CASE.start,
        "--tolerance",
        0,
        "--max_iterations",
        ITERATIONS,
        "--cache_mb",
        CACHE_MB,
    )
    row = [
        CASE.name,
        CASE.files,
        CACHE_MB,
        f"{finished.peak / 1e9:.2f} GB",
        f"{finished.seconds:.0f} s",
    ]
    return table(("table", "files", "cache_mb", "peak memory", f"{ITERATIONS} iterations"), [row])
