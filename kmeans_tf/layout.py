"""How sums over points are laid out in whole numbers, so that adding never rounds."""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.encoding import SINGLE, Encoding
from kmeans_tf.exact import to_float
from kmeans_tf.fixed_point import FixedPoint, WeightError, limb_bits
from kmeans_tf.metrics import Metric
from kmeans_tf.summary import Summary

GRADIENT_BITS = 60  # a row gradient is kept to this many bits below its bound
WEIGHT_BITS = 20  # of a limb of the weights, where there is room
_WEIGHT_SPAN = 160  # bits: 32 orders of magnitude, and what a float64 has below the least
_WEIGHT_RANGE = 2.0**200  # products with points and their squares stay far from float64's ends


@dataclass(frozen=True)
class SumLayout:
    """The layout of the sums over a table's points; small, NumPy only.

    Attributes:
        encoding: from rows to the points that are added.
        limbs: how points are cut.
        weights: how weights are cut, one column.
        bits: the width of a limb of points.
        total_weight: the sum of the weights of the rows used, in the input's units.
    """

    encoding: Encoding
    limbs: FixedPoint
    weights: FixedPoint
    bits: int
    total_weight: float

    @classmethod
    def fit(
        cls,
        summary: Summary,
        metric: Metric,
        *,
        standard: bool,
        impute: bool,
        precision: str = SINGLE,
    ) -> "SumLayout":
        """Chooses encoding and layout from what the scan found.

        Raises:
            WeightError: the weights cannot be added exactly.
        """
        encoding = Encoding.fit(
            summary, metric, standard=standard, impute=impute, precision=precision
        )
        total_weight = to_float(summary.weight)
        weights = _weight_limbs(summary)
        if len(weights.quantum) == 1:
            quantum = float(weights.quantum[0])
            heaviest = round(summary.largest_weight / quantum)
            total = int(total_weight / quantum) + summary.rows
        else:
            heaviest = 1 << _weight_bits(summary.rows)
            total = summary.rows * heaviest
        bits = limb_bits(heaviest.bit_length(), total)
        limbs = FixedPoint.plan(encoding.largest(summary), np.asarray(encoding.quantum), bits)
        return cls(encoding, limbs, weights, bits, total_weight)

    def gradient_limbs(self, metric: Metric) -> FixedPoint:
        """How row gradients are cut, for a metric that sums of points do not suffice."""
        bound = np.full(len(self.encoding.centre), metric.gradient_bound)
        return FixedPoint.plan(bound, bound * 2.0**-GRADIENT_BITS, self.bits)

    def join_weight(self, counts: np.ndarray) -> np.ndarray:
        """(k, w) int64 counts of the limbs of weights -> (k,) float64, in the input's units."""
        return self.weights.join(counts)[:, 0]


def _weight_bits(rows: int) -> int:
    """Half of what an int64 has beside the count of rows; the points take the other half."""
    return min(WEIGHT_BITS, (61 - rows.bit_length()) // 2)


def _weight_limbs(summary: Summary) -> FixedPoint:
    largest, finest = summary.largest_weight, summary.finest_weight
    if largest == 0:
        largest = finest = 1.0
    if not (
        largest / finest <= 2.0**_WEIGHT_SPAN
        and 1 / _WEIGHT_RANGE < finest
        and largest < _WEIGHT_RANGE
    ):
        raise WeightError(
            f"weights up to {largest:g} that differ by as little as {finest:g} are too far apart "
            "to be added exactly: round the small ones, or leave them out"
        )
    return FixedPoint.plan(np.array([largest]), np.array([finest]), _weight_bits(summary.rows))
