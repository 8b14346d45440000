"""From blocks to chunks of points, through the worker's cache."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from kmeans_tf.frame import Frame
from kmeans_tf.metrics import get_metric
from kmeans_tf.model import good_rows
from kmeans_tf.points import Points, capacity_for, chunk_rows
from pipeline.blocks import BlockRef
from pipeline.cache import PROCESS_CACHE
from pipeline.counters import count_block
from pipeline.inputs import Columns
from pipeline.rows import Rows, read_block
from pipeline.store import Store


@dataclass(frozen=True)
class Loader:
    """How rows become points.

    Attributes:
        columns: what to read.
        frame: how to encode it; bad features are imputed where it has means.
        metric: a name for `get_metric`.
        drop_bad: whether rows may be bad, and those that still are after imputing are left out.
    """

    columns: Columns
    frame: Frame
    metric: str
    drop_bad: bool

    def chunks(self, block: BlockRef) -> "Iterator[Chunk]":
        """The block's chunks, read one at a time."""
        limit = chunk_rows(self.columns.dimension)
        for group in _grouped(read_block(Store(), self.columns, block, limit), limit):
            yield Chunk(partial(self.encode, group))

    def encode(self, group: list[Rows]) -> Points:
        """Some consecutive rows as points."""
        values = _joined([rows.values for rows in group])
        weights = None
        if self.columns.weight:
            weights = _joined([rows.weights for rows in group])
        values = self.frame.impute(values)
        if self.drop_bad:
            good = good_rows(get_metric(self.metric), values)
            values = values[good]
            weights = weights if weights is None else weights[good]
        return Points.encode(self.frame, values, weights)

    def nbytes(self, block: BlockRef) -> int:
        """The memory of a block's points."""
        limit = chunk_rows(self.columns.dimension)
        whole, rest = divmod(block.rows, limit)
        padded = whole * limit + (capacity_for(rest) if rest else 0)
        return padded * 4 * (self.columns.dimension + 1) + (8 * block.rows if self._weighted else 0)

    @property
    def _weighted(self) -> bool:
        return self.columns.weight is not None


class Chunk:
    """Points that are made when they are first asked for, by whichever thread asks."""

    def __init__(self, make: Callable[[], Points]):
        self._make: Callable[[], Points] | None = make
        self._points: Points | None = None

    def points(self) -> Points:
        make = self._make
        if self._points is None:
            self._points = make()
            self._make = None
        return self._points


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


def _grouped(batches: Iterable[Rows], limit: int) -> Iterator[list[Rows]]:
    """Consecutive batches, as many as make at most `limit` rows."""
    group: list[Rows] = []
    for rows in batches:
        if group and sum(map(len, group)) + len(rows) > limit:
            yield group
            group = []
        group.append(rows)
    if group:
        yield group


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
