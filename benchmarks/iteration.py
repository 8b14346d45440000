"""The whole job and one iteration of it, beside scikit-learn from the same start."""

import statistics
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.data import OUT, Case, make
from benchmarks.processes import run_module, table
from benchmarks.run_fit import run_fit
from pipeline.output.run_record import RUN, RunRecord

CASES = (Case(2_000_000, 16, 64, 4), Case(500_000, 128, 256, 4))
ITERATIONS = 20
REPEATS = 3
_SAME_COST = 1e-5
_SAME_LABELS = 0.99


def measure() -> str:
    """Runs both in turn, checks that they agree, and returns a table of medians."""
    header = (
        "table",
        "kmeans-tf, s an iteration",
        "scikit-learn",
        "ratio",
        "kmeans-tf, first iteration and Beam included",
        "ratio",
        "kmeans-tf, whole process",
        "scikit-learn",
        "ratio",
        "labels equal",
    )
    return table(header, [_row(case) for case in CASES])


def _row(case: Case) -> list[str]:
    folder = make(case)
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(_ours(case))
        theirs.append(_theirs(case, folder))
    equal = _agreement(case, ours[-1], theirs[-1])
    steady, train, whole = (_median(ours, key) for key in ("iteration", "train", "whole"))
    fit, process = (_median(theirs, key) for key in ("iteration", "whole"))
    return [
        case.name,
        f"{steady:.3f}",
        f"{fit:.3f}",
        f"{steady / fit:.2f}",
        f"{train:.3f}",
        f"{train / fit:.2f}",
        f"{whole:.1f} s",
        f"{process:.1f} s",
        f"{whole / process:.2f}",
        f"{equal:.6f}",
    ]


def _median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _ours(case: Case) -> dict:
    output = OUT / "job"
    finished = run_fit(case, output, ITERATIONS)
    run = RunRecord.parse((output / RUN).read_bytes())
    return {
        "iteration": statistics.median(run.seconds["iterations"]),
        "train": run.seconds["train"] / run.result.iterations,
        "whole": finished.seconds,
        "cost": run.result.cost,
        "labels": pq.read_table(output / "labels", columns=["label"]),
    }


def _theirs(case: Case, folder: Path) -> dict:
    output = OUT / "labels.parquet"
    finished = run_module("benchmarks.scikit_learn", folder, case.start, ITERATIONS, output)
    run = finished.json
    return {
        "iteration": run["fit"] / run["iterations"],
        "whole": finished.seconds,
        "cost": run["cost"],
        "labels": pq.read_table(output),
    }


def _agreement(case: Case, ours: dict, theirs: dict) -> float:
    """The share of equal labels.

    Raises:
        RuntimeError: the answers are not the same.
    """
    pairs = (run["labels"].column("label").to_numpy() for run in (ours, theirs))
    mine, other = pairs
    equal = float((mine == other).mean())
    apart = abs(ours["cost"] - theirs["cost"]) / theirs["cost"]
    if equal < _SAME_LABELS or apart > _SAME_COST:
        raise RuntimeError(f"{case.name}: {equal:.6f} of the labels agree, costs {apart:.1e} apart")
    return equal
