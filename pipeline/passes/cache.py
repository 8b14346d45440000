"""Decoded blocks kept in a worker process between iterations.

Every iteration reads every block, and a cyclic scan defeats least-recently-used: the entry thrown
out is the one wanted next. So a full cache admits nothing more and throws nothing out that may be
wanted: only what a training has left that is over, to all appearances, makes room for another.
Whatever is not in is read again; the answer never depends on it.
"""

import itertools
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Shelf:
    """One training's blocks, and when it was first and last seen, in uses of the cache."""

    first: int
    last: int
    blocks: dict[Hashable, Any] = field(default_factory=dict)
    sizes: dict[Hashable, int] = field(default_factory=dict)


class BlockCache:
    """Decoded blocks by the training that they belong to. Safe to use from several threads.

    A `training` is whatever tells apart two runs that make other points of the same block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses = itertools.count()
        self._shelves: dict[Hashable, _Shelf] = {}

    def get(self, training: Hashable, key: Hashable) -> Any:
        """What was put in under `key`; None if nothing was."""
        with self._lock:
            return self._shelf(training).blocks.get(key)

    def reserve(self, training: Hashable, key: Hashable, size: int, limit: int) -> bool:
        """Sets `size` bytes aside for `key`, unless the cache would then hold more than `limit`."""
        with self._lock:
            shelf = self._shelf(training)
            if key in shelf.sizes:
                return True
            if self._nbytes() + size > limit:
                self._drop_ended(shelf)
            if self._nbytes() + size > limit:
                return False
            shelf.sizes[key] = size
            return True

    def put(self, training: Hashable, key: Hashable, block: Any) -> None:
        """Keeps a block, for which room was reserved."""
        with self._lock:
            shelf = self._shelf(training)
            if key in shelf.sizes:
                shelf.blocks[key] = block

    def drop(self, training: Hashable) -> None:
        """Forgets a training's blocks."""
        with self._lock:
            self._shelves.pop(training, None)

    def _shelf(self, training: Hashable) -> _Shelf:
        use = next(self._uses)
        shelf = self._shelves.setdefault(training, _Shelf(use, use))
        shelf.last = use
        return shelf

    def _nbytes(self) -> int:
        return sum(sum(shelf.sizes.values()) for shelf in self._shelves.values())

    def _drop_ended(self, shelf: _Shelf) -> None:
        """Forgets the trainings that were not seen since this one began."""
        kept = {name: s for name, s in self._shelves.items() if s.last >= shelf.first}
        self._shelves = kept


PROCESS_CACHE = BlockCache()
