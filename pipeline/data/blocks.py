"""Blocks: lists of row spans, the units of work. Planning is plain integer code."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.files import Footer
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
        paths, below: (f,) of the files; see `FileVersion`.
        sizes, modified: (f,) int64.
        file: (s,) int32, the file of each span; the other three: see `Span`.
        row_group: (s,) int32.
        first_row, span_rows: (s,) int64.
        ends: (b,) int64, the place behind each block's last span.
    """

    paths: tuple[str, ...]
    below: tuple[str, ...]
    sizes: np.ndarray
    modified: np.ndarray
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
        row_group, first_row = int(self.row_group[place]), int(self.first_row[place])
        return Span(self._file(self.file[place]), row_group, first_row, int(self.span_rows[place]))

    def _file(self, number: int) -> FileVersion:
        size, modified = int(self.sizes[number]), int(self.modified[number])
        return FileVersion(self.paths[number], size, modified, self.below[number])


def plan_blocks(footers: Sequence[Footer], block_rows: int) -> BlockTable:
    """Packs row groups, in order, into blocks of at most `block_rows` rows.

    A row group larger than that is a block of its own, which the reader streams in pieces: a
    column chunk cannot be entered in the middle, so cutting it would decode its start again for
    every piece.
    """
    files = [footer.file for footer in footers]
    groups = [np.array(footer.row_groups, np.int64) for footer in footers]
    rows = np.concatenate([np.empty(0, np.int64), *groups])
    file = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, groups)))
    number = [np.arange(len(group), dtype=np.int32) for group in groups]
    first = [np.cumsum(group) - group for group in groups]
    used = rows > 0
    sizes = [len(spans) for spans in grouped(rows[used].tolist(), int, block_rows)]
    return BlockTable(
        paths=tuple(f.path for f in files),
        below=tuple(f.below for f in files),
        sizes=np.array([f.size for f in files], np.int64),
        modified=np.array([f.modified for f in files], np.int64),
        file=file[used],
        row_group=np.concatenate([np.empty(0, np.int32), *number])[used],
        first_row=np.concatenate([np.empty(0, np.int64), *first])[used],
        span_rows=rows[used],
        ends=np.cumsum(sizes, dtype=np.int64),
    )
