"""The job as a benchmark runs it: from a case's own start, for a fixed number of iterations."""

import shutil
from pathlib import Path

from benchmarks.data import Case, make
from benchmarks.processes import Finished, run_module


def run_fit(case: Case, output: Path, iterations: int, *options: object) -> Finished:
    """Runs `fit` as a process of its own into an `output` folder that is emptied before."""
    folder = make(case)
    shutil.rmtree(output, ignore_errors=True)
    places = ("--input", folder, "--output", output.absolute(), "--init", case.start)
    features = ("--features", "vector") if case.is_list else ()
    training = ("--k", case.k, "--tolerance", 0, "--max_iterations", iterations)
    return run_module("pipeline", "fit", *places, *features, *training, *options)
