"""From rows in the input's units to points that a step can add exactly, and back.

    point = (row - centre) * factor, rounded to float32 and to a multiple of the column's quantum

Where the structure of the rows is finer than float32 about one centre can hold, a point stays the
float64 number, and the centre is 0 where float64 about it is coarser than about 0: precision
'double'.

`centre` keeps the points near zero, where float32 is fine and the rounding bound of a label is
tight; `factor` holds the standard scaling and one power of two so that |point|**2 cannot
overflow. Points are float32, or float64, *and* whole multiples of a power of two, which is what
makes sums over them exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmeans_tf.exact import two_sum
from kmeans_tf.fixed_point import ceil_power_of_two
from kmeans_tf.metrics import Metric, unit_rows
from kmeans_tf.summary import Summary, impute

SINGLE, DOUBLE = "single", "double"
RANGE_BITS = {
    SINGLE: 35,
    DOUBLE: 70,
}  # a quantum lies this far below the largest |point| of its column ...
SPREAD_BITS = {SINGLE: 30, DOUBLE: 50}  # ... and below its spread, so that no outlier coarsens it
ROUNDOFF = {SINGLE: 2.0**-23, DOUBLE: 2.0**-48}  # of a point, beside half a quantum; generous
LEAST_QUANTUM = {SINGLE: 2.0**-149, DOUBLE: 2.0**-900}  # what float32 holds; float64, and sums
CENTRING = 2.0**-44  # of the spread: what being about the centre may cost a point of float64
_TILE = 1 << 16  # numbers that are encoded at once, so that the steps of it stay in cache


@dataclass(frozen=True)
class Encoding:
    """The mapping between rows and points; small, NumPy only.

    Attributes:
        centre, factor: (d,) float64.
        unit: the power of two in `factor`: a distance between points is `unit` times the distance
            between (scaled) rows.
        normalize: whether points are divided by their length (cosine).
        quantum: (d,) float64 powers of two; 0: points are not rounded, for nobody adds them.
        precision: 'single' or 'double': whether a point is a float32 number or a float64 one.
        means: (d,) float64 in the input's units, for bad features; None where they are not
            imputed.
    """

    centre: np.ndarray
    factor: np.ndarray
    unit: float
    normalize: bool
    quantum: np.ndarray | float
    means: np.ndarray | None = None
    precision: str = SINGLE

    @classmethod
    def around(cls, prototypes: np.ndarray, factors: np.ndarray) -> "Encoding":
        """An encoding that is good for comparing rows with (k, d) prototypes, and for no sums."""
        centre = prototypes.min(0) / 2 + prototypes.max(0) / 2
        reach = np.abs((prototypes - centre) * factors).max()
        unit = 1.0 / ceil_power_of_two(float(reach)) if 0 < reach < np.inf else 1.0
        return cls(centre, factors * unit, unit, normalize=False, quantum=0.0)

    @classmethod
    def fit(
        cls,
        summary: Summary,
        metric: Metric,
        *,
        standard: bool,
        impute: bool,
        precision: str = SINGLE,
    ) -> "Encoding":
        """Chooses the encoding from what the scan found.

        Raises:
            ValueError: scaling or imputing is asked for, and the scan took no moments.
        """
        if (standard or impute) and summary.moments is None:
            raise ValueError("scaling and imputing need the moments of the columns")
        summary = summary.completed(metric)
        means = summary.moments.mean() if impute and summary.moments else None
        centre, factor, spread = _scaling(summary, metric, standard)
        if precision == DOUBLE:
            spread = np.minimum(spread, finest_spread(summary.sample.rows) * factor)
            if metric.translation_invariant:
                centre = _where_exact(centre, summary.sample.rows, spread / factor)
        largest = _reach(summary, centre) * factor
        if metric.normalize:
            largest, spread = np.ones_like(largest), np.ones_like(largest)
        unit = 1.0
        if metric.rescale and largest.max() > 0:
            unit = 1.0 / ceil_power_of_two(float(largest.max()))
        quantum = np.array(
            [_quantum(a * unit, s * unit, precision) for a, s in zip(largest, spread, strict=True)]
        )
        return cls(centre, factor * unit, unit, metric.normalize, quantum, means, precision)

    def largest(self, summary: Summary) -> np.ndarray:
        """(d,) float64: no point has a larger magnitude in the column."""
        if self.normalize:
            return np.ones_like(self.factor)
        return _reach(summary, self.centre) * self.factor

    def impute(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 with the means for what is not finite, where there are means."""
        return rows if self.means is None else impute(rows, self.means)

    @property
    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """offset and scale, (d,) float64: what the encoding does for the sake of the clustering."""
        scale = self.factor / self.unit
        return (self.centre if (scale != 1).any() else np.zeros_like(scale)), scale

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 in the input's units -> points (n, d), float32 if single."""
        coarse, fine = self.encode_limbs(rows)
        return coarse if fine is None else coarse.astype(np.float64) + fine

    def encode_limbs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows (n, d) float64 -> numbers (n, d), float32 and float64, whose sums the points are.

        The second is None where precision is single.
        """
        coarse = np.empty(rows.shape, np.float32)
        fine = np.empty(rows.shape) if self.precision == DOUBLE else None
        for tile in tiles(*rows.shape):
            self.encode_tile(rows[tile], coarse[tile], None if fine is None else fine[tile])
        return coarse, fine

    def encode_tile(self, rows: np.ndarray, coarse: np.ndarray, fine: np.ndarray | None) -> None:
        """Encodes rows (n, d), float32 or float64, into what `encode_limbs` gives of them."""
        points = self.exactly(rows)
        if np.any(self.quantum):
            if fine is None:
                points[:] = points.astype(np.float32)
            points *= 1.0 / np.asarray(self.quantum)  # as exact as to divide by powers of two
            np.rint(points, out=points)
            points *= self.quantum
        coarse[:] = points
        if fine is not None:
            np.subtract(points, coarse, out=fine)

    def moved(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        """How far points (n, d) are from where their rows (n, d) are exactly, (n, d) float64."""
        if self.normalize:
            return points - self.exactly(rows)
        difference, error = two_sum(rows, -self.centre)
        return (points - difference * self.factor) - error * self.factor

    def rounding(self, reach: float) -> float:
        """At least how far a point of a length up to `reach` is from where its row is exactly."""
        half = np.broadcast_to(self.quantum, self.factor.shape) / 2
        return float(np.linalg.norm(half)) + ROUNDOFF[self.precision] * reach

    def exactly(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d), float32 or float64 -> their points (n, d) float64, as float64 has them."""
        points = rows - self.centre
        points *= self.factor
        return unit_rows(points) if self.normalize else points

    def decode(self, prototypes: np.ndarray) -> np.ndarray:
        """Prototypes (k, d) float64 -> the input's units."""
        return prototypes / self.factor + self.centre

    def encode_prototypes(self, rows: np.ndarray) -> np.ndarray:
        """Prototypes (k, d) float64 in the input's units -> points, not rounded."""
        return (rows - self.centre) * self.factor


def tiles(rows: int, features: int) -> Iterator[slice]:
    """Which of so many rows are encoded at once."""
    size = max(1, _TILE // features)
    return (slice(start, start + size) for start in range(0, rows, size))


def _scaling(summary: Summary, metric: Metric, standard: bool):
    """centre, factor and the points' spread, each (d,), before the common power of two."""
    if standard and summary.moments:
        deviation = summary.moments.standard_deviation()
        return summary.moments.mean(), 1.0 / deviation, np.ones_like(deviation)
    rows = summary.sample.rows
    low, median, high = np.percentile(rows, [25, 50, 75], axis=0)
    spread = high - low
    for j in np.flatnonzero(spread == 0):
        away = np.abs(rows[:, j] - median[j])
        spread[j] = np.median(away[away > 0]) if away.any() else 0.0
    if not metric.translation_invariant:
        return np.zeros_like(median), np.ones_like(median), spread
    return _snap(median, spread), np.ones_like(median), spread


def _snap(centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Rounds the centre to whole steps of two spreads: subtracting it then costs few bits."""
    step = np.array([2 * ceil_power_of_two(s) if s > 0 else 0.0 for s in spread])
    snapped = np.rint(centre / np.where(step > 0, step, 1.0)) * step + 0.0  # no negative zero
    return np.where(step > 0, snapped, centre)


def finest_spread(rows: np.ndarray, parts: int = 4) -> np.ndarray:
    """(d,) the least range of a part of a column's values (n, d) that are not all one."""
    ranges = np.diff(np.percentile(rows, np.linspace(0, 100, parts + 1), axis=0), axis=0)
    return np.where(ranges > 0, ranges, np.inf).min(0)


def _where_exact(centre: np.ndarray, rows: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The centre (d,), 0 where rows (n, d) nearer to 0 would lose too much of a spread about it.

    A mean of such rows would too, where they themselves lose nothing, as whole numbers.
    """
    away = np.abs(rows - centre)
    error = 2.0**-53 * np.where(away > 2 * np.abs(rows), away, 0.0).max(0)
    return np.where(error > CENTRING * spread, 0.0, centre)


def _quantum(largest: float, spread: float, precision: str) -> float:
    if largest == 0:
        return 1.0
    quantum = ceil_power_of_two(largest) * 2.0 ** -RANGE_BITS[precision]
    if spread > 0:
        quantum = min(quantum, ceil_power_of_two(spread) * 2.0 ** -SPREAD_BITS[precision])
    return max(quantum, LEAST_QUANTUM[precision])


def _reach(summary: Summary, centre: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(summary.minimum - centre), np.abs(summary.maximum - centre))
