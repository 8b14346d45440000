"""The same job on every runner that can be had on one machine: seconds an iteration and a job.

Every job runs twice, so that the second finds the workers warm; the second is shown. On one
machine the clusters share its cores with their JVMs: what is measured is what a runner adds.
"""

import json
import statistics
from collections.abc import Sequence

from benchmarks.data import OUT, Case
from benchmarks.processes import table
from benchmarks.run_fit import run_fit
from cluster import flink, prism, spark
from cluster.__main__ import flags

CASE = Case(2_000_000, 16, 64, 4)
ITERATIONS = 20
RUNS = 2
CLUSTERS = {"FlinkRunner": flink, "SparkRunner": spark, "PrismRunner": prism}


def measure() -> str:
    """Brings each cluster up and down again and returns a table of the last run on it."""
    rows = [_row("FnApiRunner", [])]
    for name, cluster in CLUSTERS.items():
        cluster.up()
        try:
            rows.append(_row(name, flags(cluster.options())))
        finally:
            cluster.down()
    header = (
        "runner",
        "s an iteration, median",
        "first iteration of a job, s",
        "scan, s",
        "label, s",
        "whole process, s",
        "TensorFlow starts",
        "blocks from the cache after the first iteration",
    )
    return table(header, rows)


def _row(name: str, options: Sequence[str]) -> list[str]:
    output = OUT / "job"
    for _ in range(RUNS):
        finished = run_fit(CASE, output, ITERATIONS, *options)
    run = json.loads((output / "run.json").read_text())
    seconds, counters = run["seconds"], run["counters"]
    later = run["counts"]["blocks"] * (ITERATIONS - 1)
    read_later = max(0, counters.get("blocks_read", 0) - run["counts"]["blocks"])
    return [
        name,
        f"{statistics.median(seconds['iterations']):.2f}",
        f"{seconds['iterations'][0]:.1f}",
        f"{seconds['scan']:.1f}",
        f"{seconds['label']:.1f}",
        f"{finished.seconds:.0f}",
        str(counters.get("tensorflow_starts", 0)),
        f"{1 - read_later / later:.0%}",
    ]
