"""The step: one chunk of points against the prototypes of a state.

For a metric of the linear form the gradient follows from the sums of the assigned points; for
any other, automatic differentiation gives each row's gradient and those are summed. Either way
the terms are whole multiples of a quantum and their sums are exact.
"""

from functools import cache

import numpy as np

from kmeans_tf.assign import assign, assign_bounded, assigned_costs
from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo, Remembered
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.points import Points
from kmeans_tf.projected import Projected
from kmeans_tf.runtime import on_processor, tf
from kmeans_tf.sample import Sample
from kmeans_tf.state import Draw, TrainingState
from kmeans_tf.stats import ClusterStats, IterationStats
from kmeans_tf.sums import Addends, squares, weight_counts, weighted_sum


def step(
    layout: SumLayout,
    metric_name: str,
    state: TrainingState,
    points: Points,
    total: IterationStats | None = None,
    memo: Memo | None = None,
) -> IterationStats:
    """Adds the stats of one chunk, for every trial that runs, to `total`, in place.

    Args:
        memo: what earlier steps of the same points have left; it is brought up to date.

    Returns:
        The total; a new one where there was none.
    """
    metric = get_metric(metric_name)
    total = IterationStats.zero() if total is None else total
    for index, trial in state.running().items():
        total.clusters[index] = cluster_stats(
            layout,
            metric,
            points,
            trial.prototypes,
            draw=trial.draw,
            total=total.clusters.get(index),
            memo=memo,
            trial=index,
            projected=trial.projected(metric) if metric.sums_suffice else None,
        )
    if metric.sums_suffice and state.squares is None:
        total.squares += squares(layout, points)
    return total


def cluster_stats(
    layout: SumLayout,
    metric: Metric,
    points: Points,
    prototypes: np.ndarray,
    *,
    draw: Draw | None = None,
    total: ClusterStats | None = None,
    memo: Memo | None = None,
    trial: int = 0,
    projected: Projected | None = None,
) -> ClusterStats:
    """Sums of n points, or of their gradients, by the prototype (k, d) they belong to.

    Args:
        draw: points to draw by their cost, whatever chunks they are in.
        total: what they are added to, in place; None for nothing yet.
        memo: of the chunk.
        trial: whose memo it is.
        projected: the prototypes as the metric compares them, where that is known.
    """
    limbs = layout.limbs if metric.sums_suffice else layout.gradient_limbs(metric)
    addends = Addends(limbs, weight_counts(layout.weights, points), points.take)
    if total is None:
        total = addends.zero(len(prototypes))
    if not metric.sums_suffice:
        labels = assign(metric, points, prototypes)
        costs, gradients = _row_gradients(metric, points.array, prototypes[labels])
        total.cost += weighted_sum(points.weights, costs)
        addends.of(limbs.round(gradients)).add(total, labels)
    else:
        projected = projected or Projected(metric.project(prototypes))
        if memo is None or len(prototypes) == 1:
            labels = assign(metric, points, prototypes, projected)
            addends.add(total, labels)
        else:
            labels = _add_remembered(total, addends, points, projected, memo, trial)
    if draw:
        targets = projected.values if projected else metric.project(prototypes)
        drawn = _drawn(metric, points, targets, labels, draw, total.drawn)
        total.drawn = drawn if total.drawn is None else total.drawn + drawn
    return total


def _add_remembered(
    total: ClusterStats,
    addends: Addends,
    points: Points,
    projected: Projected,
    memo: Memo,
    trial: int,
) -> np.ndarray:
    """Adds points by their labels (n,), which it returns, and brings the memo up to date."""
    known = memo.trials.get(trial)
    if known and known.bounded.prototypes.shape != projected.values.shape:
        known = None
    bounded = assign_bounded(points, projected, known.bounded if known and memo.bounds else None)
    stats = None
    if not memo.keeps_sums(total, points):
        addends.add(total, bounded.labels)
    else:
        if known and known.stats:
            stats = addends.moved(known.stats, known.bounded.labels, bounded.labels)
        else:
            stats = addends.zero(len(projected))
            addends.add(stats, bounded.labels)
        total.include(stats)
    if memo.bounds or memo.sums:
        memo.trials[trial] = Remembered(bounded, stats)
    return bounded.labels


def _drawn(
    metric: Metric,
    points: Points,
    projected: np.ndarray,
    labels: np.ndarray,
    draw: Draw,
    others: Sample | None,
) -> Sample:
    """The points of a chunk that are drawn, but for what would not come in beside others."""
    rows = points.take(slice(None))
    costs = assigned_costs(metric, rows, projected, labels)
    weights = np.ones(points.rows) if points.weights is None else points.weights
    highest = others.highest if others else None
    return Sample.by_size(rows, weights, weights * costs, draw.seed, draw.count, highest)


def _row_gradients(metric: Metric, points: np.ndarray, prototypes: np.ndarray):
    """Costs (n,) and gradients (n, d) float64 of n points with respect to their prototypes.

    Raises:
        ValueError: a cost or gradient is not finite, or beyond the metric's bound.
    """
    with on_processor():
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
