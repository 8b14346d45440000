"""What blocks add up to in one iteration: whole numbers only, so that order does not matter.

A step adds a chunk to them in place; `+` makes new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kmeans_tf.sample import Sample


@dataclass
class ClusterStats:
    """Sums over the points assigned to each of k prototypes.

    Attributes:
        rows: (k,) int64.
        weight: (k, w) int64, limbs of the weights (see `SumLayout`).
        sums: (k, w * c) int64, products of the weights' limbs with those of the points (of the row
            gradients, where sums of the points do not suffice); see `FixedPoint.times`.
        cost: the exact cost (see `kmeans_tf.exact`); 0 where sums of the points suffice, from
            which it follows.
        drawn: points by weight times cost, where the trial asks for them.
    """

    rows: np.ndarray
    weight: np.ndarray
    sums: np.ndarray
    cost: int = 0
    drawn: Sample | None = None

    @classmethod
    def zero(cls, k: int, weight_limbs: int, limbs: int) -> "ClusterStats":
        """Nothing yet, of k prototypes, whose sums have so many limbs for each of a weight's."""
        rows, weight = np.zeros(k, np.int64), np.zeros((k, weight_limbs), np.int64)
        return cls(rows, weight, np.zeros((k, weight_limbs * limbs), np.int64))

    def copy(self) -> "ClusterStats":
        """Rows, weight and sums that may be changed."""
        return ClusterStats(self.rows.copy(), self.weight.copy(), self.sums.copy())

    def include(self, other: "ClusterStats") -> None:
        """Adds the rows, weight and sums of others, in place."""
        self.rows += other.rows
        self.weight += other.weight
        self.sums += other.sums

    def cut(self, count: int) -> list["ClusterStats"]:
        """Those of some prototypes after others, `count` times; see `joined`."""
        bounds = [len(self.rows) * i // count for i in range(count + 1)]
        parts = [slice(a, b) for a, b in pairwise(bounds)]
        cuts = [ClusterStats(self.rows[p], self.weight[p], self.sums[p]) for p in parts]
        cuts[0].cost, cuts[0].drawn = self.cost, self.drawn
        return cuts

    @classmethod
    def joined(cls, cuts: Sequence["ClusterStats"]) -> "ClusterStats":
        """What was cut, put together again."""
        if len(cuts) == 1:
            return cuts[0]
        rows, weight, sums = (
            np.concatenate([getattr(cut, name) for cut in cuts])
            for name in ("rows", "weight", "sums")
        )
        return cls(rows, weight, sums, cuts[0].cost, cuts[0].drawn)

    def __add__(self, other: "ClusterStats") -> "ClusterStats":
        return ClusterStats(
            self.rows + other.rows,
            self.weight + other.weight,
            self.sums + other.sums,
            self.cost + other.cost,
            self.drawn + other.drawn if self.drawn and other.drawn else self.drawn or other.drawn,
        )


@dataclass
class IterationStats:
    """The stats of one iteration.

    Attributes:
        clusters: ClusterStats by trial index, for the trials that still run.
        squares: the exact sum of weighted squared lengths of the points; 0 once the state knows it.
    """

    clusters: dict[int, ClusterStats]
    squares: int = 0

    @classmethod
    def zero(cls) -> "IterationStats":
        return cls({})

    def __add__(self, other: "IterationStats") -> "IterationStats":
        clusters = dict(self.clusters)
        for trial, stats in other.clusters.items():
            clusters[trial] = clusters[trial] + stats if trial in clusters else stats
        return IterationStats(clusters, self.squares + other.squares)

    def cut(self, count: int) -> list["IterationStats"]:
        """`count` slices, each of some prototypes of every trial; the first has all else."""
        cuts = {trial: stats.cut(count) for trial, stats in self.clusters.items()}
        return [
            IterationStats({t: cut[i] for t, cut in cuts.items()}, 0 if i else self.squares)
            for i in range(count)
        ]

    @classmethod
    def joined(cls, slices: Sequence["IterationStats"]) -> "IterationStats":
        """What was cut, put together again."""
        clusters = {
            t: ClusterStats.joined([s.clusters[t] for s in slices]) for t in slices[0].clusters
        }
        return cls(clusters, slices[0].squares)
