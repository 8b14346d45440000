"""From blocks to chunks of points, through the worker's cache."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.metrics import get_metric, good_rows
from kmeans_tf.points import Points, capacity_for, chunk_rows
from pipeline.data.blocks import BlockRef
from pipeline.data.columns import Columns
from pipeline.data.rows import read_block
from pipeline.data.store import Store
from pipeline.passes.cache import PROCESS_CACHE
from pipeline.passes.counters import count_block


@dataclass(frozen=True)
class Loader:
    """How rows become points.

    Attributes:
        columns: what to read.
        layout: how to encode it, for sums; bad features are imputed where its encoding has means.
        metric: a name for `get_metric`.
        drop_bad: whether rows may be bad, and those that still are after imputing are left out.
        store: where the files are.
    """

    columns: Columns
    layout: SumLayout
    metric: str
    drop_bad: bool
    store: Store = field(default_factory=Store)

    def chunks(self, block: BlockRef) -> "Iterator[Chunk]":
        """The block's chunks, read one at a time."""
        limit = chunk_rows(self.columns.dimension)
        for rows in read_block(self.store, self.columns, block, limit):
            yield Chunk(partial(self.encode, rows.values, rows.weights))

    def encode(self, values: np.ndarray, weights: np.ndarray | None) -> Points:
        """Rows (n, d) float64 with their weights (n,) float64 as points."""
        values = self.layout.encoding.impute(values)
        if self.drop_bad:
            good = good_rows(get_metric(self.metric), values)
            values = values[good]
            weights = weights if weights is None else weights[good]
        return Points.encode(self.layout.encoding, values, weights)

    def nbytes(self, block: BlockRef) -> int:
        """The memory of a block's points, and of what is remembered of them."""
        limit = chunk_rows(self.columns.dimension)
        whole, rest = divmod(block.rows, limit)
        padded = whole * limit + (capacity_for(rest) if rest else 0)
        points = padded * 4 * (self.columns.dimension + 1)
        memo = Memo.nbytes(block.rows, points)
        return points + memo + (8 * block.rows if self._weighted else 0)

    @property
    def _weighted(self) -> bool:
        return self.columns.weight is not None


class Chunk:
    """Points that are made when they are first asked for, by whichever thread asks.

    Attributes:
        memo: what is remembered of them.
    """

    def __init__(self, make: Callable[[], Points]):
        self._content: Points | Callable[[], Points] = make
        self.memo = Memo()

    def points(self) -> Points:
        """The points."""
        # A copy: two attempts at a bundle may ask at once, and each must go on with what it saw.
        # Both then make the same points, and either may be kept.
        content = self._content
        if not isinstance(content, Points):
            self._content = content = content()
        return content


def cached_chunks(
    loader: Loader, block: BlockRef, training: str, cache_bytes: int
) -> Iterator[Chunk]:
    """The block's chunks, from the worker's cache or into it if there is room."""
    cached = PROCESS_CACHE.get(training, block)
    count_block(cached is not None)
    if cached is not None:
        yield from cached
        return
    keep = PROCESS_CACHE.reserve(training, block, loader.nbytes(block), cache_bytes)
    kept = []
    for chunk in loader.chunks(block):
        if keep:
            kept.append(chunk)
        yield chunk
    if keep:
        PROCESS_CACHE.put(training, block, kept)
