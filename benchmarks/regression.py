"""Whether something has become slower: ratios of times on one machine, held to what they were.

Each is of the project's own work to what NumPy, FAISS or plain Beam do meanwhile with the same
numbers, so that the machine matters little. It takes less than a minute.
"""

import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import overhead
from benchmarks.processes import table
from kmeans_tf import Model, TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.points import Points
from kmeans_tf.runtime import configure
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from kmeans_tf.update import update

FIRST, LATER = "a first step, by a product", "a later step, by a product"
UPDATE = "an update, by a product"
ENCODING, SUMMARY = "encoding, by a copy", "summing up, by a copy"
LABELS = "labelling, by FAISS's search"
BEAM = "an iteration of Beam, by the plain chain"
# What each was on the slowest of the machines where it was measured.
EXPECTED = {
    FIRST: 1.0,
    LATER: 1.0,
    UPDATE: 1.0,
    ENCODING: 1.0,
    SUMMARY: 1.0,
    LABELS: 1.0,
    BEAM: 1.0,
}
SLOWER = 4 / 3  # times: it then does three quarters of what it did
_ROWS, _D, _K = 1 << 16, 64, 256
_REPEATS, _ITERATIONS = 7, 8
_OPTIONS = TrainingOptions(tolerance=0.0)
_METRIC = get_metric("sqeuclidean")


def measure() -> str:
    """Returns a table of ratios.

    Raises:
        RuntimeError: one is worse than expected by a third, twice.
    """
    ratios = _ratios()
    if _slower(ratios):  # a machine may be busy for a while
        again = _ratios()
        ratios = {name: min(ratio, again[name]) for name, ratio in ratios.items()}
    found = table(
        ("what", "ratio", "expected"),
        [(name, f"{ratio:.2f}", EXPECTED[name]) for name, ratio in ratios.items()],
    )
    if slower := _slower(ratios):
        raise RuntimeError(f"slower than it was: {', '.join(slower)}\n{found}")
    return found


def _slower(ratios: dict[str, float]) -> list[str]:
    return [name for name, ratio in ratios.items() if ratio > SLOWER * EXPECTED[name]]


def _ratios() -> dict[str, float]:
    configure(1)
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        found = _of_the_step()
    beams = overhead.milliseconds(repeats=3)
    return found | {BEAM: beams[overhead.JOB] / beams[overhead.PLAIN]}


def _of_the_step() -> dict[str, float]:
    rows = _rows()
    ones = np.ones(len(rows))

    def summed() -> Summary:
        return Summary.of(rows, ones, ones > 0, seed=0, capacity=1000)

    layout = SumLayout.fit(summed(), _METRIC, standard=False, impute=False)
    points = Points.encode(layout.encoding, rows)
    start = layout.encoding.encode_prototypes(rows[:_K].astype(np.float64))
    state, memo = TrainingState((Trial.start(start),)), Memo()
    for _ in range(_ITERATIONS):
        before = state
        stats = step(layout, _METRIC.name, state, points, memo=memo)
        state = update(layout, _OPTIONS, state, stats, lambda: rows)
    known = dict(memo.trials)

    def later() -> None:
        memo.trials = dict(known)  # as it was before
        step(layout, _METRIC.name, state, points, memo=memo)

    model = Model.trained(layout.encoding, _METRIC.name, start, np.arange(_K, dtype=np.int32))
    index = faiss.IndexFlatL2(_D)
    index.add(rows[:_K])
    product = _seconds(lambda: rows @ rows[:_K].T)
    copying = _seconds(lambda: rows.astype(np.float64))
    return {
        FIRST: _seconds(lambda: step(layout, _METRIC.name, before, points)) / product,
        LATER: _seconds(later) / product,
        UPDATE: _seconds(lambda: update(layout, _OPTIONS, before, stats, lambda: rows)) / product,
        ENCODING: _seconds(lambda: Points.encode(layout.encoding, rows)) / copying,
        SUMMARY: _seconds(summed) / copying,
        LABELS: _seconds(lambda: model.label(rows)) / _seconds(lambda: index.search(rows, 1)),
    }


def _rows() -> np.ndarray:
    """Overlapping groups (n, d) float32."""
    random = np.random.default_rng(0)
    centres = 1.2 * random.normal(size=(_K, _D))
    rows = centres[random.integers(0, _K, _ROWS)] + random.normal(size=(_ROWS, _D))
    return rows.astype(np.float32)


def _seconds(work: Callable[[], object]) -> float:
    """The median of some runs, after one that does not count."""
    times = []
    for repeat in range(_REPEATS + 1):
        start = time.perf_counter()
        work()
        if repeat:
            times.append(time.perf_counter() - start)
    return statistics.median(times)
