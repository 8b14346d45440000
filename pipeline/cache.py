"""Decoded blocks kept in a worker process between iterations.

Every iteration reads every block, and a cyclic scan defeats least-recently-used: the entry thrown
out is the one wanted next. So a full cache admits nothing more and throws nothing out, and what is
in stays useful. Whatever is not in is read again; the answer never depends on it.
"""

import threading
from collections.abc import Hashable
from typing import Any


class BlockCache:
    """Decoded blocks of one configuration at a time. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._configuration: Hashable = None
        self._blocks: dict[Hashable, Any] = {}
        self._sizes: dict[Hashable, int] = {}

    def use(self, configuration: Hashable) -> None:
        """Forgets what another configuration left."""
        with self._lock:
            if configuration != self._configuration:
                self._configuration, self._blocks, self._sizes = configuration, {}, {}

    def get(self, key: Hashable) -> Any:
        """What was put in under `key`; None if nothing was."""
        with self._lock:
            return self._blocks.get(key)

    def reserve(self, key: Hashable, size: int, limit: int) -> bool:
        """Sets `size` bytes aside for `key`, unless the cache would then hold more than `limit`."""
        with self._lock:
            if key not in self._sizes and sum(self._sizes.values()) + size > limit:
                return False
            self._sizes[key] = size
            return True

    def put(self, key: Hashable, block: Any) -> None:
        """Keeps a block, for which room was reserved."""
        with self._lock:
            if key in self._sizes:
                self._blocks[key] = block


PROCESS_CACHE = BlockCache()
