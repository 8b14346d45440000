"""Starting prototypes, chosen among weighted points.

Random numbers come from NumPy's RandomState, the generator whose streams NumPy has frozen: the
same seed gives the same start under any later version.
"""

import numpy as np

from kmeans_tf.metrics import Metric, pairwise_costs


def k_means_plus_plus(
    metric: Metric,
    points: np.ndarray,
    weights: np.ndarray,
    k: int,
    random: np.random.RandomState,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """k prototypes (k, d) by greedy k-means++ (Arthur and Vassilvitskii 2007).

    Each next prototype is the best of 2 + log k candidates drawn in proportion to weight times
    cost, as scikit-learn draws them.

    Args:
        metric: the cost; its square root is not taken.
        points: (m, d) float64 to choose from.
        weights: (m,) float64 > 0.
        k: how many prototypes.
        random: the source of randomness.
        first: (k0, d) prototypes to start from, k0 <= k; they come first.

    Raises:
        ValueError: there are fewer than k distinct points.
    """
    candidates = 2 + int(np.log(k))
    chosen = np.empty((0, points.shape[1])) if first is None else first
    if not len(chosen):
        chosen = points[_draw(weights, 1, random)]
    nearest = point_costs(metric, points, chosen).min(1)
    while len(chosen) < k:
        potential = weights * nearest
        if not potential.any():
            raise ValueError(f"k = {k}, but there are only {len(chosen)} distinct points")
        drawn = points[_draw(potential, candidates, random)]
        costs = np.minimum(nearest[:, None], point_costs(metric, points, drawn))
        best = int((weights @ costs).argmin())
        nearest = costs[:, best]
        chosen = np.concatenate([chosen, drawn[best : best + 1]])
    return chosen


def random_points(
    points: np.ndarray,
    weights: np.ndarray,
    k: int,
    random: np.random.RandomState,
) -> np.ndarray:
    """k different points (k, d) drawn in proportion to their weights.

    Raises:
        ValueError: there are fewer than k points.
    """
    if len(points) < k:
        raise ValueError(f"k = {k}, but there are only {len(points)} distinct points")
    return points[random.choice(len(points), k, replace=False, p=weights / weights.sum())]


def farthest_points(
    metric: Metric, points: np.ndarray, prototypes: np.ndarray, count: int
) -> np.ndarray:
    """Up to `count` points, one after the other the farthest from all prototypes so far.

    Of points equally far the first is taken; none that coincides with a prototype is.

    Args:
        points: (m, d) float64.
        prototypes: (k, d) float64.

    Returns:
        (at most `count`, d) float64.
    """
    nearest = point_costs(metric, points, prototypes).min(1)
    chosen = []
    for _ in range(count):
        index = int(nearest.argmax())
        if not nearest[index] > 0:
            break
        chosen.append(points[index])
        nearest = np.minimum(nearest, point_costs(metric, points, points[index : index + 1])[:, 0])
        nearest[index] = 0
    return np.array(chosen).reshape(-1, points.shape[1])


def point_costs(metric: Metric, points: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """Costs (m, k) float64; for a metric of the linear form by a matrix product, never negative."""
    if not metric.sums_suffice:
        return pairwise_costs(metric, points, prototypes)
    projected = metric.project(prototypes)
    squares = (points * points).sum(1)[:, None] + (projected * projected).sum(1)
    distances = squares - 2 * (points @ projected.T)
    # What the product's rounding leaves of a coincidence is no distance.
    return metric.scale * np.where(distances > 1e-14 * squares, distances, 0.0)


def _draw(weights: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    cumulative = np.cumsum(weights)
    places = np.searchsorted(cumulative, random.random_sample(count) * cumulative[-1], "right")
    return np.minimum(places, len(weights) - 1)


INITS = ("k-means++", "random")


def initial_prototypes(
    init: str,
    metric: Metric,
    points: np.ndarray,
    weights: np.ndarray,
    k: int,
    seed: int,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """k starting prototypes (k, d) float64, beginning with `first`, if any.

    Args:
        init: 'k-means++' or 'random'; `first` is filled up by k-means++.
        metric, points, weights: see `k_means_plus_plus`.
        seed: of the random numbers.

    Raises:
        ValueError: `first` has more prototypes than k, or there are fewer distinct points.
    """
    random = np.random.RandomState(seed % 2**32)
    if first is not None and len(first) > k:
        raise ValueError(f"{len(first)} prototypes to start from, more than k = {k}")
    if init == "random" and first is None:
        return random_points(points, weights, k, random)
    return k_means_plus_plus(metric, points, weights, k, random, first)
