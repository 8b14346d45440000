"""From rows to what the product works on. Axes: n rows, d features, k prototypes."""

from fractions import Fraction

import numpy as np
import tensorflow as tf

from kmeans_tf.advance import advance
from kmeans_tf.encoding import Encoding
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import get_metric
from kmeans_tf.points import Points
from kmeans_tf.start import choose_start
from kmeans_tf.state import TrainingState, Trial
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from kmeans_tf.training import train as train_on
from kmeans_tf.update import update


def summary_of(
    rows, weights=None, *, seed=0, capacity=1 << 16, moments=False, impute=False
) -> Summary:
    """What a scan finds of (n, d) rows and their (n,) weights; its sample has a capacity."""
    return Summary.of(
        np.asarray(rows, np.float64),
        np.ones(len(rows)) if weights is None else weights,
        np.isfinite(rows).all(1),
        seed=seed,
        capacity=capacity,
        moments=moments or impute,
        used=np.ones(len(rows), bool) if impute else None,
    )


def layout_of(
    rows, weights=None, metric="sqeuclidean", *, standard=False, impute=False
) -> SumLayout:
    """The layout that all of (n, d) rows and their (n,) weights ask for."""
    summary = summary_of(rows, weights, moments=standard, impute=impute)
    return SumLayout.fit(summary, get_metric(metric), standard=standard, impute=impute)


def raw_encoding(d: int) -> Encoding:
    """An encoding that lets every float32 through as it is."""
    ones = np.ones(d)
    return Encoding(np.zeros(d), ones, 1.0, False, ones * 2.0**-149, None)


def raw_points(points: np.ndarray) -> Points:
    """(n, d) float32 as points, unchanged."""
    return Points.encode(raw_encoding(points.shape[1]), points.astype(np.float64))


def chunks_of(layout, rows, weights=None, size=1 << 12) -> list[Points]:
    """(n, d) rows in chunks of `size`."""
    parts = [slice(a, a + size) for a in range(0, len(rows), size)]
    weights = None if weights is None else np.asarray(weights, np.float64)
    encoding = layout.encoding
    return [
        Points.encode(encoding, rows[p], None if weights is None else weights[p]) for p in parts
    ]


def train(layout, options, starts, chunks, sample=None) -> TrainingState:
    """Iterates until done; starts: (k, d) prototypes of each trial, in the layout."""
    state = TrainingState(tuple(Trial.start(start) for start in starts))
    return train_on(
        layout,
        options,
        state,
        chunks,
        lambda state, stats: update(layout, options, state, stats, lambda: sample),
    )


def states_of(summary, options, start, rows, weights=None, size=1 << 12, threads=1, got_on=None):
    """From a start by its options: the layout, and the state after every iteration."""
    layout, trial = choose_start(summary, get_metric(options.metric), start, threads)
    more = threads, got_on or (lambda: None)
    chunks = chunks_of(layout, rows, weights, size)
    states = [TrainingState((trial,), precision=layout.encoding.precision)]
    while not states[-1].done:
        stats = (step(layout, options.metric, states[-1], chunk) for chunk in chunks)
        total = sum(stats, IterationStats.zero())
        states.append(advance(layout, options, states[-1], total, lambda: summary, *more))
    return layout, states


def counted(limbs, counts) -> np.ndarray:
    """(k, c) counts of limbs -> (k, d) what they add up to, as exact fractions."""
    values = fractions(counts) * fractions(limbs.quantum)
    columns = range(limbs.column.max() + 1)
    return np.stack([values[:, limbs.column == j].sum(1) for j in columns], 1)


def weighted_sums(layout, stats) -> np.ndarray:
    """(k, d) the sums of the weighted points, as exact fractions."""
    return counted(layout.limbs.times(layout.weights), stats.sums)


def fractions(array) -> np.ndarray:
    """Numbers as exact fractions, of the same shape."""
    array = np.asarray(array, np.float64)
    result = np.empty(array.shape, object)
    result.ravel()[:] = [Fraction(float(v)) for v in array.ravel()]
    return result


def autodiff(cost, points, prototypes) -> np.ndarray:
    """(k, d): TensorFlow's gradient of cost(points, prototypes), in float64."""
    w = tf.Variable(prototypes, dtype=tf.float64)
    with tf.GradientTape() as tape:
        total = cost(tf.constant(points, tf.float64), w)
    return tf.convert_to_tensor(tape.gradient(total, w)).numpy()


def seed_cost(x, w):
    """The expression that the project began from, word for word: (n, d), (k, d) -> scalar."""
    k = w.shape[0]
    xc = tf.concat(k * [tf.expand_dims(x, 2)], 2)
    wc = tf.transpose(tf.expand_dims(w, 2), [2, 1, 0])
    distances = tf.reduce_sum((xc - wc) ** 2, 1)
    return tf.reduce_sum(tf.reduce_min(distances, 1))
