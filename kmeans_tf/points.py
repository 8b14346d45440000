"""A chunk of rows as the step wants it: encoded, padded, resident in TensorFlow's memory."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kmeans_tf.encoding import DOUBLE, Encoding, tiles
from kmeans_tf.pages import pages
from kmeans_tf.runtime import resident, tf

CHUNK_ELEMENTS = 1 << 23  # 32 MB of float32
PIECE_ELEMENTS = 1 << 21  # 16 MB of float64
_own = threading.local()  # memory of each thread
CAPACITIES = (1 << 10, 1 << 12, 1 << 14, 1 << 16)  # few shapes: XLA compiles a program for each


def chunk_rows(features: int, elements: int = CHUNK_ELEMENTS) -> int:
    """How many rows of d features make a chunk."""
    fitting = [c for c in CAPACITIES if c * features <= elements]
    return max(fitting, default=CAPACITIES[0])


def piece_rows(features: int) -> int:
    """How many rows of d features are taken at once where they are not kept: as float64 numbers."""
    return chunk_rows(features, PIECE_ELEMENTS)


def scan_rows(features: int) -> int:
    """The same where rows are hashed: enough of them to be worth some calls for each column."""
    return max(piece_rows(features), min(CAPACITIES[1], chunk_rows(features)))


def capacity_for(rows: int) -> int:
    """The padded size of a chunk of `rows` rows."""
    return next(c for c in CAPACITIES if rows <= c)


@dataclass(frozen=True)
class Points:
    """n points of d features.

    Attributes:
        values: (capacity, d) float32 tensor, rows beyond n are 0.
        fine: (n, d) float64, what is to be added to the values; None where nothing is.
        norms: (capacity,) float32 tensor, |x|**2 rounded up.
        weights: (n,) float64 from 0, in the input's units; None stands for ones.
        rows: n.
    """

    values: "tf.Tensor"
    norms: "tf.Tensor"
    weights: np.ndarray | None
    rows: int
    fine: np.ndarray | None = None

    @classmethod
    def encode(
        cls,
        encoding: Encoding,
        rows: np.ndarray,
        weights: np.ndarray | None = None,
        capacity: int | None = None,
    ) -> "Points":
        """Encodes (n, d) rows, float32 or float64, with their weights (n,) float64.

        Args:
            capacity: one of CAPACITIES; None: the least that holds them.

        Raises:
            ValueError: n is larger than a chunk: 2**16.
        """
        return cls.encode_parts(encoding, [rows], weights, capacity)

    @classmethod
    def encode_parts(
        cls,
        encoding: Encoding,
        parts: Sequence[np.ndarray],
        weights: np.ndarray | None = None,
        capacity: int | None = None,
    ) -> "Points":
        """Encodes rows that lie in one or more arrays (m, d), as `encode` does."""
        n, d = sum(map(len, parts)), parts[0].shape[1]
        if n > CAPACITIES[-1]:
            raise ValueError(f"{n} rows in one chunk; the limit is {CAPACITIES[-1]}")
        capacity = capacity or capacity_for(n)
        values, norms = pages((capacity, d)), pages((capacity,))
        fine = np.empty((n, d)) if encoding.precision == DOUBLE else None
        done = 0
        for rows in (part[tile] for part in parts for tile in tiles(len(part), d)):
            place = slice(done, done + len(rows))
            encoding.encode_tile(rows, values[place], None if fine is None else fine[place])
            norms[place] = _norms_rounded_up(values[place])
            done += len(rows)
        return cls(resident(values), resident(norms), weights, n, fine)

    @classmethod
    def of(cls, points: np.ndarray, weights: np.ndarray | None = None) -> "Points":
        """(n, d) float64 points as `array` gives them, n at most 2**16, with their weights."""
        n, d = points.shape
        capacity = capacity_for(n)
        values, norms = pages((capacity, d)), pages((capacity,))
        values[:n] = points
        norms[:n] = _norms_rounded_up(values[:n])
        fine = points - values[:n]
        return cls(resident(values), resident(norms), weights, n, fine if fine.any() else None)

    @property
    def nbytes(self) -> int:
        """Their memory, but for weights."""
        fine = 0 if self.fine is None else self.fine.nbytes
        return 4 * len(self.norms) * (self.values.shape[1] + 1) + fine

    def with_norms(self, more: float) -> "Points":
        """The points with so much more in their norms, for what is in doubt beside rounding."""
        return replace(self, norms=self.norms + np.float32(more))

    @cached_property
    def _coarse(self) -> np.ndarray:
        """The values (n, d): TensorFlow's own memory, where that is the processor's."""
        return np.asarray(self.values)[: self.rows]  # numpy() copies

    @property
    def array(self) -> np.ndarray:
        """The points (n, d): float32 and not copied, or float64 where they have a fine part."""
        coarse = self._coarse
        return coarse if self.fine is None else coarse.astype(np.float64) + self.fine

    def coarse(self, rows: np.ndarray) -> np.ndarray:
        """The values of some of the points, (m, d) float32."""
        return self._coarse.take(rows, 0)

    def squares(self, rows: np.ndarray) -> np.ndarray:
        """The norms of some of the points, (m,) float32."""
        return np.asarray(self.norms)[rows]

    def some(self, rows: np.ndarray) -> "tuple[tf.Tensor, tf.Tensor]":
        """The values and norms of some of the points, the first of tensors of the same shapes.

        They lie in the calling thread's own memory, until it asks for others. Gathered by XLA, rows
        of 16 features take twice as long as they do to be compared with 64 prototypes.
        """
        (capacity, d), m = self.values.shape, len(rows)
        if getattr(_own, "size", 0) < capacity * (d + 1):
            _own.size = capacity * (d + 1)
            _own.memory = pages((_own.size,))
        values = _own.memory[: capacity * d].reshape(capacity, d)
        norms = _own.memory[capacity * d : capacity * (d + 1)]
        # Any mode but the default lets NumPy write where it is told at once.
        self._coarse.take(rows, 0, out=values[:m], mode="clip")
        np.asarray(self.norms).take(rows, out=norms[:m], mode="clip")
        return resident(values), resident(norms)

    def take(self, rows: np.ndarray | slice, columns: slice = slice(None)) -> np.ndarray:
        """Some columns of some of the points, (m, c) float64."""
        coarse = self._coarse[rows, columns].astype(np.float64)
        return coarse if self.fine is None else coarse + self.fine[rows, columns]


def _norms_rounded_up(points: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    return np.nextafter(squares.astype(np.float32), np.float32(np.inf))
