"""The model of an iteration beside real runs."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.processes import table
from benchmarks.scale_model import (
    Costs,
    Job,
    Runner,
    Seconds,
    Workers,
    first_iteration,
    iteration,
)

NEAR = 0.25  # how far the model may be from a run, of the run
_HEADER = ("runner", "workers", "busiest", "table", "measured, s", "model, s", "model by measured")


@dataclass(frozen=True)
class Run:
    """A table's training on a runner.

    Attributes:
        runner: Beam's name of it.
        workers: who did it, and how evenly.
        shape: n, d, k and the number of files.
        group_rows: of the largest row group.
        compared: the share of the rows that each iteration of such a training compares anew.
        per_job: iterations of a job.
        iterations: seconds of each.
    """

    runner: str
    workers: Workers
    shape: tuple[int, int, int, int]
    group_rows: int
    compared: Sequence[float]
    per_job: int
    iterations: Sequence[float]

    def job(self, place: int) -> Job:
        """What an iteration was of."""
        n, d, k, files = self.shape
        share = self.compared[min(place, len(self.compared) - 1)]
        return Job(n, d, k, files, share, self.group_rows)


def checked(runs: Sequence[Run], costs: Costs, runners: Mapping[str, Runner]) -> str:
    """A table of the model beside the runs, and how many of its rows are far from them."""
    rows: list[tuple[str, ...]] = []
    far = 0
    for run in runs:
        for which, measured, foretold in _medians(run, costs, runners[run.runner]):
            n, d, k, _ = run.shape
            ratio = foretold / measured
            far += abs(ratio - 1) > NEAR
            rows.append(
                (
                    run.runner,
                    str(run.workers.count),
                    f"{run.workers.busiest or 1:.0%}",
                    f"{n:,} x {d}, k = {k}{which}",
                    f"{measured:.2f}",
                    f"{foretold:.2f}",
                    f"{ratio:.2f}",
                )
            )
    return f"{table(_HEADER, rows)}\n\n{far} of these {len(rows)} miss {NEAR:.0%}."


def _medians(run: Run, costs: Costs, runner: Runner) -> Iterator[tuple[str, float, float]]:
    """The iterations in the middle of jobs; and the first of a job that follows another."""

    def both(places: Sequence[int], model: Callable[..., Seconds]) -> tuple[float, float]:
        foretold = [model(run.job(place), run.workers, costs, runner).total for place in places]
        return statistics.median(run.iterations[p] for p in places), statistics.median(foretold)

    count = len(run.iterations)
    yield "", *both([place for place in range(count) if place % run.per_job], iteration)
    if count > run.per_job:
        yield ", first of a job", *both(range(run.per_job, count, run.per_job), first_iteration)
