"""From blocks to chunks of points, through the worker's cache."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np

from kmeans_tf.bounds import Bounded
from kmeans_tf.encoding import DOUBLE
from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.metrics import get_metric, good_rows
from kmeans_tf.points import Points, capacity_for, chunk_rows, piece_rows
from pipeline.data.blocks import BlockRef
from pipeline.data.columns import Columns
from pipeline.data.rows import Numbers, read_block
from pipeline.data.store import Store
from pipeline.data.streams import grouped
from pipeline.passes.cache import JobCache
from pipeline.passes.counters import count_block
from pipeline.passes.stage import Stage, Staged


@dataclass(frozen=True)
class Loader:
    """How rows become points.

    Attributes:
        columns: what to read.
        layout: how to encode it, for sums; bad features are imputed where its encoding has means.
        metric: a name for `get_metric`.
        drop_bad: whether rows may be bad, and those that still are after imputing are left out.
        store: where the files are.
        trials: how many there are for which something of the points is remembered.
    """

    columns: Columns
    layout: SumLayout
    metric: str
    drop_bad: bool
    store: Store = field(default_factory=Store)
    trials: int = 1

    def chunks(self, block: BlockRef, known: Sequence[Numbers] | None = None) -> "Iterator[Chunk]":
        """The block's chunks, read one at a time.

        Args:
            known: the block's rows, if they need not be read.
        """
        d = self.columns.dimension
        read = read_block(self.store, self.columns, block, piece_rows(d))
        numbers = known or (rows.numbers for rows in read)
        for parts in grouped(numbers, len, chunk_rows(d)):
            yield Chunk(partial(self.encode, parts))

    def encode(self, parts: Sequence[Numbers]) -> Points:
        """Some rows as points."""
        usable = [self._usable(part) for part in parts]
        weights = [part.weights for part in usable if part.weights is not None]
        return Points.encode_parts(
            self.layout.encoding,
            [part.values for part in usable],
            np.concatenate(weights) if weights else None,
        )

    def _usable(self, numbers: Numbers) -> Numbers:
        """With imputed features where they are, and without bad rows where they are left out."""
        numbers = replace(numbers, values=self.layout.encoding.impute(numbers.values))
        if not self.drop_bad:
            return numbers
        good = good_rows(get_metric(self.metric), numbers.values)
        return numbers if good.all() else numbers[good]

    def points_bytes(self, block: BlockRef) -> int:
        """The memory of a block's points."""
        d = self.columns.dimension
        whole, rest = divmod(block.rows, chunk_rows(d))
        padded = whole * chunk_rows(d) + (capacity_for(rest) if rest else 0)
        fine = 8 * d if self.layout.encoding.precision == DOUBLE else 0
        weight = 8 if self.columns.weight is not None else 0
        return padded * 4 * (d + 1) + block.rows * (fine + weight)

    def memo_bytes(self, block: BlockRef) -> int:
        """The memory of what is remembered of a block's points."""
        return self.trials * Memo.nbytes(block.rows, self.points_bytes(block))


class Chunk:
    """Points that are made when they are first asked for, by whichever thread asks.

    Attributes:
        memo: what is remembered of them.
    """

    def __init__(self, make: Callable[[], Points]):
        self._content: Points | Staged | Callable[[], Points] = make
        self._hold: Callable[[Points], Points | Staged] = lambda points: points
        self.memo = Memo()

    def staged(self, stage: Stage, name: str, *, remembers: bool) -> None:
        """Its points will be staged rather than held in memory."""
        self._hold = partial(stage.keep, name)
        if not remembers:
            self.memo = Memo(bounds=False, sums=False)

    @property
    def is_lost(self) -> bool:
        """Whether its points were staged, and are gone."""
        return isinstance(self._content, Staged) and self._content.is_lost

    def points(self) -> Points:
        """The points."""
        # A copy: two attempts at a bundle may ask at once, and each must go on with what it saw.
        # Both then make the same points, and either may be kept.
        content = self._content
        if isinstance(content, Points):
            return content
        if isinstance(content, Staged):
            return content.load()
        points = content()
        self._content = self._hold(points)
        return points


def bounds_of(chunks: Sequence[Chunk], trial: int) -> tuple[Sequence[Bounded], int]:
    """What is remembered of chunks and the prototypes of a trial, and its bytes.

    Nothing, unless it is known of all of them and the same prototypes.
    """
    known = [chunk.memo.bounded(trial) for chunk in chunks]
    bounded = [each for each in known if each is not None]
    if len(bounded) < len(chunks) or not _same(each.prototypes for each in bounded):
        return (), 0
    return bounded, sum(each.nbytes for each in bounded)


def _same(arrays: Iterable[np.ndarray]) -> bool:
    return all(np.array_equal(*pair) for pair in pairwise(arrays))


def cached_chunks(loader: Loader, block: BlockRef, cache: JobCache) -> Iterator[Chunk]:
    """The block's chunks, from the worker's cache or into it if there is room."""
    cached = cache.points(block)
    if cached is not None and any(chunk.is_lost for chunk in cached):
        cached = None  # by an attempt before this one
    count_block(cached is not None)
    if cached is not None:
        yield from cached
        return
    known = cache.rows(block)
    points, memo = loader.points_bytes(block), loader.memo_bytes(block)
    in_memory = not cache.stage.always and cache.has_room(block, points, memo)
    staged = not in_memory and cache.stage.has_room(points)
    remembers = staged and cache.has_room(block, 0, memo)
    staged = remembers or (staged and cache.has_room(block, 0, 0))
    kept = []
    for place, chunk in enumerate(loader.chunks(block, known)):
        if staged:
            chunk.staged(cache.stage, f"{block.index}-{place}", remembers=remembers)
        if in_memory or staged:
            kept.append(chunk)
        yield chunk
    if kept:
        cache.keep_points(block, kept)
