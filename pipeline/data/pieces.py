"""A block's rows as tables, a bounded number at a time.

Small row groups are read whole, ahead and by several threads, and joined, whatever files they are
in: what is done with a table costs more for each table than for each of a hundred rows. Large
ones are streamed.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby

import pyarrow as pa

from pipeline.data.batches import BUFFER_BYTES, RowGroups
from pipeline.data.blocks import Span
from pipeline.data.files import FILE_THREADS
from pipeline.data.footers import SMALL_FILE, open_parquet
from pipeline.data.places import Places, Run
from pipeline.data.store import Store
from pipeline.data.streams import grouped, in_order
from pipeline.data.wanted import Wanted, alike

PIECE_BYTES = 32 << 20  # where columns hold values of any length
_SMALL = 4  # row groups that make a fourth of a piece
_AHEAD = 64  # reads, at most


@dataclass(frozen=True)
class Piece:
    """Consecutive rows.

    Attributes:
        table: their columns, each in any number of chunks.
        places: where they come from.
    """

    table: pa.Table
    places: Places

    @classmethod
    def joined(cls, pieces: "Sequence[Piece]") -> "Piece":
        """Some rows behind others; files may differ in the types of their numbers."""
        if len(pieces) == 1:
            return pieces[0]
        tables = alike([piece.table for piece in pieces])
        table = pa.concat_tables(tables, promote_options="default")
        return cls(table, Places.joined(piece.places for piece in pieces))


def read_pieces(
    store: Store, spans: Iterable[Span], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[Piece]:
    """The rows of some spans, as many at a time as are at most `piece_rows`.

    Raises:
        DataError: a file changed, cannot be decoded or lacks rows.
    """
    is_long = any(column.kind and _is_long(column.kind) for column in wanted)

    def size(piece: Piece) -> int:
        rows = piece.table.num_rows
        return max(rows, piece.table.nbytes * piece_rows // PIECE_BYTES) if is_long else rows

    sized = _sized(store, spans, wanted, piece_rows) if is_long else ((s, s.rows) for s in spans)
    for pieces in grouped(_parts(store, sized, wanted, piece_rows), size, piece_rows):
        yield Piece.joined(pieces)


def _is_long(kind: pa.DataType) -> bool:
    """Whether values of a type may have any length."""
    try:
        return kind.bit_width <= 0
    except ValueError:
        return True


def _sized(
    store: Store, spans: Iterable[Span], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[tuple[Span, int]]:
    """Spans, and the part of a piece that each is, in rows: by its rows, or by its bytes."""
    for file, of_file in groupby(spans, lambda span: span.file):
        if file.size <= SMALL_FILE:
            yield from ((span, span.rows) for span in of_file)
            continue
        with open_parquet(store, file) as parquet:
            groups = RowGroups(parquet, file.path, wanted)
            sizes = [(span, groups.nbytes(span.row_group)) for span in of_file]
        yield from ((s, max(s.rows, n * piece_rows // PIECE_BYTES)) for s, n in sizes)


def _parts(
    store: Store, sized: Iterable[tuple[Span, int]], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[Piece]:
    small = piece_rows // _SMALL
    for is_small, some in groupby(sized, lambda each: each[1] <= small):
        if is_small:
            yield from _read_small(store, some, wanted, piece_rows)
        else:
            for span, size in some:
                rows = max(1, span.rows * piece_rows // size)
                yield from _stream(store, span, wanted, min(rows, piece_rows))


def _read_small(
    store: Store, sized: Iterable[tuple[Span, int]], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[Piece]:
    """Reads of consecutive spans of a file each; about a piece is read ahead."""
    least = piece_rows // _AHEAD
    tasks = (
        (max(least, sum(size for _, size in read)), partial(_read, store, read, wanted))
        for _, of_file in groupby(sized, lambda each: each[0].file)
        for read in grouped(of_file, lambda each: each[1], piece_rows // _SMALL)
    )
    return in_order(_readers(), tasks, piece_rows)


def _read(store: Store, sized: Sequence[tuple[Span, int]], wanted: Sequence[Wanted]) -> Piece:
    """The rows of some spans of a file."""
    spans = [span for span, _ in sized]
    file = spans[0].file
    with open_parquet(store, file) as parquet:
        groups = RowGroups(parquet, file.path, wanted)
        tables = [groups.whole(span.row_group) for span in spans]
    places = (Places((Run(file, span.first_row, span.rows),)) for span in spans)
    return Piece.joined([Piece(t, p) for t, p in zip(tables, places, strict=True)])


def _stream(store: Store, span: Span, wanted: Sequence[Wanted], piece_rows: int) -> Iterator[Piece]:
    with open_parquet(store, span.file, BUFFER_BYTES) as parquet:
        row = span.first_row
        groups = RowGroups(parquet, span.file.path, wanted)
        for table in groups.batches(span.row_group, piece_rows):
            yield Piece(table, Places((Run(span.file, row, table.num_rows),)))
            row += table.num_rows


@cache
def _readers() -> ThreadPoolExecutor:
    """The process's threads that wait for files; what they run waits for none of them."""
    return ThreadPoolExecutor(FILE_THREADS)
