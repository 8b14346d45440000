"""What an iteration costs as the job grows: constants are measured, and real runs beside them.

Writes the constants and the runs to docs/scale.json; from the constants `scale_picture` draws what
is larger than any run here. Every runner is measured twice: with empty iterations, which give its
constants, and with two tables, which the model must foretell.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from benchmarks import scale_picture
from benchmarks.processes import machine
from benchmarks.scale_beam import Empty, empty, runner_of, settings_of, train
from benchmarks.scale_check import Run, checked
from benchmarks.scale_costs import FEATURES, MANY, costs
from benchmarks.scale_model import Workers
from cluster import flink, spark
from cluster.__main__ import flags
from pipeline.passes.cores import cores as usable_cores

PER_JOB = 4  # iterations
JOBS = {FEATURES: 2, MANY: 1}
EMBEDDED, PROCESSES, FLINK, SPARK = "FnApiRunner", "DirectRunner", "FlinkRunner", "SparkRunner"
_GROUP_ROWS = 1 << 17  # of a row group of the tables


def measure() -> str:
    """Measures everything, and returns tables of the model beside the runs, and of what it says."""
    own, compared = costs()
    empties: dict[str, list[Empty]] = {}
    runs: list[Run] = []
    for name, workers, options in _places():
        settings = settings_of(name, options)
        empties.setdefault(name, []).append(empty(settings, workers.count))
        for case, jobs in JOBS.items():
            times, busiest = train(settings, case, PER_JOB, jobs)
            rows = min(case.n // case.files, _GROUP_ROWS)
            shape = (case.n, case.d, case.k, case.files)
            shared = replace(workers, busiest=busiest)
            runs.append(Run(name, shared, shape, rows, compared[case], PER_JOB, times))
    runners = {
        name: runner_of(seen, own, restarts=name == PROCESSES) for name, seen in empties.items()
    }
    found = {
        "machine": machine(),
        "costs": asdict(own),
        "runners": {name: asdict(runner) for name, runner in runners.items()},
        "empty": {name: [asdict(one) for one in seen] for name, seen in empties.items()},
        "runs": [asdict(run) for run in runs],
    }
    scale_picture.CONSTANTS.write_text(json.dumps(found, indent=1) + "\n")
    return f"{checked(runs, own, runners)}\n\n{scale_picture.measure()}"


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
