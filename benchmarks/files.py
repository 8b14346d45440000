"""The passes over many small files, beside pyarrow reading the same columns once."""

import statistics
import time
from pathlib import Path

import pyarrow.dataset as ds

from benchmarks.data import OUT, Case, make
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit
from pipeline.output.run_record import RUN, RunRecord

CASE = Case(2_000_000, 16, 8, 20_000)
REPEATS = 3
_BAR = 4.0
_PASSES = ("scan", "train", "label")


def measure() -> str:
    """Runs both in turn and returns a table of medians."""
    runs = [_job() | {"pyarrow": _pyarrow(make(CASE))} for _ in range(REPEATS)]
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    both = median["scan"] + median["label"]
    header = (
        *("files", "scan", "first iteration", "label", "whole process", "pyarrow's dataset, once"),
        "scan and label by pyarrow's",
    )
    seconds = [f"{median[name]:.1f} s" for name in (*_PASSES, "whole", "pyarrow")]
    row = [f"{CASE.files:,} of {CASE.n // CASE.files} rows", *seconds]
    return table(header, [[*row, held(both / median["pyarrow"], most=_BAR)]])


def _job() -> dict[str, float]:
    """Seconds of each pass, and of the process."""
    output = OUT / "job"
    finished = run_fit(CASE, output, 1)
    seconds = RunRecord.parse((output / RUN).read_bytes()).seconds
    return {name: seconds[name] for name in _PASSES} | {"whole": finished.seconds}


def _pyarrow(folder: Path) -> float:
    start = time.perf_counter()
    ds.dataset(folder, format="parquet").to_table(columns=[f"f{j:03d}" for j in range(CASE.d)])
    return time.perf_counter() - start
