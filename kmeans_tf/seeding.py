"""Starting prototypes, chosen among weighted points.

Random numbers come from NumPy's RandomState, the generator whose streams NumPy has frozen: the
same seed gives the same start under any later version.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kmeans_tf.assign import nearest
from kmeans_tf.metrics import Metric, pairwise_costs

_DRAWN_SINGLY = 256  # prototypes that are chosen from a draw each
_NEAR = 1e-8  # of |x|**2, below which a squared distance is taken from the difference
_ULP = 2.0**-51  # of |x|, what projecting may move a prototype by
_GATHERED = 1 << 20  # numbers of such differences at a time
_COSTS = 1 << 22  # at a time, of candidates drawn together ...
_COMPARED = 1 << 20  # ... and where points are compared with all prototypes


class TooFewPointsError(ValueError):
    """There are fewer distinct points than prototypes.

    Attributes:
        chosen: (c, d) float64, all that there are.
    """

    def __init__(self, k: int, chosen: np.ndarray):
        super().__init__(f"k = {k}, but there are only {len(chosen)} distinct points")
        self.chosen = chosen


def k_means_plus_plus(
    metric: Metric,
    points: np.ndarray,
    weights: np.ndarray,
    k: int,
    random: np.random.RandomState,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """k prototypes (k, d) by greedy k-means++ (Arthur and Vassilvitskii 2007).

    Each next prototype is the best of some candidates drawn in proportion to weight times cost:
    of 2 + log k, as in scikit-learn, up to k = 256, of fewer beyond, where they differ less.

    Beyond 256 prototypes several are chosen from one draw, whose costs are one matrix product. A
    candidate of it stands with the odds of its cost now to its cost at the draw, which makes it
    one of a draw made now.

    Args:
        metric: the cost; its square root is not taken.
        points: (m, d) float64 to choose from.
        weights: (m,) float64 > 0.
        k: how many prototypes.
        random: the source of randomness.
        first: (k0, d) prototypes to start from, k0 <= k; they come first.

    Raises:
        TooFewPointsError: there are fewer than k distinct points.
    """
    candidates = min(2 + int(np.log(k)), max(2, 7 * _DRAWN_SINGLY // k))
    if first is not None and len(first) == k:
        return first
    costs_to = PointCosts(metric, points)
    if first is None:
        first = points[draw(weights, 1, random)]
        lowest = costs_to(first)[0]
    else:
        _, lowest = nearest(metric, points, first)
    chosen = list(first)
    most = max(1, _COSTS // (candidates * len(points)))
    # New memory each time would cost more than what is done in it.
    kept, spare = np.empty((2, candidates, len(points)))
    products = np.empty((most * candidates, len(points)))
    while len(chosen) < k:
        potential = weights * lowest
        if not potential.any():
            raise TooFewPointsError(k, np.array(chosen))
        steps = min(1 + max(0, len(chosen) - _DRAWN_SINGLY) // 32, k - len(chosen), most)
        drawn = draw(potential, steps * candidates, random)
        costs = costs_to(points[drawn], products[: len(drawn)])
        at_draw = lowest[drawn]
        for start in range(0, len(drawn), candidates):
            step = np.arange(start, start + candidates)
            if start:
                odds = lowest[drawn[step]] / at_draw[step]
                step = step[random.random_sample(candidates) < odds]
            if len(step):
                for row, candidate in zip(spare, step, strict=False):
                    np.minimum(lowest, costs[candidate], out=row)
                best = int((spare[: len(step)] @ weights).argmin())
                lowest = spare[best]
                kept, spare = spare, kept
                chosen.append(points[drawn[step[best]]])
    return np.array(chosen)


def random_points(
    points: np.ndarray,
    weights: np.ndarray,
    k: int,
    random: np.random.RandomState,
) -> np.ndarray:
    """k different points (k, d) drawn in proportion to their weights.

    Raises:
        TooFewPointsError: there are fewer than k points.
    """
    if len(points) < k:
        raise TooFewPointsError(k, points)
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
    _, lowest = nearest(metric, points, prototypes)
    costs_to = PointCosts(metric, points)
    points = costs_to.points  # those that were given may go
    chosen = []
    for _ in range(count):
        index = int(lowest.argmax())
        if not lowest[index] > 0:
            break
        chosen.append(points[index])
        lowest = np.minimum(lowest, costs_to(points[index : index + 1])[0])
        lowest[index] = 0
    return np.array(chosen).reshape(-1, points.shape[1])


class PointCosts:
    """Costs of (m, d) float64 points, where sums suffice by a matrix product, never negative."""

    def __init__(self, metric: Metric, points: np.ndarray):
        self._metric, self.points = metric, points
        if metric.sums_suffice:
            squares = np.einsum("ij,ij->i", points, points)
            self._squares = squares
            self._factors = np.column_stack([points, squares, np.ones(len(points))])
            self.points = self._factors[:, :-2]

    def two_nearest(
        self, prototypes: np.ndarray, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places and costs (2, m) of the two nearest prototypes, the nearest first.

        Of equally near ones the first are taken.
        """
        m = len(self.points)
        places, costs = np.empty((2, m), np.int64), np.empty((2, m))
        size = max(1, _COMPARED // len(prototypes))

        def find(start: int) -> None:
            part = slice(start, start + size)
            some = self._by_point(prototypes, part)
            row = np.arange(len(some))
            for rank in range(2):
                found = some.argmin(1)  # along what is contiguous: a partition takes ten times it
                places[rank, part], costs[rank, part] = found, some[row, found]
                some[row, found] = np.inf

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(find, range(0, m, size)))
        return places, costs

    def __call__(self, prototypes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Costs (k, m) float64 of (k, d) prototypes; `out` (k, m) may take the products."""
        metric = self._metric
        if not metric.sums_suffice:
            return pairwise_costs(metric, self.points, prototypes).T
        u, factors = self._projected(prototypes)
        squares = np.matmul(factors, self._factors.T, out=out)
        near = np.flatnonzero(squares <= _NEAR * self._squares)  # nonzero takes five times it
        prototype, place = np.divmod(near, len(self.points))
        squares[prototype, place] = self._near(u, prototype, place)
        return squares if metric.scale == 1 else np.multiply(squares, metric.scale, out=squares)

    def _by_point(self, prototypes: np.ndarray, part: slice) -> np.ndarray:
        """Costs (m, k) float64 of some of the points."""
        metric = self._metric
        if not metric.sums_suffice:
            return pairwise_costs(metric, self.points[part], prototypes)
        u, factors = self._projected(prototypes)
        squares = self._factors[part] @ factors.T
        near = np.flatnonzero(squares <= _NEAR * self._squares[part, None])
        place, prototype = np.divmod(near, len(prototypes))
        squares[place, prototype] = self._near(u, prototype, part.start + place)
        return squares if metric.scale == 1 else squares * metric.scale

    def _projected(self, prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prototypes (k, d) as they are compared, and the factors (k, d + 2) of the products."""
        u = self._metric.project(prototypes)
        return u, np.column_stack([-2 * u, np.ones(len(u)), np.einsum("ij,ij->i", u, u)])

    def _near(self, u: np.ndarray, prototype: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Squared distances (n,) of points at some places (n,) from projected prototypes.

        By their differences: the product's rounding would drown these.
        """
        squares = np.empty(len(place))
        size = max(1, _GATHERED // self.points.shape[1])
        for start in range(0, len(place), size):
            pairs = slice(start, start + size)
            difference = self.points[place[pairs]] - u[prototype[pairs]]
            squares[pairs] = (difference * difference).sum(1)
        squares[squares <= _ULP * _ULP * self._squares[place]] = 0.0
        return squares


def draw(weights: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """Places (count,) drawn in proportion to weights (m,), with replacement."""
    cumulative = np.cumsum(weights)
    places = np.searchsorted(cumulative, random.random_sample(count) * cumulative[-1], "right")
    return np.minimum(places, len(weights) - 1)


K_MEANS_PLUS_PLUS, RANDOM = "k-means++", "random"
_SEEDING_WORK = 1 << 29  # products of points with prototypes, over features; at least 8 points each


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

    Where there are very many points, every n-th of them is looked at.

    Args:
        init: 'k-means++' or 'random'; `first` is filled up by k-means++.
        metric, points, weights: see `k_means_plus_plus`.
        seed: of the random numbers.

    Raises:
        ValueError: `first` has more prototypes than k.
        TooFewPointsError: there are fewer than k distinct points.
    """
    random = np.random.RandomState(seed % 2**32)
    stride = -(-len(points) // max(8 * k, _SEEDING_WORK // (k * points.shape[1])))
    points, weights = points[::stride], weights[::stride]
    if first is not None and len(first) > k:
        raise ValueError(f"{len(first)} prototypes to start from, more than k = {k}")
    if init == RANDOM and first is None:
        return random_points(points, weights, k, random)
    return k_means_plus_plus(metric, points, weights, k, random, first)
