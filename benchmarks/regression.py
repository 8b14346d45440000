"""Whether something has become slower: ratios of times on one machine, held to what they were.

Each holds the project's own work to NumPy's, FAISS's or plain Beam's with the same numbers and of
much the same kind, a product or passes over memory, so that the machine matters little. It takes
less than a minute.
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

FIRST, LATER = "a first step, by NumPy's labels", "a later step, by NumPy's labels"
UPDATE = "an update, by NumPy's labels"
ENCODING, SUMMARY = "encoding, by NumPy's moments", "summing up, by NumPy's moments"
LABELS = "labelling, by FAISS's search"
BEAM = "an iteration of Beam, by the plain chain"
# The largest ratio on any machine it was measured on.
EXPECTED = {
    FIRST: 1.1,
    LATER: 0.43,
    UPDATE: 0.05,
    ENCODING: 1.0,
    SUMMARY: 1.5,
    LABELS: 2.6,
    BEAM: 0.45,
}
SLOWER = 4 / 3  # times: it then does three quarters of what it did
_MORE_TRIES = 2
_ROWS, _D, _K = 1 << 16, 64, 256
_PIECE = 4096  # rows whose scores stay in cache
_REPEATS, _ITERATIONS = 7, 8
_OPTIONS = TrainingOptions(tolerance=0.0)
_METRIC = get_metric("sqeuclidean")


def measure() -> str:
    """Returns a table of ratios.

    Raises:
        RuntimeError: one is worse than expected by a third, every time.
    """
    ratios = _ratios()
    for _ in range(_MORE_TRIES):  # a machine may be busy for a while
        if _slower(ratios):
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
    labels, moments = _seconds(lambda: _labels(rows)), _seconds(lambda: _moments(rows))
    return {
        FIRST: _seconds(lambda: step(layout, _METRIC.name, before, points)) / labels,
        LATER: _seconds(later) / labels,
        UPDATE: _seconds(lambda: update(layout, _OPTIONS, before, stats, lambda: rows)) / labels,
        ENCODING: _seconds(lambda: Points.encode(layout.encoding, rows)) / moments,
        SUMMARY: _seconds(summed) / moments,
        LABELS: _seconds(lambda: model.label(rows)) / _seconds(lambda: index.search(rows, 1)),
    }


def _rows() -> np.ndarray:
    """Overlapping groups (n, d) float32."""
    random = np.random.default_rng(0)
    centres = 1.2 * random.normal(size=(_K, _D))
    rows = centres[random.integers(0, _K, _ROWS)] + random.normal(size=(_ROWS, _D))
    return rows.astype(np.float32)


def _labels(rows: np.ndarray) -> np.ndarray:
    """(n,) the nearest of the first rows to each, as a NumPy user would find it."""
    prototypes = rows[:_K]
    norms = (prototypes * prototypes).sum(1)
    pieces = (rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE))
    return np.concatenate([(norms - 2 * (piece @ prototypes.T)).argmin(1) for piece in pieces])


def _moments(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """(d,) sums, sums of squares and largest magnitudes, in float64."""
    values = rows.astype(np.float64)
    return values.sum(0), (values * values).sum(0), np.abs(values).max(0)


def _seconds(work: Callable[[], object]) -> float:
    """The median of some runs, after one that does not count."""
    times = []
    for repeat in range(_REPEATS + 1):
        start = time.perf_counter()
        work()
        if repeat:
            times.append(time.perf_counter() - start)
    return statistics.median(times)
