"""From the stats of an iteration to the next state."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kmeans_tf.exact import to_float
from kmeans_tf.layout import SumLayout
from kmeans_tf.linear_terms import linear_terms
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.seeding import farthest_points
from kmeans_tf.state import (
    CONVERGED,
    DIVERGED,
    MAX_ITERATIONS,
    RUNNING,
    TrainingOptions,
    TrainingState,
    Trial,
)
from kmeans_tf.stats import ClusterStats, IterationStats

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8
_FAR = 2.0**400  # the square of a prototype beyond it leaves no room to be exact: it ran away

SamplePoints = Callable[[], np.ndarray]


@np.errstate(over="ignore", invalid="ignore")  # a descent that runs away is told by its status
def update(
    layout: SumLayout,
    options: TrainingOptions,
    state: TrainingState,
    stats: IterationStats,
    sample_points: SamplePoints,
) -> TrainingState:
    """The state after one more iteration.

    Args:
        layout: of the sums.
        options: how to train.
        state: the state that the stats were made with.
        stats: the sum over all blocks.
        sample_points: gives (m, d) float64 points, asked for only when a cluster is empty.
    """
    squares = stats.squares if state.squares is None else state.squares
    advanced = {
        index: _advance(layout, options, trial, stats.clusters[index], squares, sample_points)
        for index, trial in state.running().items()
    }
    state = state.with_trials(advanced)
    return replace(state, iteration=state.iteration + 1, squares=squares)


def _advance(
    layout: SumLayout,
    options: TrainingOptions,
    trial: Trial,
    stats: ClusterStats,
    squares: int,
    sample_points: SamplePoints,
) -> Trial:
    metric = get_metric(options.metric)
    cost = _cost(metric, layout, trial.prototypes, stats, squares)
    if options.optimizer == "lloyd":
        prototypes, relocated = _lloyd(metric, layout, trial, stats, sample_points)
        optimizer_state: tuple[np.ndarray, ...] = ()
    else:
        gradient = cost_gradient(metric, layout, trial.prototypes, stats)
        prototypes, optimizer_state = _descend(layout, options, trial, gradient)
        relocated = 0
    moved = replace(
        trial,
        prototypes=prototypes,
        optimizer_state=optimizer_state,
        costs=(*trial.costs, cost),
        relocated=(*trial.relocated, relocated),
    )
    return replace(moved, status=_status(options, trial, moved))


def cost_gradient(
    metric: Metric, layout: SumLayout, prototypes: np.ndarray, stats: ClusterStats
) -> np.ndarray:
    """The gradient (k, d) float64 of the min-distance cost, in the points' units."""
    if not metric.sums_suffice:
        return layout.gradient_limbs(metric).times(layout.weights).join(stats.sums)
    return metric.gradient(prototypes, layout.join_weight(stats.weight), _joined(layout, stats))


def _joined(layout: SumLayout, stats: ClusterStats) -> np.ndarray:
    """The weighted sums (k, d) float64 of the points."""
    return layout.limbs.times(layout.weights).join(stats.sums)


def _lloyd(
    metric: Metric,
    layout: SumLayout,
    trial: Trial,
    stats: ClusterStats,
    sample_points: SamplePoints,
) -> tuple[np.ndarray, int]:
    """Prototypes of least cost; an empty cluster takes the farthest row of the sample."""
    empty = (stats.weight == 0).all(1)
    sums = _joined(layout, stats)
    divisor = np.where(empty, 1.0, layout.join_weight(stats.weight))
    undefined = empty | (metric.normalize & ~sums.any(1))
    minimizer = metric.minimizer(sums, divisor)
    prototypes = np.where(undefined[:, None], trial.prototypes, minimizer)
    if not empty.any():
        return prototypes, 0
    kept = prototypes.copy()
    kept[empty] = prototypes[empty.argmin()]  # as many as ever, for which there is a program
    farthest = farthest_points(metric, sample_points(), kept, int(empty.sum()))
    places = np.flatnonzero(empty)[: len(farthest)]
    prototypes[places] = farthest
    return prototypes, len(places)


def _descend(
    layout: SumLayout, options: TrainingOptions, trial: Trial, gradient: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """One step of sgd or adam (Kingma and Ba 2015), taken in the input's units."""
    gradient = gradient / layout.encoding.unit
    if options.reduction == "mean":
        gradient = gradient / layout.total_weight
    optimizer_state: tuple[np.ndarray, ...] = ()
    if options.optimizer == "adam":
        first, second = trial.optimizer_state or (np.zeros_like(gradient), np.zeros_like(gradient))
        first = ADAM_BETA1 * first + (1 - ADAM_BETA1) * gradient
        second = ADAM_BETA2 * second + (1 - ADAM_BETA2) * gradient * gradient
        optimizer_state = (first, second)
        t = trial.iterations + 1
        corrected = np.sqrt(second / (1 - ADAM_BETA2**t)) + ADAM_EPSILON
        gradient = first / (1 - ADAM_BETA1**t) / corrected
    return (
        trial.prototypes - options.learning_rate * layout.encoding.unit * gradient,
        optimizer_state,
    )


def _status(options: TrainingOptions, before: Trial, after: Trial) -> str:
    cost = after.costs[-1]
    if not (np.isfinite(cost) and np.isfinite(after.prototypes).all()):
        return DIVERGED
    if after.relocated[-1] == 0:
        if options.tolerance == 0:
            converged = before.prototypes.tobytes() == after.prototypes.tobytes()
        else:
            change = abs(cost - before.costs[-1]) if before.costs else np.inf
            converged = change <= options.tolerance * cost
        if converged:
            return CONVERGED
    return MAX_ITERATIONS if after.iterations >= options.max_iterations else RUNNING


def _cost(
    metric: Metric, layout: SumLayout, prototypes: np.ndarray, stats: ClusterStats, squares: int
) -> float:
    """The cost of the prototypes in the (scaled) input's units, correctly rounded."""
    if not metric.sums_suffice:
        return to_float(stats.cost)
    projected = metric.project(prototypes)
    if not np.abs(projected).max() < _FAR:
        return float("inf")
    total = squares + linear_terms(layout, projected, stats)
    return metric.scale * to_float(total) / layout.encoding.unit / layout.encoding.unit
