"""What a worker process keeps of blocks between the passes and the iterations.

Every iteration reads every block, and a cyclic scan defeats least-recently-used: the entry thrown
out is the one wanted next. So a full cache admits nothing more and throws nothing out that may be
wanted in every iteration: only what a job has left that is over, to all appearances, makes room
for another, and rows, which are wanted once or twice more, for the points that are made of them.
Whatever is not in is read again; the answer never depends on it.
"""

import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.blocks import BlockRef
from pipeline.data.rows import Numbers, Rows
from pipeline.passes.memory import memory_share
from pipeline.passes.stage import Stage


@dataclass
class _Shelf:
    """Some blocks, and when they were first and last looked for, in uses of the cache."""

    first: int
    last: int
    blocks: dict[Hashable, Any] = field(default_factory=dict)
    sizes: dict[Hashable, int] = field(default_factory=dict)


class BlockCache:
    """Blocks on shelves. Safe to use from several threads.

    A `shelf` is whatever tells apart what was made of the same block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses = itertools.count()
        self._shelves: dict[Hashable, _Shelf] = {}

    def get(self, shelf: Hashable, key: Hashable) -> Any:
        """What was put in under `key`; None if nothing was."""
        with self._lock:
            return self._shelf(shelf).blocks.get(key)

    def reserve(
        self,
        shelf: Hashable,
        key: Hashable,
        size: int,
        limit: int,
        instead_of: Hashable | None = None,
    ) -> bool:
        """Sets `size` bytes aside for `key`, unless the cache would then hold more than `limit`.

        Args:
            instead_of: a shelf whose blocks make room: that of the same key first, then the last.
        """
        with self._lock:
            mine = self._shelf(shelf)
            more = size - mine.sizes.get(key, 0)
            if key in mine.sizes and more <= 0:
                return True
            if self._nbytes() + more > limit:
                self._drop_ended(mine)
            others = self._shelves.get(instead_of) or _Shelf(0, 0)
            if self._nbytes() - sum(others.sizes.values()) + more > limit:
                return False
            while self._nbytes() + more > limit:
                last = key if key in others.sizes else next(reversed(others.sizes))
                del others.sizes[last]
                others.blocks.pop(last, None)
            mine.sizes[key] = size
            return True

    def put(self, shelf: Hashable, key: Hashable, block: Any) -> None:
        """Keeps a block, for which room was reserved."""
        with self._lock:
            mine = self._shelf(shelf)
            if key in mine.sizes:
                mine.blocks[key] = block

    def take(self, shelf: Hashable, key: Hashable) -> Any:
        """What `get` finds, which is then forgotten."""
        with self._lock:
            mine = self._shelf(shelf)
            mine.sizes.pop(key, None)
            return mine.blocks.pop(key, None)

    def turn(
        self, shelf: Hashable, other: Hashable, turned: Callable[[Any], tuple[Any, int]]
    ) -> None:
        """Forgets a shelf's blocks, and keeps what each turns to, and its size, on another."""
        with self._lock:
            blocks = self._shelves.pop(shelf, _Shelf(0, 0)).blocks
            theirs = self._shelf(other)
            for key, block in blocks.items():
                theirs.blocks[key], theirs.sizes[key] = turned(block)

    def _shelf(self, name: Hashable) -> _Shelf:
        use = next(self._uses)
        shelf = self._shelves.setdefault(name, _Shelf(use, use))
        shelf.last = use
        return shelf

    def _nbytes(self) -> int:
        return sum(sum(shelf.sizes.values()) for shelf in self._shelves.values())

    def _drop_ended(self, shelf: _Shelf) -> None:
        """Forgets the shelves that were not looked at since this one's first use."""
        kept = {name: s for name, s in self._shelves.items() if s.last >= shelf.first}
        self._shelves = kept


_FOR_MEMOS = 0.25  # of the memory
PROCESS_CACHE = BlockCache()


@dataclass(frozen=True)
class JobCache:
    """A job's blocks in a worker process, and what the process may use for them.

    Attributes:
        job: names it.
        threads: chunks at once.
        megabytes: of memory; None: a share of what a process of so many threads may fill.
        stage: where points are that memory does not hold.
    """

    job: str
    threads: int = 1
    megabytes: int | None = None
    stage: Stage = field(default_factory=Stage)

    def keep_rows(self, block: BlockRef, rows: Iterable[Rows]) -> Iterator[Rows]:
        """A block's rows as they come, whose numbers are kept if there is room."""
        kept: list[Numbers] | None = None
        reserved = 0
        for place, some in enumerate(rows):
            numbers = some.numbers
            if place == 0 and self._reserved(block, numbers):
                kept, reserved = [], numbers.row_bytes
            if kept is not None and numbers.row_bytes <= reserved:
                kept.append(numbers)
            else:  # a later file may have wider numbers
                kept = None
            yield some
        if kept:
            PROCESS_CACHE.put(self._rows, block, kept)

    def rows(self, block: BlockRef) -> Sequence[Numbers] | None:
        """The numbers of a block's rows, if they were kept."""
        return PROCESS_CACHE.get(self._rows, block)

    def take_rows(self, block: BlockRef) -> Sequence[Numbers] | None:
        """What `rows` gives, once."""
        return PROCESS_CACHE.take(self._rows, block)

    def points(self, block: BlockRef) -> Sequence[Any] | None:
        """What was kept of a block by `keep_points`."""
        return PROCESS_CACHE.get(self._points, block)

    def has_room(self, block: BlockRef, points: int, memo: int) -> bool:
        """Sets so many bytes aside for what becomes of a block's rows, perhaps in their place.

        Where points can be staged, they leave room for what is remembered of those that are.
        """
        can_stage = self.stage.folder is not None
        limit = self._limit * (1 - _FOR_MEMOS) if points and can_stage else self._limit
        return PROCESS_CACHE.reserve(self._points, block, points + memo, int(limit), self._rows)

    def keep_points(self, block: BlockRef, points: Sequence[Any]) -> None:
        """Keeps what there is room for."""
        PROCESS_CACHE.put(self._points, block, points)

    def drop_points(self, turned: Callable[[Sequence[Any]], tuple[Any, int]]) -> None:
        """Forgets points, which no iteration wants any more.

        Args:
            turned: what is kept of a block's instead, and its bytes.
        """
        PROCESS_CACHE.turn(self._points, self._turned, turned)

    def take_turned(self, block: BlockRef) -> Any:
        """What a block's points were turned to, once; None if nothing is known of them."""
        return PROCESS_CACHE.take(self._turned, block)

    def _reserved(self, block: BlockRef, numbers: Numbers) -> bool:
        size = block.rows * numbers.row_bytes
        return PROCESS_CACHE.reserve(self._rows, block, size, self._limit)

    @property
    def _limit(self) -> int:
        return memory_share(self.threads) if self.megabytes is None else self.megabytes << 20

    @property
    def _rows(self) -> Hashable:
        return self.job, "rows"

    @property
    def _points(self) -> Hashable:
        return self.job, "points"

    @property
    def _turned(self) -> Hashable:
        return self.job, "turned"
