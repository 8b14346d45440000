"""The step: one chunk of points against the prototypes of a state.

For a metric of the linear form the gradient follows from the sums of the assigned points; for
any other, automatic differentiation gives each row's gradient and those are summed. Either way
the terms are whole multiples of a quantum and their sums are exact.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import scipy.sparse

from kmeans_tf.assign import assign, assigned_costs
from kmeans_tf.exact import exact_sum, two_product
from kmeans_tf.fixed_point import LIMB_BITS, FixedPoint
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.points import Points
from kmeans_tf.runtime import tf
from kmeans_tf.sample import Sample
from kmeans_tf.state import Draw, TrainingState
from kmeans_tf.stats import ClusterStats, IterationStats

_PIECE_ROWS = 1 << 12  # that are added at once, ...
_ROWS_PER_PROTOTYPE = 4  # ... or as many as are worth their sums
_PIECE_SUMS = 1 << 17  # that they are added to at once: 1 MB, which stays in cache


def step(
    layout: SumLayout,
    metric_name: str,
    state: TrainingState,
    points: Points,
    total: IterationStats | None = None,
) -> IterationStats:
    """Adds the stats of one chunk, for every trial that runs, to `total`, in place.

    Returns:
        The total; a new one where there was none.
    """
    metric = get_metric(metric_name)
    total = IterationStats.zero() if total is None else total
    for index, trial in state.running().items():
        total.clusters[index] = cluster_stats(
            layout, metric, points, trial.prototypes, trial.draw, total.clusters.get(index)
        )
    if metric.sums_suffice and state.squares is None:
        total.squares += _squares(layout, points)
    return total


def cluster_stats(
    layout: SumLayout,
    metric: Metric,
    points: Points,
    prototypes: np.ndarray,
    draw: Draw | None = None,
    total: ClusterStats | None = None,
) -> ClusterStats:
    """Sums of n points, or of their gradients, by the prototype (k, d) they belong to.

    Args:
        draw: points to draw by their cost, whatever chunks they are in.
        total: what they are added to, in place; None for nothing yet.
    """
    labels = assign(metric, points, prototypes)
    k, weights = len(prototypes), _weight_counts(layout.weights, points)
    limbs = layout.limbs if metric.sums_suffice else layout.gradient_limbs(metric)
    if total is None:
        total = ClusterStats.zero(k, len(weights), len(limbs.column))
    total.rows += np.bincount(labels, minlength=k)
    for column, weight in zip(total.weight.T, weights, strict=True):
        column += np.bincount(labels, weight, k).astype(np.int64)
    if draw:
        drawn = _drawn(metric, points, prototypes, labels, draw, total.drawn)
        total.drawn = drawn if total.drawn is None else total.drawn + drawn
    if metric.sums_suffice:
        _add_sums(total.sums, limbs, weights, labels, points.take)
    else:
        costs, gradients = _row_gradients(metric, points.array, prototypes[labels])
        total.cost += _weighted_sum(points.weights, costs)
        rounded = limbs.round(gradients)
        _add_sums(total.sums, limbs, weights, labels, lambda *place: rounded[place])
    return total


def _drawn(
    metric: Metric,
    points: Points,
    prototypes: np.ndarray,
    labels: np.ndarray,
    draw: Draw,
    others: Sample | None,
) -> Sample:
    """The points of a chunk that are drawn, but for what would not come in beside others."""
    rows = points.take(slice(None))
    costs = assigned_costs(metric, rows, metric.project(prototypes), labels)
    weights = np.ones(points.rows) if points.weights is None else points.weights
    highest = others.highest if others else None
    return Sample.by_size(rows, weights, weights * costs, draw.seed, draw.count, highest)


def _weight_counts(limbs: FixedPoint, points: Points) -> np.ndarray:
    """(w, n) float64 whole numbers: the weights' limbs in their quanta."""
    if points.weights is None:
        return np.ones((1, points.rows))
    return np.ascontiguousarray(limbs.split(points.weights[:, None]).T) / limbs.quantum[:, None]


def _add_sums(
    total: np.ndarray,
    limbs: FixedPoint,
    weights: np.ndarray,
    labels: np.ndarray,
    take: Callable[[slice, slice], np.ndarray],
) -> None:
    """Adds n rows times weights (w, n) to `total` (k, w * c) int64, by label and in place.

    A sparse matrix of the weights times the limbs: no sort. Nothing of the size of the sums is
    made on the way: they are taken some rows and some columns at a time, which stay in cache.

    Args:
        take: gives some rows (n, d) float64 of some columns.
    """
    k, n, count = len(total), weights.shape[1], len(limbs.column)
    step = max(_PIECE_ROWS, _ROWS_PER_PROTOTYPE * k)
    blocks = list(limbs.blocks(max(1, _PIECE_SUMS // k)))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        chosen = [_by_label(weight[rows], labels[rows], k) for weight in weights]
        for block in blocks:
            addends = block.limbs.split(take(rows, block.columns))
            for first, matrix in zip(range(0, total.shape[1], count), chosen, strict=True):
                place = slice(first + block.places.start, first + block.places.stop)
                total[:, place] += block.limbs.count(matrix @ addends)


def _by_label(weights: np.ndarray, labels: np.ndarray, k: int) -> scipy.sparse.csc_array:
    """(k, n): a column for each row, with its weight at its label."""
    n = len(labels)
    return scipy.sparse.csc_array((weights, labels, np.arange(n + 1)), shape=(k, n))


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
    size = max(1, _PIECE_SUMS // len(quantum))
    for start in range(0, len(points), size):
        squares = points[start : start + size].astype(np.float64)
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
