"""The same job on every runner that can be had on one machine: seconds an iteration and a job.

Every job runs twice, so that the second finds the workers warm; the second's seconds are shown.
On one machine the clusters share its cores with their JVMs: what is measured is what a runner
adds.

A third run shows whether a runner sends a block to the worker that has it: each worker may cache
six tenths of the table, so workers that are sent arbitrary blocks would find little more than that.

A second table has embeddings and many prototypes, whose answers must be the embedded runner's.
"""

import hashlib
import statistics
from collections.abc import Sequence

from benchmarks.data import OUT, Case
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit, steady_seconds
from cluster import flink, prism, spark
from cluster.__main__ import flags
from pipeline.output.run_record import RUN, RunRecord

CASE = Case(2_000_000, 16, 64, 4)
ITERATIONS = 20
SHARE_MB = int(0.6 * CASE.n * (CASE.d + 1) * 4) >> 20
WIDE = (
    Case(40_000, 1536, 64, 8),
    Case(20_000, 512, 8192, 2),
    Case(100_000, 256, 4096, 8),
)
WIDE_ITERATIONS = 4
_BAR, _WIDE_BAR = 2.0, 3.0  # by the embedded runner's
CLUSTERS = {"FlinkRunner": flink, "SparkRunner": spark, "PrismRunner": prism}
_HELD = ("FlinkRunner", "SparkRunner")  # to the bars


def measure() -> str:
    """Brings each cluster up and down again and returns tables of what was measured on it."""
    rows, wide = [_row("FnApiRunner", [])], [_wide([])]
    for name, cluster in CLUSTERS.items():
        cluster.up()
        try:
            options = flags(cluster.options())
            rows.append(_row(name, options))
            wide.append(_wide(options))
        finally:
            cluster.down()
    return f"{_narrow_table(rows)}\n\n{_wide_table(wide)}"


def _narrow_table(rows: list[tuple[float, list[str]]]) -> str:
    embedded = rows[0][0]
    header = (
        "runner",
        "s an iteration, median, by embedded",
        "first iteration of a job, s",
        "scan, s",
        "label, s",
        "whole process, s",
        "TensorFlow starts, first job",
        "second job",
        "workers",
        "blocks cached after the first iteration, first job",
        "second job",
        f"first job, {SHARE_MB} MB a worker",
    )
    told = [
        [name, f"{seconds:.2f}, {_by_embedded(name, seconds / embedded, _BAR)}", *rest]
        for seconds, (name, *rest) in rows
    ]
    return table(header, told)


def _row(name: str, options: Sequence[str]) -> tuple[float, list[str]]:
    """Seconds an iteration, and what else the table has of a runner."""
    first, _ = _run(options)
    second, whole = _run(options)
    # Another seed is another job, which finds nothing cached.
    scarce, _ = _run([*options, "--seed=1", f"--cache_mb={SHARE_MB}"])
    seconds = second.seconds
    return statistics.median(seconds["iterations"]), [
        name,
        f"{seconds['iterations'][0]:.1f}",
        f"{seconds['scan']:.1f}",
        f"{seconds['label']:.1f}",
        f"{whole:.0f}",
        str(first.counters.get("tensorflow_starts", 0)),
        str(second.counters.get("tensorflow_starts", 0)),
        str(len(second.counters["blocks_by_worker"])),
        *(f"{_cached(run):.0%}" for run in (first, second, scarce)),
    ]


def _wide(options: Sequence[str]) -> list[tuple[float, str]]:
    """Seconds an iteration, and a digest of the answer, by case."""
    return [_wide_run(case, options) for case in WIDE]


def _wide_run(case: Case, options: Sequence[str]) -> tuple[float, str]:
    output = OUT / "job"
    run_fit(case, output, WIDE_ITERATIONS, *options)
    digest = hashlib.sha256()
    for path in [*sorted((output / "labels").iterdir()), output / "prototypes.parquet"]:
        digest.update(path.read_bytes())
    return steady_seconds(output), digest.hexdigest()


def _wide_table(runs: list[list[tuple[float, str]]]) -> str:
    """Each runner's seconds, beside the embedded runner's.

    Raises:
        RuntimeError: an answer is another.
    """
    names, (embedded, *_) = ("FnApiRunner", *CLUSTERS), runs
    rows = []
    for name, of_runner in zip(names, runs, strict=True):
        if [digest for _, digest in of_runner] != [digest for _, digest in embedded]:
            raise RuntimeError(f"{name} has another answer than the embedded runner")
        pairs = zip(of_runner, embedded, strict=True)
        cells = (
            f"{mine:.2f}, {_by_embedded(name, mine / its, _WIDE_BAR)}"
            for (mine, _), (its, _) in pairs
        )
        rows.append([name, *cells])
    header = ("runner", *(f"{case.name}, s an iteration, by embedded" for case in WIDE))
    return table(header, rows)


def _by_embedded(name: str, ratio: float, bar: float) -> str:
    return held(ratio, most=bar if name in _HELD else None)


def _run(options: Sequence[str]) -> tuple[RunRecord, float]:
    """The run report of a job, and the seconds of its whole process."""
    output = OUT / "job"
    finished = run_fit(CASE, output, ITERATIONS, *options)
    return RunRecord.parse((output / RUN).read_bytes()), finished.seconds


def _cached(run: RunRecord) -> float:
    """The share of block loads after the first iteration that found the block in the cache."""
    blocks = run.counts.blocks
    reread = max(0, run.counters.get("blocks_read", 0) - blocks)
    return 1 - reread / (blocks * (ITERATIONS - 1))
