"""How sums over points are laid out in whole numbers, so that adding never rounds."""

import math
from dataclasses import dataclass

import numpy as np

from kmeans_tf.encoding import SINGLE, Encoding
from kmeans_tf.exact import to_float
from kmeans_tf.fixed_point import FixedPoint, ceil_power_of_two, limb_bits
from kmeans_tf.metrics import Metric
from kmeans_tf.summary import Summary

GRADIENT_BITS = 60  # a row gradient is kept to this many bits below its bound
WEIGHT_BITS = 30  # a weight is kept to at least this many bits below the largest one ...
TOTAL_WEIGHT_BITS = 55  # ... unless their sum, in quanta, would need more than these


@dataclass(frozen=True)
class SumLayout:
    """The layout of the sums over a table's points; small, NumPy only.

    Attributes:
        encoding: from rows to the points that are added.
        limbs: how points are cut.
        bits: the width of a limb.
        weight_quantum: the power of two of which weights are multiples.
        total_weight: the sum of the weights of the rows used, in the input's units.
    """

    encoding: Encoding
    limbs: FixedPoint
    bits: int
    weight_quantum: float
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
            WeightError: the weights are too large to be added exactly.
        """
        encoding = Encoding.fit(
            summary, metric, standard=standard, impute=impute, precision=precision
        )
        weight_quantum = _weight_quantum(summary)
        total_weight = to_float(summary.weight)
        heaviest = int(np.rint(summary.largest_weight / weight_quantum))
        # Rounding a weight adds at most half a quantum to each row.
        ceiling = int(total_weight / weight_quantum) + summary.rows
        bits = limb_bits(heaviest.bit_length(), ceiling)
        limbs = FixedPoint.plan(encoding.largest(summary), np.asarray(encoding.quantum), bits)
        return cls(encoding, limbs, bits, weight_quantum, total_weight)

    def encode_weights(self, weights: np.ndarray) -> np.ndarray:
        """(n,) float64 -> (n,) float64 whole numbers of weight quanta."""
        return np.rint(weights / self.weight_quantum)

    def gradient_limbs(self, metric: Metric) -> FixedPoint:
        """How row gradients are cut, for a metric that sums of points do not suffice."""
        bound = np.full(len(self.encoding.centre), metric.gradient_bound)
        return FixedPoint.plan(bound, bound * 2.0**-GRADIENT_BITS, self.bits)


def _weight_quantum(summary: Summary) -> float:
    if summary.largest_weight == 0:
        return 1.0
    top = ceil_power_of_two(summary.largest_weight)
    total_bits = math.ceil(math.log2(to_float(summary.weight) / top))
    quantum = top * 2.0 ** -min(WEIGHT_BITS, TOTAL_WEIGHT_BITS - total_bits)
    return max(1.0, quantum) if summary.whole_weights else quantum
