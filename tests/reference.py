"""A brute-force float64 k-means in NumPy: the oracle that the product is held to.

Nothing here is fast and nothing is shared with the product. Axes: n rows, d features,
k prototypes. `points` is (n, d), `prototypes` is (k, d), `weights` is (n,) and non-negative
(None: every row weighs 1). All arithmetic is float64, whatever comes in. Rows are expected to be
good ones (see `bad_rows`) everywhere but in `bad_rows` and `impute`.

Cost: E(W) = sum_i v_i min_k c(x_i, w_k), Bottou & Bengio, "Convergence Properties of the K-Means
Algorithms", 1995.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Metric = str | Callable[[np.ndarray, np.ndarray], np.ndarray]
Relocate = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
Update = Callable[[np.ndarray], np.ndarray]

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Result:
    """What `fit` found.

    prototypes: (k, d) float64, after the last update.
    labels: (n,) int64, nearest of those prototypes. cost: their summed cost.
    history: the summed cost of the prototypes that each iteration started with.
    iterations: the updates made, which is len(history). converged: stopped by the tolerance.
    """

    prototypes: np.ndarray
    labels: np.ndarray
    cost: float
    history: list[float]
    iterations: int
    converged: bool


# Distances, labels, cost


def distances(points: np.ndarray, prototypes: np.ndarray, metric: Metric) -> np.ndarray:
    """(n, k) float64: metric of each row to each prototype.

    metric: 'sqeuclidean', 'cosine' (1 - cos), 'l1', or a function of points (n, d) and, row by row,
    their prototypes (n, d) that returns (n,).
    """
    x, w = _float64(points), _float64(prototypes)
    function = _METRICS[metric] if isinstance(metric, str) else metric
    result = np.empty((len(x), len(w)))
    for k in range(len(w)):
        result[:, k] = function(x, np.tile(w[k], (len(x), 1)))
    return result


def labels(points: np.ndarray, prototypes: np.ndarray, metric: Metric) -> np.ndarray:
    """(n,) int64: the nearest prototype of each row, ties to the lowest index."""
    return np.argmin(distances(points, prototypes, metric), axis=1)


def cost(
    points: np.ndarray,
    prototypes: np.ndarray,
    weights: np.ndarray | None = None,
    metric: Metric = "sqeuclidean",
) -> float:
    """Scalar: sum over the n rows of weight times distance to the nearest of the k prototypes."""
    nearest = np.min(distances(points, prototypes, metric), axis=1)
    return float(np.sum(_weights(points, weights) * nearest))


def _sqeuclidean(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(n,): squared distance of (n, d) to (n, d), added feature by feature from the first."""
    total = np.zeros(len(x))
    for j in range(x.shape[1]):
        difference = x[:, j] - w[:, j]
        total = total + difference * difference
    return total


def _cosine(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(n,): 1 - cos of the angle between (n, d) and (n, d)."""
    return 1.0 - np.sum(_unit(x) * _unit(w), axis=1)


def _l1(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(n,): sum of absolute differences of (n, d) and (n, d), added from the first feature."""
    total = np.zeros(len(x))
    for j in range(x.shape[1]):
        total = total + np.abs(x[:, j] - w[:, j])
    return total


_METRICS = {"sqeuclidean": _sqeuclidean, "cosine": _cosine, "l1": _l1}


# Gradients


def gradient(
    points: np.ndarray,
    prototypes: np.ndarray,
    weights: np.ndarray | None = None,
    metric: Metric = "sqeuclidean",
) -> np.ndarray:
    """(k, d): dE/dW of the summed cost with the labels held fixed, for the three named metrics.

    n is the weight of a prototype's rows, s their weighted sum, s' that of their unit vectors:
    sqeuclidean 2(n w - s); cosine -(s' - (s'.u)u)/|w| with u = w/|w|; l1 sum of v sign(w - x).
    A row that ties belongs wholly to the lowest index, so E has no derivative there and autodiff,
    which may share such a row, can differ. sign(0) is 0.
    """
    x, w, v = _float64(points), _float64(prototypes), _weights(points, weights)
    nearest = labels(x, w, metric)
    result = np.zeros_like(w)
    for k in range(len(w)):
        mine = nearest == k
        result[k] = _GRADIENTS[metric](x[mine], w[k], v[mine])
    return result


def numerical_gradient(
    points: np.ndarray,
    prototypes: np.ndarray,
    weights: np.ndarray | None = None,
    metric: Metric = "sqeuclidean",
    step: float = 1e-5,
) -> np.ndarray:
    """(k, d): central differences of `cost`, each with the step times max(1, |w_kj|)."""
    w = _float64(prototypes)
    result = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        above, below = w.copy(), w.copy()
        above[index] += step * max(1.0, abs(w[index]))
        below[index] -= step * max(1.0, abs(w[index]))
        rise = cost(points, above, weights, metric) - cost(points, below, weights, metric)
        result[index] = rise / (above[index] - below[index])
    return result


def _sqeuclidean_gradient(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(d,): 2(n w - s) for one prototype w (d,) and its rows (m, d), weights (m,)."""
    return 2.0 * (np.sum(v) * w - np.sum(v[:, None] * x, axis=0))


def _cosine_gradient(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(d,): minus the part of s' across w, over |w|: the cost does not change along w."""
    s = np.sum(v[:, None] * _unit(x), axis=0)
    u = w / np.linalg.norm(w)
    return -(s - np.dot(s, u) * u) / np.linalg.norm(w)


def _l1_gradient(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(d,): sum of v sign(w - x)."""
    return np.sum(v[:, None] * np.sign(w - x), axis=0)


_GRADIENTS = {"sqeuclidean": _sqeuclidean_gradient, "cosine": _cosine_gradient, "l1": _l1_gradient}


# Training


def fit(
    points: np.ndarray,
    prototypes: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    metric: Metric = "sqeuclidean",
    optimizer: str = "lloyd",
    learning_rate: float | None = None,
    reduction: str = "sum",
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    relocate: Relocate | None = None,
) -> Result:
    """Train prototypes (k, d) on points (n, d) and return a `Result`.

    Iteration t measures cost_t of W_t and updates to W_t+1. With a tolerance above 0 it is the last
    when |cost_t - cost_t-1| <= tolerance * cost_t (never the first); with tolerance 0, when the
    update left every prototype's bits unchanged.
    optimizer: 'lloyd' (sqeuclidean and cosine only), or 'sgd' and 'adam', which need a
    learning_rate and follow the gradient of the summed cost; reduction 'mean' divides that
    gradient, never the history, by the sum of the weights. A function as metric is followed by its
    `numerical_gradient`.
    relocate: see `lloyd_step`. Rows that are bad under the metric are a ValueError.
    """
    x, w, v = _float64(points), _float64(prototypes), _weights(points, weights)
    if np.any(bad_rows(x, metric)):
        raise ValueError("fit takes good rows only: drop or impute the bad ones first")
    update = _update(x, v, metric, optimizer, learning_rate, reduction, relocate)
    history: list[float] = []
    converged = False
    while len(history) < max_iterations and not converged:
        history.append(cost(x, w, v, metric))
        new = update(w)
        converged = _settled(history, tolerance) if tolerance > 0 else _same_bits(w, new)
        w = new
    final = labels(x, w, metric), cost(x, w, v, metric)
    return Result(w, *final, history, len(history), converged)


def lloyd_step(
    points: np.ndarray,
    prototypes: np.ndarray,
    weights: np.ndarray | None = None,
    metric: Metric = "sqeuclidean",
    relocate: Relocate | None = None,
) -> np.ndarray:
    """(k, d): the weighted mean of each prototype's rows; under cosine s/|s|, s = sum v x/|x|.

    A prototype without weight (under cosine also one with s = 0) stays, unless
    relocate(points, prototypes, its index) gives its new place (d,); relocate sees the prototypes
    of before the step, and is asked for one index after the other, ascending.
    """
    x, w, v = _float64(points), _float64(prototypes), _weights(points, weights)
    if metric not in ("sqeuclidean", "cosine"):
        raise ValueError(f"lloyd needs metric 'sqeuclidean' or 'cosine', not {metric!r}")
    nearest = labels(x, w, metric)
    result = w.copy()
    for k in range(len(w)):
        centre = _centre(x[nearest == k], v[nearest == k], metric)
        if centre is not None:
            result[k] = centre
        elif relocate is not None:
            result[k] = relocate(x, w.copy(), k)
    return result


def _centre(x: np.ndarray, v: np.ndarray, metric: Metric) -> np.ndarray | None:
    """(d,): the best prototype of the rows (m, d), weights (m,); None where there is none."""
    if np.sum(v) == 0:
        return None
    if metric == "sqeuclidean":
        return np.sum(v[:, None] * x, axis=0) / np.sum(v)
    s = np.sum(v[:, None] * _unit(x), axis=0)
    return s / np.linalg.norm(s) if np.any(s != 0) else None


def _update(
    x: np.ndarray,
    v: np.ndarray,
    metric: Metric,
    optimizer: str,
    learning_rate: float | None,
    reduction: str,
    relocate: Relocate | None,
) -> Update:
    """The function from W_t to W_t+1 that the options of `fit` ask for."""
    if optimizer not in ("lloyd", "sgd", "adam") or reduction not in ("sum", "mean"):
        raise ValueError(f"unknown optimizer {optimizer!r} or reduction {reduction!r}")
    if optimizer == "lloyd":
        return lambda w: lloyd_step(x, w, v, metric, relocate)
    if learning_rate is None:
        raise ValueError(f"{optimizer} needs a learning_rate")
    divisor = np.sum(v) if reduction == "mean" else 1.0
    derive = gradient if isinstance(metric, str) else numerical_gradient
    step = _Adam(learning_rate) if optimizer == "adam" else lambda g: learning_rate * g
    return lambda w: w - step(derive(x, w, v, metric) / divisor)


class _Adam:
    """Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, Algorithm 1."""

    def __init__(self, learning_rate: float):
        self.learning_rate, self.t, self.m, self.v = learning_rate, 0, 0.0, 0.0

    def __call__(self, g: np.ndarray) -> np.ndarray:
        """(k, d): what to take off the prototypes for the gradient g (k, d)."""
        self.t += 1
        self.m = ADAM_BETA1 * self.m + (1 - ADAM_BETA1) * g
        self.v = ADAM_BETA2 * self.v + (1 - ADAM_BETA2) * g**2
        m_hat = self.m / (1 - ADAM_BETA1**self.t)
        v_hat = self.v / (1 - ADAM_BETA2**self.t)
        return self.learning_rate * m_hat / (np.sqrt(v_hat) + ADAM_EPSILON)


def _settled(history: list[float], tolerance: float) -> bool:
    """Whether the last two costs differ by no more than tolerance times the last."""
    return len(history) > 1 and abs(history[-1] - history[-2]) <= tolerance * history[-1]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


# Preparation of rows


def standardize(
    points: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z (n, d), mean (d,), std (d,): z = (points - mean) / std, weighted, population std.

    A column that is constant over the rows with weight has std 1 and its value as mean.
    """
    x, v = _float64(points), _weights(points, weights)
    mean, std = np.zeros(x.shape[1]), np.ones(x.shape[1])
    for j in range(x.shape[1]):
        column = x[v > 0, j]
        mean[j] = column[0]
        if np.any(column != column[0]):
            mean[j] = np.average(column, weights=v[v > 0])
            std[j] = np.sqrt(np.average((column - mean[j]) ** 2, weights=v[v > 0]))
    return (x - mean) / std, mean, std


def bad_rows(points: np.ndarray, metric: Metric = "sqeuclidean") -> np.ndarray:
    """(n,) bool: rows with a NaN or an infinity, and under cosine rows of zeros only."""
    x = _float64(points)
    bad = ~np.all(np.isfinite(x), axis=1)
    if metric == "cosine":
        bad = bad | np.all(x == 0, axis=1)
    return bad


def impute(points: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(n, d): non-finite features become the weighted mean of their column's finite values.

    A ValueError where a mean is needed and no finite value has weight.
    """
    x, v = _float64(points), _weights(points, weights)
    for j in range(x.shape[1]):
        finite = np.isfinite(x[:, j])
        if np.all(finite):
            continue
        if np.sum(v[finite]) == 0:
            raise ValueError(f"column {j} has no finite value with weight")
        x[~finite, j] = np.average(x[finite, j], weights=v[finite])
    return x


# Small parts


def _float64(array: np.ndarray) -> np.ndarray:
    """A float64 copy, row by row in memory."""
    return np.array(array, dtype=np.float64, order="C")


def _weights(points: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(n,) float64: the weights, 1 by default."""
    return np.ones(len(points)) if weights is None else _float64(weights)


def _unit(x: np.ndarray) -> np.ndarray:
    """(m, d): each row over its length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)
