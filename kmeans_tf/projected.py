"""Prototypes as points are compared with them, and what each of many chunks would find again."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from kmeans_tf.bounds import Drift

_Made = TypeVar("_Made")


class Projected:
    """k prototypes of d features.

    Attributes:
        values: (k, d) float64, in the points' units, as the metric compares them.
    """

    def __init__(self, values: np.ndarray):
        self.values = values
        self._lock = threading.RLock()
        self._kept: dict[Hashable, tuple[object, Any]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple:
        return Projected, (self.values,)

    @property
    def squares(self) -> np.ndarray:
        """(k,) float64 squared lengths."""
        return self.once("squares", None, lambda: np.einsum("kd,kd->k", self.values, self.values))

    def drift_from(self, before: np.ndarray) -> Drift:
        """How far they are from where they were, (k, d) float64."""
        return self.once("drift", before, lambda: Drift.between(before, self.values))

    def once(self, name: Hashable, source: object, make: Callable[[], _Made]) -> _Made:
        """What is made under a name of a source, by the first of the threads that ask.

        It is kept until something is made of another source under that name.
        """
        with self._lock:
            if name not in self._kept or self._kept[name][0] is not source:
                self._kept[name] = source, make()
            return self._kept[name][1]
