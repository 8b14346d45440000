"""How sums over points are laid out in whole numbers, so that adding never rounds."""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.encoding import SINGLE, Encoding
from kmeans_tf.exact import exact_sum, to_float
from kmeans_tf.fixed_point import LIMB_BITS, FixedPoint, WeightError, limb_bits, lowest_bit
from kmeans_tf.metrics import Metric
from kmeans_tf.summary import LARGEST_WEIGHT, Summary

GRADIENT_BITS = 60  # a row gradient is kept to this many bits below its bound
WEIGHT_BITS = 20  # of a limb of the weights, where there is room
_WEIGHT_SPAN = 160  # bits: 32 orders of magnitude, and what a float64 has below the least


@dataclass(frozen=True)
class SumLayout:
    """The layout of the sums over a table's points; small, NumPy only.

    Attributes:
        encoding: from rows to the points that are added.
        largest: (d,) float64, no point has a larger magnitude in the column.
        limbs: how points are cut.
        weights: how weights are cut, one column.
        bits: the width of a limb of points.
        total_weight: the sum of the weights of the rows used, in the input's units.
    """

    encoding: Encoding
    largest: np.ndarray
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
        return cls._of(encoding, encoding.largest(summary), _Weights.of_summary(summary))

    def with_weights(self, weights: np.ndarray) -> "SumLayout":
        """The layout of the same points' sums with other weights (n,) float64 from 0.

        Raises:
            WeightError: the weights cannot be added exactly.
        """
        return self._of(self.encoding, self.largest, _Weights.of(weights))

    @classmethod
    def _of(cls, encoding: Encoding, largest: np.ndarray, weights: "_Weights") -> "SumLayout":
        cut = weights.limbs()
        bits = limb_bits(*weights.bounds(cut))
        limbs = FixedPoint.plan(largest, np.asarray(encoding.quantum), bits)
        return cls(encoding, largest, limbs, cut, bits, weights.total)

    @property
    def fits_limb(self) -> bool:
        """Whether every point is a whole number of quanta in one limb of the full width."""
        return self.bits == LIMB_BITS and len(self.limbs.column) == len(self.largest)

    def gradient_limbs(self, metric: Metric) -> FixedPoint:
        """How row gradients are cut, for a metric that sums of points do not suffice."""
        bound = np.full(len(self.encoding.centre), metric.gradient_bound)
        return FixedPoint.plan(bound, bound * 2.0**-GRADIENT_BITS, self.bits)

    def join_weight(self, counts: np.ndarray) -> np.ndarray:
        """(k, w) int64 counts of the limbs of weights -> (k,) float64, in the input's units."""
        return self.weights.join(counts)[:, 0]


@dataclass(frozen=True)
class _Weights:
    """What there is to know of n weights: the largest, the power of two that they are multiples
    of, and their sum.
    """

    rows: int
    largest: float
    finest: float
    total: float

    @classmethod
    def of_summary(cls, summary: Summary) -> "_Weights":
        total = to_float(summary.weight)
        return cls(summary.rows, summary.largest_weight, summary.finest_weight, total)

    @classmethod
    def of(cls, weights: np.ndarray) -> "_Weights":
        total = to_float(exact_sum(weights))
        return cls(len(weights), float(weights.max()), lowest_bit(weights), total)

    @property
    def limb_bits(self) -> int:
        """Half of what an int64 has beside the count of rows; the points take the other half."""
        return min(WEIGHT_BITS, (61 - self.rows.bit_length()) // 2)

    def limbs(self) -> FixedPoint:
        """How the weights are cut."""
        largest, finest = (self.largest, self.finest) if self.largest else (1.0, 1.0)
        if not (
            largest / finest <= 2.0**_WEIGHT_SPAN
            and finest > 1 / LARGEST_WEIGHT
            and largest <= LARGEST_WEIGHT
        ):
            raise WeightError(
                f"weights up to {largest:g} that differ by as little as {finest:g} are too far "
                "apart to be added exactly: round the small ones, or leave them out"
            )
        return FixedPoint.plan(np.array([largest]), np.array([finest]), self.limb_bits)

    def bounds(self, cut: FixedPoint) -> tuple[int, int]:
        """Bits of the largest limb, and the most that limbs add up to."""
        if len(cut.quantum) > 1:
            return self.limb_bits + 1, self.rows << self.limb_bits
        quantum = float(cut.quantum[0])
        heaviest = round(self.largest / quantum)
        return heaviest.bit_length(), int(self.total / quantum) + self.rows
