"""The definition of a label and of its distance, as float64 has them.

Squared distances are accumulated feature by feature without fused multiply-add. Where squares
would overflow or vanish, differences are multiplied by a power of two first. Under cosine rows and
targets are compared by their directions u, and the cost is |u - v|**2 / 2. A direction that is
rounded to float64 is off by 1e-16, which is much beside the difference of two that are close: there
what rounding took off is added again.
"""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.metrics import Metric, is_safe, safe_power, unit_parts, unit_rows

BAD_LABEL = -1
LARGEST_LABEL = 2**31 - 1
CLOSE = 2.0**-16  # a squared distance of directions, below which their rounding shows

_TILE_ROWS, _TILE_COLUMNS = 1 << 12, 16  # of differences at once, which stay in cache

Places = slice | np.ndarray


@dataclass(frozen=True)
class Parts:
    """Vectors as sums of two.

    Attributes:
        values: (n, d) float64.
        rests: (n, d) float64, what is to be added; None where nothing is.
    """

    values: np.ndarray
    rests: np.ndarray | None = None

    def take(self, places: Places) -> "Parts":
        """Some of the vectors."""
        return Parts(self.values[places], None if self.rests is None else self.rests[places])


@dataclass(frozen=True)
class Compared:
    """Rows, or targets, as they are compared with each other.

    Attributes:
        values: (n, d) float64; directions under cosine.
        undivided: (n, d) float64, what has these directions; None under other metrics.
    """

    values: np.ndarray
    undivided: np.ndarray | None = None

    @classmethod
    def rows(cls, metric: Metric, rows: np.ndarray) -> "Compared":
        """(n, d) finite float64 rows; under cosine one of zeros stays one."""
        return cls(unit_rows(rows), rows) if metric.normalize else cls(rows)

    @classmethod
    def targets(cls, metric: Metric, prototypes: np.ndarray) -> "Compared":
        """(k, d) float64 prototypes."""
        return cls(metric.project(prototypes), prototypes if metric.normalize else None)

    def __len__(self) -> int:
        return len(self.values)

    def parts(self, places: Places = slice(None)) -> Parts:
        """Some of them, and what rounding took off."""
        if self.undivided is None:
            return Parts(self.values[places])
        return Parts(*unit_parts(self.undivided[places]))


def labels_by_definition(
    rows: Parts,
    targets: Parts,
    factors: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """Labels (n,) int32 of n rows: the indices of their targets, ties to the lowest.

    Args:
        factors: (d,) float64, of the differences; None stands for ones.
        excluded: (n,) the index of a target that each may not have; None: it may have all.
    """

    def squares_of(places: Places, power: np.ndarray | None = None) -> np.ndarray:
        squares = squared_distances(rows.take(places), targets, factors, power)
        if excluded is not None:
            squares[np.arange(len(squares)), excluded[places]] = np.inf
        return squares

    squares = squares_of(slice(None))
    labels, best = squares.argmin(1), squares.min(1)
    far = np.flatnonzero(~is_safe(best))
    if len(far):
        labels[far] = squares_of(far, safe_power(best[far])).argmin(1)
    return labels.astype(np.int32)


def costs_by_definition(
    metric: Metric, rows: Compared, targets: Compared, labels: np.ndarray, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Costs and distances (n,) float64 of n rows from the targets of their labels (n,).

    A cost may be 0 or infinite where the distance, its root, is neither.

    Args:
        metric: one of the linear form.
        factors: (d,) float64, of the differences.
    """

    def squares(places: Places, x: Parts, w: Parts, power: np.ndarray | None = None) -> np.ndarray:
        return squares_by_label(x, w, labels[places], factors, power)

    everywhere = slice(None)
    found = squares(everywhere, Parts(rows.values), Parts(targets.values))
    close = np.flatnonzero(found < CLOSE)
    if metric.normalize and len(close):
        found[close] = squares(close, rows.parts(close), targets.parts())
    costs = metric.scale * found
    distances = metric.distance(costs)
    far = np.flatnonzero(~is_safe(found))
    if metric.rescale and len(far):
        power = safe_power(found[far])
        nearer = squares(far, rows.parts(far), targets.parts(), power)
        distances[far] = np.sqrt(nearer) / power
    return costs, distances


def squares_by_label(
    rows: Parts,
    targets: Parts,
    labels: np.ndarray,
    factors: np.ndarray | None = None,
    power: np.ndarray | None = None,
) -> np.ndarray:
    """Squared distances (n,) of n rows from the targets of their labels (n,).

    They are accumulated feature by feature.

    Args:
        factors: (d,) float64, of the differences; None stands for ones.
        power: (n,) float64, of the differences too, by row.
    """
    squares = np.zeros(len(labels))
    if len(labels) < len(targets.values):
        targets, labels = targets.take(labels), np.arange(len(labels))
    columns = np.ascontiguousarray(targets.values.T)
    for start in range(0, len(labels), _TILE_ROWS):
        tile = slice(start, start + _TILE_ROWS)
        some, chosen, total = rows.take(tile), labels[tile], squares[tile]
        for first in range(0, len(columns), _TILE_COLUMNS):
            part = slice(first, first + _TILE_COLUMNS)
            differences = some.values.T[part] - columns[part].take(chosen, 1)
            if factors is not None:
                differences *= factors[part, None]
            if some.rests is not None and targets.rests is not None:
                differences += (some.rests[:, part] - targets.rests[chosen, part]).T
            if power is not None:
                differences *= power[tile]
            differences *= differences
            for more in differences:
                total += more
    return squares


def squared_distances(
    rows: Parts,
    targets: Parts,
    factors: np.ndarray | None = None,
    power: np.ndarray | None = None,
) -> np.ndarray:
    """Squared distances (n, k) of n rows from k targets, accumulated feature by feature.

    Args:
        factors, power: see `squares_by_label`.
    """
    total: np.ndarray | float = 0.0
    for j in range(targets.values.shape[1]):
        difference = np.subtract.outer(rows.values[:, j].astype(np.float64), targets.values[:, j])
        if factors is not None:
            difference *= factors[j]
        if rows.rests is not None and targets.rests is not None:
            difference += np.subtract.outer(rows.rests[:, j], targets.rests[:, j])
        if power is not None:
            difference *= power[:, None]
        total = total + difference * difference
    return np.asarray(total)
