"""Figures that tell how well prototypes part the rows: what trials are compared by.

All follow from two distances of each row: a to its own prototype, b to the nearest other.

- The simplified silhouette (Hruschka, de Castro and Campello 2004): the mean of (b - a) / b. It is
  0 for a single row on its prototype, which weighs 1 or less; rows that repeat have theirs.
- The index of Davies and Bouldin (1979): with S_j the mean of a in cluster j, the mean over j of
  the largest (S_i + S_j) / |w_i - w_j|.
- The index of Calinski and Harabasz (1974): the variance of the prototypes about their mean,
  weighted, by that of the rows about theirs, (B / (k - 1)) / (W / (n - k)); n is the rows' weight.

Where prototypes are the means of their clusters, scikit-learn's scores of the last two names are
the same. Clusters without rows are left out.
"""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.assign import assign, assigned_costs, runners_up
from kmeans_tf.encoding import Encoding
from kmeans_tf.exact import exact_sums, to_float, two_product
from kmeans_tf.metrics import Metric
from kmeans_tf.points import Points
from kmeans_tf.projected import Projected
from kmeans_tf.state import DIVERGED, Trial

COST, SILHOUETTE = "cost", "silhouette"
DAVIES_BOULDIN, CALINSKI_HARABASZ = "davies_bouldin", "calinski_harabasz"
FIGURES = COST, SILHOUETTE, DAVIES_BOULDIN, CALINSKI_HARABASZ
SMALLEST_IS_BEST = (COST, DAVIES_BOULDIN)


@dataclass(frozen=True)
class FigureSums:
    """What the rows add up to by prototype, as exact sums (see `kmeans_tf.exact`), (k,) each.

    Attributes:
        weight: of the rows.
        cost: weighted, in the points' units.
        distance: weighted, from the row's own prototype.
        silhouette: weighted simplified silhouettes.
    """

    weight: tuple[int, ...]
    cost: tuple[int, ...]
    distance: tuple[int, ...]
    silhouette: tuple[int, ...]

    @classmethod
    def of(
        cls,
        metric: Metric,
        points: Points,
        prototypes: np.ndarray,
        projected: Projected | None = None,
    ) -> "FigureSums":
        """Those of a chunk of points and prototypes (k, d) float64, in the points' units.

        Args:
            projected: see `assign`.
        """
        projected = projected or Projected(metric.project(prototypes))
        k, targets, rows = len(prototypes), projected.values, points.take(slice(None))
        labels = assign(metric, points, prototypes, projected)
        costs = assigned_costs(metric, rows, targets, labels)
        own = metric.distance(costs)
        silhouettes = np.zeros(points.rows)
        if k > 1:
            others = runners_up(metric, points, prototypes, labels, projected)
            other = metric.distance(assigned_costs(metric, rows, targets, others))
            np.divide(other - own, other, out=silhouettes, where=other > 0)
        weights = np.ones(points.rows) if points.weights is None else points.weights

        def summed(values: np.ndarray) -> tuple[int, ...]:
            parts = [exact_sums(part, labels, k) for part in two_product(weights, values)]
            return tuple(a + b for a, b in zip(*parts, strict=True))

        return cls(
            tuple(exact_sums(weights, labels, k)), summed(costs), summed(own), summed(silhouettes)
        )

    def __add__(self, other: "FigureSums") -> "FigureSums":
        pairs = zip(self._sums, other._sums, strict=True)
        return FigureSums(*(tuple(map(sum, zip(a, b, strict=True))) for a, b in pairs))

    @property
    def _sums(self) -> tuple[tuple[int, ...], ...]:
        return self.weight, self.cost, self.distance, self.silhouette


@dataclass(frozen=True)
class Figures:
    """How well prototypes part the rows; None for what is not defined.

    Attributes:
        cost: in the (scaled) input's units.
        silhouette: the simplified silhouette, from 0 to 1.
        davies_bouldin: from 0; smaller is better.
        calinski_harabasz: from 0; of squared Euclidean distances alone.
    """

    cost: float
    silhouette: float | None = None
    davies_bouldin: float | None = None
    calinski_harabasz: float | None = None

    @classmethod
    def of(
        cls, metric: Metric, encoding: Encoding, prototypes: np.ndarray, sums: FigureSums
    ) -> "Figures":
        """The figures of prototypes (k, d) float64, in the encoding's units, by all rows' sums."""
        total = to_float(sum(sums.cost))
        cost = total / encoding.unit / encoding.unit if metric.sums_suffice else total
        held = np.flatnonzero([weight > 0 for weight in sums.weight])
        if len(held) < 2:
            return cls(cost)
        targets = metric.project(prototypes)[held]
        weights = np.array([to_float(sums.weight[j]) for j in held])
        spreads = np.array([sums.distance[j] / sums.weight[j] for j in held])
        one = np.array([not sums.distance[j] and to_float(sums.weight[j]) <= 1 for j in held])
        silhouette = sum(sums.silhouette[j] for j in held[~one])
        return cls(
            cost,
            silhouette / sum(sums.weight),
            _davies_bouldin(metric, targets, spreads),
            _calinski_harabasz(targets, weights, total) if metric.rescale else None,
        )

    def better(self, other: "Figures", by: str) -> bool:
        """Whether a figure of this name is better; what is not defined is worst."""
        mine, theirs = getattr(self, by), getattr(other, by)
        if mine is None or theirs is None:
            return mine is not None
        return mine < theirs if by in SMALLEST_IS_BEST else mine > theirs


@dataclass(frozen=True)
class Trials:
    """What was tried, and how well it went.

    Attributes:
        trials: those of the smallest k first.
        figures: of each trial; none where there is nothing to choose from.
        choose: the figure that the best is chosen by.
        restarts: how many there are of each k.
    """

    trials: tuple[Trial, ...]
    figures: tuple[Figures, ...] = ()
    choose: str = COST
    restarts: int = 1

    @property
    def chosen(self) -> int:
        """The index of the best that has not diverged; of equally good ones, of the first."""
        usable = [i for i, trial in enumerate(self.trials) if trial.status != DIVERGED]
        best = usable[0] if usable else 0
        for i in usable[1:]:
            if self.figures[i].better(self.figures[best], self.choose):
                best = i
        return best

    @property
    def best(self) -> Trial:
        return self.trials[self.chosen]


def _davies_bouldin(metric: Metric, targets: np.ndarray, spreads: np.ndarray) -> float:
    worst = np.zeros(len(targets))
    for j in range(len(targets)):
        labels = np.full(len(targets), j)
        apart = metric.distance(assigned_costs(metric, targets, targets, labels))
        both = spreads + spreads[j]
        ratios = np.where(both > 0, np.inf, 0.0)
        np.divide(both, apart, out=ratios, where=apart > 0)
        worst[j] = np.delete(ratios, j).max()
    return float(worst.mean())


def _calinski_harabasz(targets: np.ndarray, weights: np.ndarray, within: float) -> float | None:
    k, total = len(targets), weights.sum()
    mean = weights @ targets / total
    between = float(weights @ ((targets - mean) ** 2).sum(1))
    if total <= k or not within:
        return None
    return (between / (k - 1)) / (within / (total - k))
