"""The step: one chunk of points against the prototypes of a state.

For a metric of the linear form the gradient follows from the sums of the assigned points; for
any other, automatic differentiation gives each row's gradient and those are summed. Either way
the terms are whole multiples of a quantum and their sums are exact.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import scipy.sparse
import tensorflow as tf

from kmeans_tf.assign import assign, assigned_costs
from kmeans_tf.exact import exact_sum, two_product
from kmeans_tf.fixed_point import LIMB_BITS, FixedPoint
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.points import Points
from kmeans_tf.sample import Sample
from kmeans_tf.state import Draw, TrainingState
from kmeans_tf.stats import ClusterStats, IterationStats

_PIECE_ROWS = 1 << 12  # that are added at once


def step(
    layout: SumLayout, metric_name: str, state: TrainingState, points: Points
) -> IterationStats:
    """The stats of one chunk for every trial that runs."""
    metric = get_metric(metric_name)
    clusters = {
        index: cluster_stats(layout, metric, points, trial.prototypes, trial.draw)
        for index, trial in state.running().items()
    }
    squares = _squares(layout, points) if metric.sums_suffice and state.squares is None else 0
    return IterationStats(clusters, squares)


def cluster_stats(
    layout: SumLayout,
    metric: Metric,
    points: Points,
    prototypes: np.ndarray,
    draw: Draw | None = None,
) -> ClusterStats:
    """Sums of n points, or of their gradients, by the prototype (k, d) they belong to.

    Args:
        draw: points to draw by their cost, whatever chunks they are in.
    """
    labels = assign(metric, points, prototypes)
    k = len(prototypes)
    rows = np.bincount(labels, minlength=k)
    weights = _weight_counts(layout.weights, points)
    weight = np.stack([np.bincount(labels, w, k) for w in weights], 1).astype(np.int64)
    drawn = _drawn(metric, points, prototypes, labels, draw) if draw else None
    if metric.sums_suffice:
        sums = _sums(layout.limbs, weights, labels, k, points.take)
        return ClusterStats(rows, weight, sums, drawn=drawn)
    limbs = layout.gradient_limbs(metric)
    costs, gradients = _row_gradients(metric, points.array, prototypes[labels])
    sums = _sums(limbs, weights, labels, k, limbs.round(gradients).__getitem__)
    return ClusterStats(rows, weight, sums, _weighted_sum(points.weights, costs), drawn)


def _drawn(
    metric: Metric, points: Points, prototypes: np.ndarray, labels: np.ndarray, draw: Draw
) -> Sample:
    rows = points.take(slice(None))
    costs = assigned_costs(metric, rows, metric.project(prototypes), labels)
    weights = np.ones(points.rows) if points.weights is None else points.weights
    return Sample.by_size(rows, weights, weights * costs, draw.seed, draw.count)


def _weight_counts(limbs: FixedPoint, points: Points) -> np.ndarray:
    """(w, n) float64 whole numbers: the weights' limbs in their quanta."""
    if points.weights is None:
        return np.ones((1, points.rows))
    return np.ascontiguousarray(limbs.split(points.weights[:, None]).T) / limbs.quantum[:, None]


def _sums(
    limbs: FixedPoint,
    weights: np.ndarray,
    labels: np.ndarray,
    k: int,
    take: Callable[[slice], np.ndarray],
) -> np.ndarray:
    """(k, w * c) int64 sums by label of what `take` gives of n rows, times weights (w, n).

    A sparse matrix of the weights times the limbs: no sort, and one pass over the rows. Pieces of
    rows stay in cache, unless their sums are what fills it.
    """
    n, columns = weights.shape[1], len(limbs.column)
    piece = max(_PIECE_ROWS, k)
    totals = [np.zeros((k, columns)) for _ in weights]
    for start in range(0, n, piece):
        part = slice(start, min(start + piece, n))
        count = part.stop - part.start
        addends = limbs.split(take(part))
        for total, weight in zip(totals, weights[:, part], strict=True):
            chosen = scipy.sparse.csc_array(
                (weight, labels[part], np.arange(count + 1)), shape=(k, count)
            )
            total += chosen @ addends
    return np.concatenate([limbs.count(total) for total in totals], 1)


def _squares(layout: SumLayout, points: Points) -> int:
    if points.weights is None and points.fine is None and layout.fits_limb:
        return _squares_of_quanta(np.asarray(layout.encoding.quantum), points.array)
    values = points.take(slice(None)).ravel()
    # The square of a float32 number is exact, that of two takes a second number.
    squares = (values * values,) if points.fine is None else two_product(values, values)
    weights = points.weights
    if weights is not None:
        weights = np.repeat(weights, values.size // max(1, points.rows))
    return sum(_weighted_sum(weights, part) for part in squares)


def _squares_of_quanta(quantum: np.ndarray, points: np.ndarray) -> int:
    """The exact sum of squares of points (n, d) float32 below 2**LIMB_BITS quanta (d,).

    A square is a whole number below 2**(2 LIMB_BITS); its halves add up in float64 in any order.
    """
    middle = quantum * quantum * 2.0**LIMB_BITS
    coarse, fine = np.zeros(len(quantum)), np.zeros(len(quantum))
    for start in range(0, len(points), _PIECE_ROWS):
        squares = points[start : start + _PIECE_ROWS].astype(np.float64)
        squares *= squares
        high = np.rint(squares / middle) * middle
        coarse += high.sum(0)
        fine += (squares - high).sum(0)
    return exact_sum(coarse) + exact_sum(fine)


def _weighted_sum(weights: np.ndarray | None, values: np.ndarray) -> int:
    if weights is None:
        return exact_sum(values)
    product, error = two_product(weights, values)
    return exact_sum(product) + exact_sum(error)


def _row_gradients(metric: Metric, points: np.ndarray, prototypes: np.ndarray):
    """Costs (n,) and gradients (n, d) float64 of n points with respect to their prototypes.

    Raises:
        ValueError: a cost or gradient is not finite, or beyond the metric's bound.
    """
    costs, gradients = _gradient_program(metric)(
        tf.constant(points, tf.float64), tf.constant(prototypes, tf.float64)
    )
    costs, gradients = costs.numpy(), gradients.numpy()
    largest = np.abs(gradients).max(initial=0.0)
    if not (np.isfinite(costs).all() and largest <= metric.gradient_bound):
        raise ValueError(
            f"metric {metric.name!r} has a cost that is not finite, or a row gradient of "
            f"{largest:g} beyond its gradient_bound of {metric.gradient_bound:g}"
        )
    return costs, gradients


@cache
def _gradient_program(metric: Metric):
    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2,
    )
    def program(points, prototypes):
        with tf.GradientTape() as tape:
            tape.watch(prototypes)
            costs = metric.cost(points, prototypes)
        gradients = tape.gradient(costs, prototypes, unconnected_gradients="zero")
        return costs, gradients

    return program
