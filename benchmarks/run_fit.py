"""The job as a benchmark runs it: from a case's own start, for a fixed number of iterations."""

import shutil
import statistics
from pathlib import Path

from benchmarks.data import Case, make
from benchmarks.processes import Finished, run_module
from pipeline.output.run_record import RUN, RunRecord


def run_fit(
    case: Case, output: Path, iterations: int, *options: object, folder: Path | None = None
) -> Finished:
    """Runs `fit` as a process of its own into an `output` folder that is emptied before.

    Args:
        folder: with some of the case's files; None: the case's own.
    """
    folder = folder or make(case)
    shutil.rmtree(output, ignore_errors=True)
    places = ("--input", folder, "--output", output.absolute(), "--init", case.start)
    features = ("--features", "vector") if case.is_list else ()
    training = ("--k", case.k, "--tolerance", 0, "--max_iterations", iterations)
    return run_module("pipeline", "fit", *places, *features, *training, *options)


def steady_seconds(output: Path, *, cached: bool = False) -> float:
    """The median of what a job's iterations took but for the first, which reads and encodes.

    Args:
        cached: whether all points have to have stayed in memory.

    Raises:
        RuntimeError: they have not.
    """
    run = RunRecord.parse((output / RUN).read_bytes())
    if cached and run.counters.get("blocks_read", 0) > run.counts.blocks:
        raise RuntimeError(f"{output}: this machine's memory does not hold all points")
    seconds = run.seconds["iterations"]
    return statistics.median(seconds[1:] or seconds)
