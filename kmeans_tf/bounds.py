"""Bounds on distances that outlive an iteration (Hamerly 2010), in which most labels stay.

A point whose own prototype is nearer than any other can be, by how far all have moved since the
bounds were found, has the label that it had: it need not be compared again. Bounds are rounded
outward, by more than what the float64 distances of the definition are rounded by.
"""

from dataclasses import dataclass

import numpy as np

_UP, _DOWN = np.float32(1 + 2.0**-20), np.float32(1 - 2.0**-20)
_DRIFT = 1 + 1e-9  # more than the rounding of a drift


@dataclass(frozen=True)
class Bounded:
    """Which prototypes n points belong to, and what is known of their distances.

    Attributes:
        prototypes: (k, d) float64, k from 2.
        labels: (n,) int32.
        upper: (n,) float32, at least the distance to the point's own prototype.
        lower: (n,) float32, at most the distance to any other.
    """

    prototypes: np.ndarray
    labels: np.ndarray
    upper: np.ndarray
    lower: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.labels.nbytes + self.upper.nbytes + self.lower.nbytes

    def moved(self, prototypes: np.ndarray) -> "Bounded":
        """The same labels with the bounds for prototypes that are elsewhere."""
        drift = _drift(self.prototypes, prototypes)
        second, first = np.argsort(drift)[-2:]
        of_others = np.full(len(drift), drift[first])
        of_others[first] = drift[second]
        upper = (self.upper + drift[self.labels]) * _UP
        lower = (self.lower - of_others[self.labels]) * _DOWN
        return Bounded(prototypes, self.labels, upper, lower)

    def doubtful(self) -> np.ndarray:
        """The places of the points that may be nearer to another prototype."""
        return np.flatnonzero(~(self.upper * _UP < self.lower))

    def with_some(self, places: np.ndarray, others: "Bounded") -> "Bounded":
        """With what was found anew for the points at some places (m,)."""
        labels, upper, lower = self.labels.copy(), self.upper.copy(), self.lower.copy()
        labels[places], upper[places], lower[places] = others.labels, others.upper, others.lower
        return Bounded(self.prototypes, labels, upper, lower)


def _drift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(k,) float32, at least how far each prototype has moved."""
    moves = after - before
    drift = np.sqrt(np.einsum("kd,kd->k", moves, moves)) * _DRIFT
    return np.nextafter(drift.astype(np.float32), np.float32(np.inf))
