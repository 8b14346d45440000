"""Blocks: lists of row spans, the units of work. Planning is plain integer code."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.data.files import Footer
from pipeline.data.store import FileVersion


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


def plan_blocks(footers: Sequence[Footer], block_rows: int) -> list[BlockRef]:
    """Packs row groups, in order, into blocks of at most `block_rows` rows.

    A row group larger than that is a block of its own, which the reader streams in pieces: a
    column chunk cannot be entered in the middle, so cutting it would decode its start again for
    every piece.
    """
    blocks: list[tuple[Span, ...]] = []
    pending: list[Span] = []
    rows = 0
    for span in _spans(footers):
        if pending and rows + span.rows > block_rows:
            blocks.append(tuple(pending))
            pending, rows = [], 0
        pending.append(span)
        rows += span.rows
    if pending:
        blocks.append(tuple(pending))
    return [BlockRef(index, spans) for index, spans in enumerate(blocks)]


def _spans(footers: Iterable[Footer]) -> Iterable[Span]:
    for footer in footers:
        first = 0
        for group, rows in enumerate(footer.row_groups):
            if rows:
                yield Span(footer.file, group, first, rows)
            first += rows
