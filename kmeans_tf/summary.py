"""What one pass over the rows finds out, whatever order they come in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from itertools import chain
from operator import add

import numpy as np

from kmeans_tf.exact import exact_sum, exact_sums, two_product
from kmeans_tf.fixed_point import lowest_bit
from kmeans_tf.metrics import Metric, good_rows
from kmeans_tf.narrow import side_by_side
from kmeans_tf.sample import Sample

LARGEST_FEATURE = np.float64(1e120)  # a Python number would be compared as float32, as infinity
SMALLEST_RANGE = 1e-120
LARGEST_WEIGHT = 2.0**200
_ELEMENTS = 1 << 21  # whose moments are found at once


@dataclass(frozen=True)
class Moments:
    """Exact sums by column: of weights, weighted values and weighted squares.

    Attributes:
        weight, first, second: (d,) tuples of exact sums (see `kmeans_tf.exact`).
    """

    weight: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]

    @classmethod
    def of(cls, rows: np.ndarray, weights: np.ndarray) -> "Moments":
        """Sums of (n, d) rows, float32 or float64, with (n,) float64 weights.

        A feature that is not finite is left out of its column. So is what is beyond the limits
        above, whose squares overflow: the rows cannot be clustered then.
        """
        width = max(1, _ELEMENTS // max(1, len(rows)))
        columns = (slice(start, start + width) for start in range(0, rows.shape[1], width))
        parts = [vars(cls._of(rows[:, some], weights)).values() for some in columns]
        return cls(*(tuple(chain(*sums)) for sums in zip(*parts, strict=True)))

    @classmethod
    def _of(cls, rows: np.ndarray, weights: np.ndarray) -> "Moments":
        """Of rows of which a dozen copies fit in memory."""
        n, d = rows.shape
        used = (np.abs(rows) <= LARGEST_FEATURE) & (weights <= LARGEST_WEIGHT)[:, None]
        values = np.where(used, rows, np.float64(0.0))
        weight = np.where(used, weights[:, None], 0.0)
        column = np.tile(np.arange(d), n)

        def by_column(*parts: np.ndarray) -> tuple[int, ...]:
            totals = [exact_sums(part.ravel(), column, d) for part in parts if part.any()]
            return tuple(map(sum, zip([0] * d, *totals, strict=True)))

        first = two_product(weight, values)
        squares = two_product(values, values)
        second = [part for square in squares for part in two_product(weight, square)]
        return cls(by_column(weight), by_column(*first), by_column(*second))

    def __add__(self, other: "Moments") -> "Moments":
        mine, others = ((m.weight, m.first, m.second) for m in (self, other))
        return Moments(*(tuple(map(add, a, b)) for a, b in zip(mine, others, strict=True)))

    def mean(self) -> np.ndarray:
        """(d,) float64; 0 for a column without weight."""
        return np.array([f / w if w else 0.0 for f, w in zip(self.first, self.weight, strict=True)])

    def standard_deviation(self) -> np.ndarray:
        """(d,) float64, of the population; 1 for a constant column, as scikit-learn has it."""
        sums = zip(self.weight, self.first, self.second, strict=True)
        variance = [Fraction(s, w) - Fraction(f, w) ** 2 if w else 0 for w, f, s in sums]
        deviation = np.sqrt([float(v) for v in variance])
        return np.where(deviation > 0, deviation, 1.0)


@dataclass(frozen=True)
class Summary:
    """Counts, ranges and the sample of the rows that were read.

    Attributes:
        rows: rows read, bad ones included.
        bad_rows: rows with a bad feature.
        bad: how many bad rows by (file, column, reason).
        minimum, maximum: (d,) float64 over the finite features of the rows used.
        weight: the exact sum of the weights of the rows used.
        largest_weight: the largest weight of a row.
        finest_weight: the largest power of two of which all weights are multiples; inf for none.
        sample: of the rows used; what is not finite in them is NaN.
        moments: by column, where they were asked for.
    """

    rows: int
    bad_rows: int
    minimum: np.ndarray
    maximum: np.ndarray
    weight: int
    largest_weight: float
    finest_weight: float
    sample: Sample
    moments: Moments | None = None
    bad: Counter = field(default_factory=Counter)

    @classmethod
    def zero(cls, features: int, capacity: int) -> "Summary":
        edge = np.full(features, np.inf)
        return cls(0, 0, edge, -edge, 0, 0.0, np.inf, Sample.zero(features, capacity))

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        weights: np.ndarray,
        good: np.ndarray,
        *,
        seed: int,
        capacity: int,
        moments: bool = False,
        used: np.ndarray | None = None,
        bad: Counter | None = None,
        highest: int | None = None,
    ) -> "Summary":
        """Summarises (n, d) rows, float32 or float64, with (n,) float64 weights.

        Args:
            good: (n,) bool, rows without a bad feature.
            moments: whether to add up the columns' moments.
            used: (n,) bool, rows that count although a feature may not be finite; by default the
                good ones.
            highest: see `Sample.of`.
            bad: counts by (file, column, reason) of the rows that are not good.
        """
        used = good if used is None else used
        kept, kept_weights = (rows, weights) if used.all() else (rows[used], weights[used])
        holed = kept if good.all() else np.where(np.isfinite(kept), kept, np.nan)
        return cls(
            rows=len(rows),
            bad_rows=int(len(rows) - good.sum()),
            minimum=_by_column(np.fmin, holed, np.inf),
            maximum=_by_column(np.fmax, holed, -np.inf),
            weight=exact_sum(kept_weights),
            largest_weight=float(kept_weights.max(initial=0.0)),
            finest_weight=lowest_bit(kept_weights),
            sample=Sample.of(holed, kept_weights, seed, capacity, highest),
            moments=Moments.of(kept, kept_weights) if moments else None,
            bad=bad or Counter(),
        )

    def out_of_range(self) -> tuple[int, str] | None:
        """The first feature of which squares overflow or vanish, and what is wrong with it."""
        for j, (low, high) in enumerate(zip(self.minimum, self.maximum, strict=True)):
            large = max(abs(low), abs(high)) > LARGEST_FEATURE
            if large or 0 < np.subtract(high, low) < SMALLEST_RANGE:
                return j, (
                    f"holds values from {low:g} to {high:g}, expected magnitudes below "
                    f"{LARGEST_FEATURE:g} and a range above {SMALLEST_RANGE:g}: rescale it"
                )
        return None

    @property
    def largest_cost(self) -> float:
        """What no row costs more than, times its weight, as a squared distance from the others."""
        reach = self.maximum - self.minimum
        with np.errstate(over="ignore"):
            return self.largest_weight * float(reach @ reach)

    def completed(self, metric: Metric) -> "Summary":
        """With a sample of float64 rows, and in them the columns' means where there was NaN.

        Rows that are bad still go.
        """
        rows = self.sample.rows.astype(np.float64, copy=False)
        if self.moments is None or np.isfinite(rows).all():
            return replace(self, sample=replace(self.sample, rows=rows))
        rows = impute(rows, self.moments.mean())
        return replace(self, sample=self.sample.with_rows(rows, good_rows(metric, rows)))

    def __add__(self, other: "Summary") -> "Summary":
        return Summary.joined([self, other])

    @classmethod
    def joined(cls, parts: Sequence["Summary"]) -> "Summary":
        """The sum of some, one at least; joining their samples together is the cheaper way."""
        moments = [part.moments for part in parts if part.moments]
        bad: Counter = Counter()
        for part in parts:
            bad.update(part.bad)
        return cls(
            rows=sum(part.rows for part in parts),
            bad_rows=sum(part.bad_rows for part in parts),
            minimum=np.min([part.minimum for part in parts], 0),
            maximum=np.max([part.maximum for part in parts], 0),
            weight=sum(part.weight for part in parts),
            largest_weight=max(part.largest_weight for part in parts),
            finest_weight=min(part.finest_weight for part in parts),
            sample=Sample.joined([part.sample for part in parts]),
            moments=reduce(add, moments) if moments else None,
            bad=bad,
        )


def _by_column(function: np.ufunc, rows: np.ndarray, initial: float) -> np.ndarray:
    """(d,) float64, what a function of two numbers makes of each column of rows (n, d)."""
    wide, rest = side_by_side(rows)
    found = function.reduce(wide, 0, initial=initial).reshape(-1, rows.shape[1])
    return function.reduce(np.concatenate([found, rest]), 0).astype(np.float64)


def beside(others: list[Summary], more: Summary) -> list[Summary]:
    """Summaries and one more; joined where there is enough to join, which copies the sample.

    The first of them has most: its sample's `highest` may bound those of others to come.
    """
    together = [*others, more]
    waiting = sum(len(each.sample.ranks) for each in together[1:])
    return [Summary.joined(together)] if 2 * waiting > more.sample.capacity else together


def impute(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Rows (n, d) float64 with the means (d,) for what is not finite."""
    return np.where(np.isfinite(rows), rows, means)
