"""What an iteration costs as the job grows: constants are measured, and real runs foretold.

Writes the constants to docs/scale.json, from which `scale_picture` draws what is larger than any
run here. Every runner is measured twice: with empty iterations, which give its constants, and with
two tables, which the model must foretell.
"""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks import scale_picture
from benchmarks.data import Case
from benchmarks.processes import machine, table
from benchmarks.scale_beam import Empty, empty, runner_of, settings_of, train
from benchmarks.scale_costs import FEATURES, MANY, costs
from benchmarks.scale_model import Costs, Job, Runner, Seconds, Workers, first_iteration, iteration
from cluster import flink, spark
from cluster.__main__ import flags
from pipeline.passes.cores import cores as usable_cores

PER_JOB = 4  # iterations
JOBS = {FEATURES: 2, MANY: 1}
EMBEDDED, PROCESSES, FLINK, SPARK = "FnApiRunner", "DirectRunner", "FlinkRunner", "SparkRunner"
_GROUP_ROWS = 1 << 17  # of a row group of the tables


@dataclass(frozen=True)
class Seen:
    """A table on a runner.

    Attributes:
        runner: Beam's name of it.
        workers: who did it, and how evenly.
        case: the table.
        iterations: seconds of each; jobs have PER_JOB of them.
    """

    runner: str
    workers: Workers
    case: Case
    iterations: list[float]


def measure() -> str:
    """Measures everything, and returns tables of the model beside the runs, and of what it says."""
    own, compared = costs()
    empties: list[tuple[str, Empty]] = []
    seen: list[Seen] = []
    for runner, workers, options in _places():
        settings = settings_of(runner, options)
        empties.append((runner, empty(settings, workers.count)))
        for case, jobs in JOBS.items():
            times, busiest = train(settings, case, PER_JOB, jobs)
            seen.append(Seen(runner, replace(workers, busiest=busiest), case, times))
    return _told(own, compared, empties, seen)


def _told(
    own: Costs,
    compared: dict[Case, list[float]],
    empties: Sequence[tuple[str, Empty]],
    seen: Sequence[Seen],
) -> str:
    """Writes the constants down, and puts the model beside what was seen."""
    names = dict.fromkeys(name for name, _ in empties)
    runners = {
        name: runner_of([e for n, e in empties if n == name], own, restarts=name == PROCESSES)
        for name in names
    }
    constants = {
        "machine": machine(),
        "costs": asdict(own),
        "runners": {name: asdict(runner) for name, runner in runners.items()},
    }
    scale_picture.CONSTANTS.write_text(json.dumps(constants, indent=1) + "\n")
    rows = [row for one in seen for row in _rows(one, own, runners[one.runner], compared)]
    header = (
        "runner",
        "workers",
        "busiest",
        "table",
        "measured, s",
        "model, s",
        "model by measured",
    )
    return f"{table(header, rows)}\n\n{scale_picture.measure()}"


def _places() -> Iterator[tuple[str, Workers, Sequence[str]]]:
    """Each runner with some workers, by name, numbers and Beam options; it is up meanwhile."""
    cores = usable_cores()
    yield EMBEDDED, Workers(1, cores, cores), []
    for count in (1, 2, 4):
        threads = max(1, cores // count)
        processes = ("--direct_running_mode=multi_processing", f"--direct_num_workers={count}")
        yield PROCESSES, Workers(count, threads, cores), processes
    for name, cluster, counts in ((FLINK, flink, (1, 2, 4)), (SPARK, spark, (1, 2))):
        try:
            for count in counts:
                cluster.up(count)
                yield name, Workers(count, 1, cores), _options(cluster.options())
        finally:
            cluster.down()


def _options(options: dict[str, str]) -> list[str]:
    return flags({name: value for name, value in options.items() if name != "runner"})


def _rows(
    seen: Seen, own: Costs, runner: Runner, compared: dict[Case, list[float]]
) -> Iterator[list[str]]:
    """The iterations in the middle of jobs; and the first of a job that follows another."""
    case = seen.case

    def job(place: int) -> Job:
        shares = compared[case]
        share = shares[min(place, len(shares) - 1)]
        rows = min(case.n // case.files, _GROUP_ROWS)
        return Job(case.n, case.d, case.k, case.files, share, rows)

    def row(which: str, places: Sequence[int], model: Callable[..., Seconds]) -> list[str]:
        times = [seen.iterations[place] for place in places]
        foretold = [model(job(place), seen.workers, own, runner).total for place in places]
        return _row(seen, which, statistics.median(times), statistics.median(foretold))

    count = len(seen.iterations)
    yield row("", [place for place in range(count) if place % PER_JOB], iteration)
    if count > PER_JOB:
        yield row(", first of a job", range(PER_JOB, count, PER_JOB), first_iteration)


def _row(seen: Seen, which: str, measured: float, foretold: float) -> list[str]:
    return [
        seen.runner,
        str(seen.workers.count),
        f"{seen.workers.busiest or 1:.0%}",
        seen.case.name + which,
        f"{measured:.2f}",
        f"{foretold:.2f}",
        f"{foretold / measured:.2f}",
    ]
