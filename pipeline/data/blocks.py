"""Blocks: lists of row spans, the units of work. Planning is plain integer code."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.file_table import FileTable
from pipeline.data.files import Footers
from pipeline.data.lazy import LazySequence
from pipeline.data.store import FileVersion
from pipeline.data.streams import grouped


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one row group.

    Attributes:
        file: the file, with the identity that is checked at every open.
        row_group: which row group of it.
        first_row: the place of its first row in the file.
        rows: how many there are.
    """

    file: FileVersion
    row_group: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block by reference: small, frozen, picklable.

    Attributes:
        index: its place in the order of the input.
        spans: in the order of the input.
    """

    index: int
    spans: tuple[Span, ...]

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.spans)


@dataclass(frozen=True, eq=False)
class BlockTable(LazySequence[BlockRef]):
    """Blocks as columns of numbers, some thirty bytes a row group.

    Attributes:
        files: those of the input.
        file: (s,) int32, the file of each span; the other three: see `Span`.
        row_group: (s,) int32.
        first_row, span_rows: (s,) int64.
        ends: (b,) int64, the place behind each block's last span.
    """

    files: FileTable
    file: np.ndarray
    row_group: np.ndarray
    first_row: np.ndarray
    span_rows: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def rows(self) -> np.ndarray:
        """(b,) int64, of each block."""
        return np.diff(np.append(0, np.cumsum(self.span_rows))[np.append(0, self.ends)])

    def item(self, place: int) -> BlockRef:
        start = self.ends[place - 1] if place else 0
        return BlockRef(place, tuple(map(self._span, range(start, self.ends[place]))))

    def _span(self, place: int) -> Span:
        file, row_group = self.files[self.file[place]], int(self.row_group[place])
        return Span(file, row_group, int(self.first_row[place]), int(self.span_rows[place]))


def plan_blocks(footers: Footers, block_rows: int) -> BlockTable:
    """Packs row groups, in order, into blocks of at most `block_rows` rows.

    A row group larger than that is a block of its own, which the reader streams in pieces: a
    column chunk cannot be entered in the middle, so cutting it would decode its start again for
    every piece.
    """
    rows, starts = footers.row_groups, np.append(0, footers.ends)
    counts = np.diff(starts)
    file = np.repeat(np.arange(len(footers), dtype=np.int32), counts)
    first = np.repeat(starts[:-1], counts)  # row group of the same file, of each row group
    before = np.cumsum(rows) - rows
    used = rows > 0
    sizes = [len(spans) for spans in grouped(rows[used].tolist(), int, block_rows)]
    return BlockTable(
        files=footers.files,
        file=file[used],
        row_group=(np.arange(len(rows)) - first).astype(np.int32)[used],
        first_row=(before - before[first])[used],
        span_rows=rows[used],
        ends=np.cumsum(sizes, dtype=np.int64),
    )
