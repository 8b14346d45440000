"""The whole training on rows in memory: what the job does, without the job."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral

import numpy as np

from kmeans_tf.advance import advance
from kmeans_tf.assign import prepare
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import get_metric
from kmeans_tf.model import Model
from kmeans_tf.oversampling import PASSES
from kmeans_tf.points import Points, chunk_rows, scan_rows
from kmeans_tf.rows import array_rows, check_rows, feature_text, row_weights
from kmeans_tf.runtime import configure, processors
from kmeans_tf.sample import sample_capacity
from kmeans_tf.seeding import K_MEANS_PLUS_PLUS
from kmeans_tf.start import AUTO, INITS, K_MEANS_PARALLEL, StartOptions, choose_start, default_init
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.summary import Summary, beside
from kmeans_tf.training import train


def fit(
    rows: np.ndarray,
    k: int,
    *,
    weights: np.ndarray | None = None,
    init: str | np.ndarray = AUTO,
    seed: int = 0,
    standard: bool = False,
    precision: str = AUTO,
    options: TrainingOptions | None = None,
    threads: int | None = None,
    features: tuple[str, ...] = (),
) -> tuple[Model, TrainingState]:
    """Clusters rows that fit in memory.

    Args:
        rows: (n, d), all finite; float32 or what float64 holds.
        k: how many prototypes.
        weights: (n,) float64 >= 0; None stands for ones.
        init: 'auto' (a start that is trained on a sample and proven on all rows; for other
            optimizers than Lloyd's 'k-means++'), 'k-means++', 'k-means-parallel', 'random' or
            prototypes (at most k, d) in the rows' units.
        seed: of the sample and the start.
        standard: whether to scale every column to unit variance.
        precision: 'single' or 'double', whether points are float32 or float64 numbers; 'auto':
            float64 where float32 is too coarse for the rows.
        options: how to train.
        threads: how many work at once; None: as many as there are processors. No answer depends
            on it.
        features: (d,) the names of the features, for the model and for messages; none do, too.

    Returns:
        The model and the last state, whose trial holds the history.

    Raises:
        TypeError: a row holds something that is no number.
        ValueError: a row is not finite (or zero, under cosine), or a feature has values out of the
            range whose squares float64 holds; a weight is not a weight, or weights are too far
            apart to be added exactly; there are fewer than k distinct rows with weight, or rows are
            so near each other and others so far that no points are fine enough for them.
    """
    if not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k = {k!r}: expected a whole number from 1")
    if isinstance(init, str) and init not in INITS:
        raise ValueError(f"unknown init {init!r}: expected one of {', '.join(INITS)}")
    options = options or TrainingOptions()
    if isinstance(init, str) and init == K_MEANS_PARALLEL and options.max_iterations <= PASSES:
        raise ValueError(f"{init} takes {PASSES} iterations: give more than {PASSES}")
    metric = get_metric(options.metric)
    rows = np.ascontiguousarray(array_rows(rows))
    check_rows(metric, rows, features)
    if not len(rows):
        raise ValueError(f"no rows, expected {k} distinct ones at least")
    if weights is not None:
        weights = row_weights(weights, len(rows))
    ones = np.ones(len(rows)) if weights is None else weights
    threads = threads or processors()
    configure(threads)
    prepare(metric, *rows.shape, [k])
    capacity = sample_capacity(rows.shape[1], k)
    of = partial(Summary.of, seed=seed, capacity=capacity, moments=standard)
    summary = _summary(rows, ones, of, threads).completed(metric)
    if wrong := summary.out_of_range():
        j, text = wrong
        raise ValueError(f"{feature_text(j, features)} {text}")
    first, name = None, K_MEANS_PLUS_PLUS
    if isinstance(init, str):
        name = default_init(init, options)
    else:
        first = np.asarray(init, np.float64)
    start = StartOptions(k, name, seed, standard, precision=precision, first=first)
    layout, trial = choose_start(summary, metric, start, threads)
    state = train(
        layout,
        options,
        TrainingState((trial,), precision=layout.encoding.precision),
        _chunks(layout, rows, weights, threads),
        lambda state, stats: advance(layout, options, state, stats, lambda: summary, threads),
        threads,
    )
    trial = state.trials[0]
    labels = trial.labels
    return Model.trained(layout.encoding, metric.name, trial.prototypes, labels, features), state


def _summary(
    rows: np.ndarray, weights: np.ndarray, of: Callable[..., Summary], threads: int
) -> Summary:
    size = scan_rows(rows.shape[1])
    starts = iter(range(0, len(rows), size))  # each thread gets the next that none has had

    def share(_: int) -> list[Summary]:
        found: list[Summary] = []
        for a in starts:
            highest = found[0].sample.highest if found else None
            part, good = rows[a : a + size], np.ones(len(rows[a : a + size]), bool)
            found = beside(found, of(part, weights[a : a + size], good, highest=highest))
        return found

    with ThreadPoolExecutor(threads) as pool:
        return Summary.joined([each for found in pool.map(share, range(threads)) for each in found])


def _chunks(
    layout: SumLayout, rows: np.ndarray, weights: np.ndarray | None, threads: int
) -> list[Points]:
    size = chunk_rows(rows.shape[1])

    def encoded(a: int) -> Points:
        some = None if weights is None else weights[a : a + size]
        return Points.encode(layout.encoding, rows[a : a + size], some)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(encoded, range(0, len(rows), size)))
