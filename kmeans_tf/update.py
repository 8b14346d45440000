"""From the stats of an iteration to the next state."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kmeans_tf.exact import exact_sum, to_float, two_product
from kmeans_tf.fixed_point import FixedPoint
from kmeans_tf.frame import Frame
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
from kmeans_tf.step import gradient_limbs

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8
_FAR = 2.0**400  # the square of a prototype beyond it leaves no room to be exact: it ran away

SamplePoints = Callable[[], np.ndarray]


def update(
    frame: Frame,
    options: TrainingOptions,
    state: TrainingState,
    stats: IterationStats,
    sample_points: SamplePoints,
) -> TrainingState:
    """The state after one more iteration.

    Args:
        frame: the points' frame.
        options: how to train.
        state: the state that the stats were made with.
        stats: the sum over all blocks.
        sample_points: gives (m, d) float64 points, asked for only when a cluster is empty.
    """
    squares = stats.squares if state.squares is None else state.squares
    advanced = {
        index: _advance(frame, options, trial, stats.clusters[index], squares, sample_points)
        for index, trial in state.running().items()
    }
    state = state.with_trials(advanced)
    return replace(state, iteration=state.iteration + 1, squares=squares)


def _advance(
    frame: Frame,
    options: TrainingOptions,
    trial: Trial,
    stats: ClusterStats,
    squares: int,
    sample_points: SamplePoints,
) -> Trial:
    metric = get_metric(options.metric)
    cost = _cost(metric, frame, trial.prototypes, stats, squares)
    if options.optimizer == "lloyd":
        prototypes, relocated = _lloyd(metric, frame, trial, stats, sample_points)
        slots: tuple[np.ndarray, ...] = ()
    else:
        gradient = cost_gradient(metric, frame, trial.prototypes, stats)
        prototypes, slots = _descend(frame, options, trial, gradient)
        relocated = 0
    moved = replace(
        trial,
        prototypes=prototypes,
        slots=slots,
        costs=(*trial.costs, cost),
        relocated=(*trial.relocated, relocated),
    )
    return replace(moved, status=_status(options, trial, moved))


def cost_gradient(
    metric: Metric, frame: Frame, prototypes: np.ndarray, stats: ClusterStats
) -> np.ndarray:
    """The gradient (k, d) float64 of the min-distance cost, all in the points' frame."""
    if not metric.linear:
        return gradient_limbs(metric, frame).join(stats.sums) * frame.weight_quantum
    weight = stats.weight * frame.weight_quantum
    sums = frame.limbs.join(stats.sums) * frame.weight_quantum
    return metric.gradient(prototypes, weight, sums)


def _lloyd(
    metric: Metric, frame: Frame, trial: Trial, stats: ClusterStats, sample_points: SamplePoints
) -> tuple[np.ndarray, int]:
    """Prototypes of least cost; an empty cluster takes the farthest row of the sample."""
    empty = stats.weight == 0
    sums = frame.limbs.join(stats.sums)
    divisor = np.where(empty, 1, stats.weight)
    undefined = empty | (metric.normalize & ~sums.any(1))
    minimizer = metric.minimizer(sums, divisor)
    prototypes = np.where(undefined[:, None], trial.prototypes, minimizer)
    if not empty.any():
        return prototypes, 0
    kept = prototypes[~empty]
    found = farthest_points(metric, sample_points(), kept, int(empty.sum()))
    places = np.flatnonzero(empty)[: len(found)]
    prototypes[places] = found
    return prototypes, len(places)


def _descend(
    frame: Frame, options: TrainingOptions, trial: Trial, gradient: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """One step of sgd or adam (Kingma and Ba 2015), taken in the input's units."""
    gradient = gradient / frame.unit
    if options.reduction == "mean":
        gradient = gradient / frame.total_weight
    slots: tuple[np.ndarray, ...] = ()
    if options.optimizer == "adam":
        first, second = trial.slots or (np.zeros_like(gradient), np.zeros_like(gradient))
        first = ADAM_BETA1 * first + (1 - ADAM_BETA1) * gradient
        second = ADAM_BETA2 * second + (1 - ADAM_BETA2) * gradient * gradient
        slots = (first, second)
        t = trial.iterations + 1
        corrected = np.sqrt(second / (1 - ADAM_BETA2**t)) + ADAM_EPSILON
        gradient = first / (1 - ADAM_BETA1**t) / corrected
    return trial.prototypes - options.learning_rate * frame.unit * gradient, slots


def _status(options: TrainingOptions, before: Trial, after: Trial) -> str:
    cost = after.costs[-1]
    if not (np.isfinite(cost) and np.isfinite(after.prototypes).all()):
        return DIVERGED
    if after.relocated[-1] == 0:
        if options.tolerance == 0:
            settled = before.prototypes.tobytes() == after.prototypes.tobytes()
        else:
            change = abs(cost - before.costs[-1]) if before.costs else np.inf
            settled = change <= options.tolerance * cost
        if settled:
            return CONVERGED
    return MAX_ITERATIONS if after.iterations >= options.max_iterations else RUNNING


def _cost(
    metric: Metric, frame: Frame, prototypes: np.ndarray, stats: ClusterStats, squares: int
) -> float:
    """The cost of the prototypes in the (scaled) input's units, correctly rounded."""
    if not metric.linear:
        return to_float(stats.cost) * frame.weight_quantum
    projected = metric.project(prototypes)
    if not np.abs(projected).max() < _FAR:
        return float("inf")
    total = squares + _linear_terms(frame.limbs, projected, stats)
    return metric.scale * to_float(total) * frame.weight_quantum / frame.unit / frame.unit


def _linear_terms(limbs: FixedPoint, u: np.ndarray, stats: ClusterStats) -> int:
    """sum_k (n_k |u_k|**2 - 2 u_k . s_k), exactly."""
    terms: list[np.ndarray] = []
    for part in _float_parts(stats.sums):
        terms += two_product(part * (-2 * limbs.quantum), u[:, limbs.column])
    for square in two_product(u, u):
        for part in _float_parts(stats.weight):
            terms += two_product(np.broadcast_to(part[:, None], u.shape), square)
    return exact_sum(np.concatenate([term.ravel() for term in terms]))


def _float_parts(values: np.ndarray) -> list[np.ndarray]:
    """int64 -> float64 arrays that add up to it exactly."""
    low = values & 0xFFFFFFFF
    high = values - low
    return [part.astype(np.float64) for part in (low, high) if part.any()]
