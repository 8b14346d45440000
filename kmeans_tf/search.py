"""Local search: prototypes that are better placed elsewhere, where Lloyd's iterations are stuck.

These never move a prototype across others, so a training ends where two prototypes share what one
would do for, and one stands for what takes two.

- A swap tries a point in the place of a prototype, which finds what lies far away.
- An exchange gives a cluster that is worth two prototypes one of a pair that is worth one. In many
  dimensions a point is a poor candidate, for it lies as far from its cluster's mean as all do. So
  what one prototype more would gain is found by parting each cluster in two, and what one less
  would cost from the means of two; both are known from one look at the points.
"""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.assign import nearest
from kmeans_tf.metrics import Metric
from kmeans_tf.seeding import PointCosts, draw

LEAST_GAIN = 1e-5  # of the cost, for which a change is worth it
_DRAWN_TOGETHER = 8  # candidates for swaps
_HOPE = 2.0  # times what parting gains by itself: then prototypes nearby move too
_TURNS = 4  # towards the direction in which a cluster is longest
_PARTINGS = 3  # iterations of 2-means in each cluster
_PAIRS = 1 << 22  # at a time


def swapped(
    metric: Metric,
    points: np.ndarray,
    weights: np.ndarray,
    prototypes: np.ndarray,
    steps: int,
    random: np.random.RandomState,
    threads: int = 1,
) -> np.ndarray:
    """Prototypes (k, d) of no higher cost, by local search (Lattanzi and Sohler 2019).

    Each step takes a candidate, drawn as k-means++ does, and lets it take the place of the
    prototype that is missed least, if that lowers the cost. Lloyd's iterations cannot do that: they
    never move a prototype across others. Some candidates are drawn together, for the costs of all
    are one matrix product.

    Args:
        metric, points, weights: see `k_means_plus_plus`.
        prototypes: (k, d) float64, k > 1.
        steps: how many candidates are drawn.
        random: the source of randomness.
        threads: how many compare the points with all prototypes.
    """
    prototypes = prototypes.copy()
    costs_to = PointCosts(metric, points)
    place, cost = costs_to.two_nearest(prototypes, threads)
    for first in range(0, steps, _DRAWN_TOGETHER):
        potential = weights * cost[0]
        if not potential.any():
            break
        drawn = points[draw(potential, min(_DRAWN_TOGETHER, steps - first), random)]
        for candidate, new in zip(drawn, costs_to(drawn), strict=True):
            _swap(metric, points, weights, prototypes, place, cost, candidate, new)
    return prototypes


def _swap(
    metric: Metric,
    points: np.ndarray,
    weights: np.ndarray,
    prototypes: np.ndarray,
    place: np.ndarray,
    cost: np.ndarray,
    candidate: np.ndarray,
    new: np.ndarray,
) -> None:
    """Puts a candidate in a prototype's place, if that lowers the cost.

    Args:
        place, cost: (2, m), which prototypes are nearest to each point, and at what cost.
        candidate, new: (d,), and (m,) its costs.
    """
    with_both = np.minimum(cost[0], new)
    missed = np.bincount(
        place[0], weights * (np.minimum(cost[1], new) - with_both), len(prototypes)
    )
    least = int(missed.argmin())
    if weights @ with_both + missed[least] >= weights @ cost[0] * (1 - LEAST_GAIN):
        return
    prototypes[least] = candidate
    lost = (place == least).any(0)
    nearest, between = ~lost & (new < cost[0]), ~lost & (new >= cost[0]) & (new < cost[1])
    place[1, nearest], cost[1, nearest] = place[0, nearest], cost[0, nearest]
    place[0, nearest], cost[0, nearest] = least, new[nearest]
    place[1, between], cost[1, between] = least, new[between]
    place[:, lost], cost[:, lost] = PointCosts(metric, points[lost]).two_nearest(prototypes)


def exchanged(
    metric: Metric, points: np.ndarray, weights: np.ndarray, prototypes: np.ndarray, most: int
) -> tuple[np.ndarray, int]:
    """Prototypes (k, d) after some exchanges from which a training may end at a lower cost.

    An exchange parts the cluster that gains most by it, and merges the two that lose least. No
    cluster takes part in two. Whether the cost is lower has to be seen.

    Args:
        metric: one of which sums suffice.
        points: (m, d) float64.
        weights: (m,) float64 > 0.
        prototypes: (k, d) float64, as a training left them.
        most: how many exchanges at most.

    Returns:
        The prototypes, and how many exchanges were made; where there was none, as they were given.
    """
    clusters = _Clusters.of(metric, points, weights, prototypes)
    gain, one, other = clusters.parted()
    loss, partner = clusters.merged()
    after, free, count = prototypes.copy(), np.ones(len(prototypes), bool), 0
    losers = iter(np.argsort(loss, kind="stable"))
    for parted in np.argsort(-gain, kind="stable"):
        if count == most or not free[parted]:
            continue
        for lost in losers:
            kept = partner[lost]
            if free[lost] and free[kept] and parted not in (lost, kept):
                break
        else:
            break
        if _HOPE * gain[parted] <= loss[lost] + LEAST_GAIN * clusters.cost:
            break
        free[[parted, lost, kept]] = False
        if kept != lost:
            both = clusters.totals[[lost, kept]]
            after[kept] = both @ clusters.means[[lost, kept]] / both.sum()
        after[parted], after[lost] = one[parted], other[parted]
        count += 1
    return after, count


@dataclass(frozen=True)
class _Clusters:
    """Points by cluster.

    Attributes:
        away: (m, d) points less their cluster's mean, one cluster after the other.
        weights: (m,).
        labels: (m,) the cluster of each.
        means: (k, d); 0 where a cluster has no points.
        totals: (k,) weights.
        cost: what all points cost.
    """

    away: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    totals: np.ndarray
    cost: float

    @classmethod
    def of(
        cls, metric: Metric, points: np.ndarray, weights: np.ndarray, prototypes: np.ndarray
    ) -> "_Clusters":
        k = len(prototypes)
        labels, costs = nearest(metric, points, prototypes)
        order = np.argsort(labels, kind="stable")
        ordered, weights, labels = points[order], weights[order], labels[order]
        totals = np.bincount(labels, weights, k)
        means = _over(_sums(ordered * weights[:, None], labels, k), totals)
        ordered -= means[labels]
        cost = float(weights @ costs[order]) / metric.scale
        return cls(ordered, weights, labels, means, totals, cost)

    def parted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What parting each cluster in two gains (k,), and the means of the two (k, d)."""
        gain, one, other = np.zeros(len(self.means)), self.means.copy(), self.means.copy()
        first = 0
        for label, count in enumerate(np.bincount(self.labels, minlength=len(gain))):
            some = slice(first, first + count)
            first += count
            if count > 1:
                gain[label], *halves = _halves(self.away[some], self.weights[some])
                one[label] += halves[0]
                other[label] += halves[1]
        return gain, one, other

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """What each cluster's prototype would be missed (k,), and which one would take its points.

        That is its own where there are none.
        """
        k = len(self.means)
        loss, partner = np.zeros(k), np.arange(k)
        present = np.flatnonzero(self.totals)
        means, totals = self.means[present], self.totals[present]
        squares = (means * means).sum(1)
        size = max(1, _PAIRS // k)
        for first in range(0, len(present), size):
            some = slice(first, first + size)
            apart = squares[some, None] + squares - 2 * means[some] @ means.T
            missed = apart * (totals[some, None] * totals / (totals[some, None] + totals))
            rows = np.arange(len(missed))
            missed[rows, first + rows] = np.inf
            best = missed.argmin(1)
            loss[present[some]], partner[present[some]] = missed[rows, best], present[best]
        return loss, partner


def _halves(points: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """What parting points (n, d) with mean 0 gains, and the means of the two parts (d,).

    By 2-means, from the sides of the direction in which they are longest.
    """
    direction = points[np.argmax(np.einsum("ij,ij->i", points, points))]
    for _ in range(_TURNS):
        direction = direction / (np.sqrt(direction @ direction) or 1.0)
        direction = (weights * (points @ direction)) @ points
    total, level = float(weights.sum()), 0.0
    for _ in range(_PARTINGS):
        part = np.where(points @ direction > level, weights, 0.0)
        here = float(part.sum())
        if not 0 < here < total:
            return 0.0, direction * 0, direction * 0
        one = part @ points / here
        other = -one * here / (total - here)
        direction, level = one - other, float(one @ one - other @ other) / 2
    return here * float(one @ one) + (total - here) * float(other @ other), one, other


def _sums(values: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Sums (k, d) of values (m, d) by label, where labels ascend."""
    sums = np.zeros((k, values.shape[1]))
    present, first = np.unique(labels, return_index=True)
    sums[present] = np.add.reduceat(values, first)
    return sums


def _over(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Values (k, d) over totals (k,); 0 over 0."""
    return np.divide(values, totals[:, None], out=np.zeros_like(values), where=totals[:, None] != 0)
