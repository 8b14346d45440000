"""Bounds on distances that outlive an iteration, in which most labels stay.

A point whose own prototype is nearer than any other can be, by how far all have moved since the
bounds were found, has the label that it had: it need not be compared again (Hamerly 2010). One that
is in doubt need only be compared with the prototypes that have moved farthest: the bound on the
others has shrunk by no more than the farthest of them has moved. Bounds are rounded outward, by
more than what the float64 distances of the definition are rounded by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_UP, _DOWN = np.float32(1 + 2.0**-20), np.float32(1 - 2.0**-20)
_DRIFT = 1 + 1e-9  # more than the rounding of a drift
_KEPT = np.float32(0.5)  # of the gap between the bounds, where it need not be found anew so soon


@dataclass(frozen=True)
class Drift:
    """How far k prototypes have moved.

    Attributes:
        moved: (k,) float32, at least how far each has.
        order: (k,) the one that has moved farthest first.
    """

    moved: np.ndarray
    order: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray) -> "Drift":
        """From where they were to where they are, (k, d) float64 each."""
        moved = lengths_rounded_up(after - before)
        return cls(moved, np.argsort(-moved, kind="stable"))

    @cached_property
    def ordered(self) -> np.ndarray:
        """(k,) float32, the largest first."""
        return self.moved[self.order]


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

    @staticmethod
    def joined(parts: "Sequence[Bounded]") -> "Bounded":
        """The points of all parts, which are bounded for the same prototypes."""
        arrays = ((part.labels, part.upper, part.lower) for part in parts)
        return Bounded(parts[0].prototypes, *map(np.concatenate, zip(*arrays, strict=True)))

    def part(self, places: slice) -> "Bounded":
        """Some of the points."""
        return Bounded(self.prototypes, self.labels[places], self.upper[places], self.lower[places])

    def moved(self, prototypes: np.ndarray, drift: Drift) -> tuple["Bounded", "Doubt"]:
        """The same labels with the bounds for prototypes that are elsewhere; what that leaves."""
        upper, lower = self._after(drift.moved)
        places = _in_doubt(upper, lower)
        some = places, self.labels[places], upper[places], self.lower[places]
        return Bounded(prototypes, self.labels, upper, lower), Doubt(*some, drift)

    def unproven(self, drift: np.ndarray) -> np.ndarray:
        """The places (m,) of the points whose labels may be others.

        Args:
            drift: (k,) float32, at least how far each prototype has moved, as a point sees it.
        """
        return _in_doubt(*self._after(drift))

    def _after(self, drift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """upper and lower (n,) after prototypes have moved so far, at most."""
        first = drift.argmax()
        of_others = np.full(len(drift), drift[first])
        of_others[first] = np.delete(drift, first).max()
        upper = (self.upper + drift[self.labels]) * _UP
        return upper, (self.lower - of_others[self.labels]) * _DOWN

    def with_some(self, places: np.ndarray, others: "Bounded") -> "Bounded":
        """With what was found anew for the points at some places (m,)."""
        labels, upper, lower = self.labels.copy(), self.upper.copy(), self.lower.copy()
        labels[places], upper[places], lower[places] = others.labels, others.upper, others.lower
        return Bounded(self.prototypes, labels, upper, lower)


@dataclass(frozen=True)
class Known:
    """What a training knew of the rows that n points were encoded from.

    Attributes:
        bounded: the points.
        drift: (k,) float32, at least how far a prototype that rows are now compared with is from
            the one that the points were bounded for, and a row from its point.
    """

    bounded: Bounded
    drift: np.ndarray

    @property
    def unproven(self) -> np.ndarray:
        """The places (m,) of the rows whose labels may be others."""
        return self.bounded.unproven(self.drift)

    def part(self, places: slice) -> "Known":
        """The same of some of the rows."""
        return Known(self.bounded.part(places), self.drift)


@dataclass(frozen=True)
class Doubt:
    """Which of the points may be nearer to another prototype, and to which.

    Attributes:
        places: (m,) of the points.
        own: (m,) int32, their labels.
        upper: (m,) float32, about the distance to their own prototypes; no bound rests on it.
        before: (m,) float32, at most the distance to any other before it moved.
        drift: how far the prototypes have moved.
    """

    places: np.ndarray
    own: np.ndarray
    upper: np.ndarray
    before: np.ndarray
    drift: Drift

    def blocks(self, size: int) -> np.ndarray:
        """(m,) how many blocks of the prototypes in order each point is worth comparing with."""
        kept = _KEPT * (self.before - self.upper)  # -inf where no label was proven: then all
        return np.maximum(1, np.searchsorted(-self.drift.ordered[::size], -kept, side="right"))

    def lower(self, compared: np.ndarray) -> np.ndarray:
        """(m,) float32, at most the distance to any prototype but own and the first `compared`."""
        moved = np.append(self.drift.ordered, np.float32(-np.inf))  # where none is left
        return (self.before - moved[compared]) * _DOWN


def _in_doubt(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.flatnonzero(~(upper * _UP < lower))


def lengths_rounded_up(moves: np.ndarray, more: float = 0.0) -> np.ndarray:
    """(k,) float32, at least how long each of (k, d) moves is, and so much more."""
    drift = np.sqrt(np.einsum("kd,kd->k", moves, moves)) * _DRIFT + more
    drift = np.nextafter(drift.astype(np.float32), np.float32(np.inf))
    return np.where(np.isnan(drift), np.float32(np.inf), drift)
