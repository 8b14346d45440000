"""Embeddings, and many prototypes: an iteration, its update and peak memory, beside FAISS."""

import statistics
import time

import numpy as np

from benchmarks.data import OUT, Case, make
from benchmarks.processes import held, run_module, table
from benchmarks.run_fit import run_fit, steady_seconds
from kmeans_tf import TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.layout import SumLayout
from kmeans_tf.points import Points, chunk_rows
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from kmeans_tf.update import update

CASES = (
    Case(40_000, 1536, 64, 8),
    Case(60_000, 512, 4096, 8),
    Case(20_000, 512, 8192, 2),
    Case(2_000_000, 16, 64, 4),
)
ITERATIONS = 5
REPEATS = 3
_BY_FAISS = {CASES[1]: 0.6}
_UPDATE_PERCENT = {CASES[1]: 5.0, CASES[3]: 5.0}
_PEAK_GB = {CASES[0]: 1.8, CASES[1]: 2.0}


def measure() -> str:
    """Runs both in turn and returns a table of medians."""
    header = (
        *("table", "kmeans-tf, s an iteration", "FAISS", "FAISS by ours"),
        *("update, s", "its share, %"),
        *("kmeans-tf, peak, GB", "FAISS, peak, GB", "kmeans-tf, whole", "FAISS, whole"),
    )
    return table(header, [_row(case) for case in CASES])


def _row(case: Case) -> list[str]:
    runs = [_ours(case) | _theirs(case) for _ in range(REPEATS)]
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    updated = _update_seconds(case)
    return [
        case.name,
        f"{median['iteration']:.3f}",
        f"{median['faiss']:.3f}",
        held(median["faiss"] / median["iteration"], least=_BY_FAISS.get(case)),
        f"{updated:.3f}",
        held(100 * updated / median["iteration"], most=_UPDATE_PERCENT.get(case)),
        held(median["peak"] / 1e9, most=_PEAK_GB.get(case)),
        f"{median['faiss peak'] / 1e9:.2f}",
        *(f"{median[name]:.1f} s" for name in ("whole", "faiss whole")),
    ]


def _ours(case: Case) -> dict[str, float]:
    finished = run_fit(case, OUT / "job", ITERATIONS)
    steady = steady_seconds(OUT / "job")
    return {"iteration": steady, "peak": finished.peak, "whole": finished.seconds}


def _theirs(case: Case) -> dict[str, float]:
    output = OUT / "labels.parquet", OUT / "prototypes.npy"
    options = (make(case), *output, case.k, ITERATIONS, case.start, "Kmeans")
    finished = run_module("benchmarks.faiss_kmeans", *options)
    seconds = finished.json["fit"] / ITERATIONS
    return {"faiss": seconds, "faiss peak": finished.peak, "faiss whole": finished.seconds}


def _update_seconds(case: Case) -> float:
    """The median time of an update, from the sums of one chunk."""
    prototypes = np.load(case.start).astype(np.float64)
    metric, rows = get_metric("sqeuclidean"), chunk_rows(case.d)
    values = prototypes[np.arange(rows) % case.k] + 2.0**-10
    ones = np.ones(rows)
    summary = Summary.of(values, ones, ones > 0, seed=0, capacity=100)
    layout = SumLayout.fit(summary, metric, standard=False, impute=False)
    state = TrainingState((Trial.start(layout.encoding.encode_prototypes(prototypes)),))
    stats = step(layout, metric.name, state, Points.encode(layout.encoding, values))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        update(layout, TrainingOptions(), state, stats, lambda: values)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
