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
from pipeline.data.footers import open_parquet
from pipeline.data.places import Places, Run
from pipeline.data.store import Store
from pipeline.data.streams import grouped, in_order
from pipeline.data.wanted import Wanted, alike

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
    for pieces in grouped(_parts(store, spans, wanted, piece_rows), _rows, piece_rows):
        yield Piece.joined(pieces)


def _rows(piece: Piece) -> int:
    return piece.table.num_rows


def _parts(
    store: Store, spans: Iterable[Span], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[Piece]:
    small_rows = piece_rows // _SMALL
    for is_small, some in groupby(spans, lambda span: span.rows <= small_rows):
        if is_small:
            yield from _read_small(store, some, wanted, piece_rows)
        else:
            for span in some:
                yield from _stream(store, span, wanted, piece_rows)


def _read_small(
    store: Store, spans: Iterable[Span], wanted: Sequence[Wanted], piece_rows: int
) -> Iterator[Piece]:
    """Reads of consecutive spans of a file each; about a piece's rows are read ahead."""
    least = piece_rows // _AHEAD
    tasks = (
        (max(least, sum(span.rows for span in read)), partial(_read, store, read, wanted))
        for _, of_file in groupby(spans, lambda span: span.file)
        for read in grouped(of_file, lambda span: span.rows, piece_rows // _SMALL)
    )
    return in_order(_readers(), tasks, piece_rows)


def _read(store: Store, spans: Sequence[Span], wanted: Sequence[Wanted]) -> Piece:
    """The rows of some spans of a file."""
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
