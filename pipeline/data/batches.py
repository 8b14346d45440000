"""Row groups as tables, held against what the footer says of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.kinds import is_list, is_numeric
from pipeline.data.wanted import Wanted, find_fields, take
from pipeline.errors import DataError

BUFFER_BYTES = 1 << 20  # of a column: a row group is streamed, not read whole
_ALONE_ROWS = 1 << 12  # at a time, where a damaged column is looked for


@dataclass(frozen=True)
class RowGroups:
    """Some columns of an open file. What is read of a row group is all that the footer says.

    Arrow believes what stands in front of a page: where that says fewer rows than there are,
    the others would be gone without a word, and so would the last values of a list.

    Attributes:
        parquet: the file.
        path: its name.
        wanted: what is read.
    """

    parquet: pq.ParquetFile
    path: str
    wanted: Sequence[Wanted]

    def whole(self, group: int) -> pa.Table:
        """A row group at once, by this thread alone.

        Raises:
            DataError: see `batches`.
        """
        try:
            table = self.parquet.read_row_group(group, columns=self._names, use_threads=False)
            taken = take(table, self.wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(group, error) from error
        self._check(group, table.num_rows, _list_values(taken))
        return taken

    def batches(self, group: int, batch_rows: int) -> Iterator[pa.Table]:
        """A row group, at most `batch_rows` rows at a time.

        Raises:
            DataError: it cannot be decoded, or there are fewer rows or values of a list than the
                footer says.
        """
        rows, values = 0, Counter[str]()
        try:
            for batch in self._iter(group, self._names, batch_rows):
                table = take(pa.Table.from_batches([batch]), self.wanted)
                rows += table.num_rows
                values.update(_list_values(table))
                yield table
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(group, error) from error
        self._check(group, rows, values)

    def rows(self, group: int) -> int:
        """How many rows the footer says a row group has."""
        return self.parquet.metadata.row_group(group).num_rows

    def nbytes(self, group: int) -> int:
        """The bytes of the columns' pages before they were compressed, as the footer has them."""
        footer = self.parquet.metadata.row_group(group)
        return sum(footer.column(leaf).total_uncompressed_size for leaf in self._read)

    def values(self, group: int, name: str) -> int | None:
        """How many values the footer says a list column has; None where names leave it open."""
        leaves = self._leaves.get(name, ())
        if len(leaves) != 1:
            return None
        return self.parquet.metadata.row_group(group).column(leaves[0]).num_values

    @cached_property
    def _names(self) -> list[str]:
        """What is wanted and there, as Parquet names it: a path through nulls ends at these."""
        schema = self.parquet.schema_arrow
        found = (find_fields(schema, column.name) for column in self.wanted)
        return [".".join(field.name for field in fields) for fields in found if fields]

    @cached_property
    def _read(self) -> list[int]:
        """The places of the columns that are read, as Parquet has them."""
        names, schema = {*self._names}, self.parquet.metadata.schema
        return [
            j for j in range(len(schema)) if not names.isdisjoint(_around(schema.column(j).path))
        ]

    @cached_property
    def _leaves(self) -> dict[str, list[int]]:
        """The places of the columns that lie in each of those that are read, as Parquet has them.

        A name may hold a dot: `a.b` is in both `a.b` and `a`.
        """
        schema = self.parquet.metadata.schema
        leaves: dict[str, list[int]] = {name: [] for name in self._names}
        for j in range(len(schema)):
            for around in _around(schema.column(j).path)[:-1]:
                leaves.get(around, []).append(j)
        return leaves

    def _iter(self, group: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        return self.parquet.iter_batches(rows, row_groups=[group], columns=columns)

    def _check(self, group: int, rows: int, values: Counter[str]) -> None:
        expected = self.rows(group)
        if rows != expected:
            self._check_alone(group)
            raise self._damage(group, f"has {rows} rows", expected)
        for name, count in values.items():
            in_footer = self.values(group, name)
            if in_footer and count < in_footer:
                what = f"column {name!r} has {count} values in its lists"
                raise self._damage(group, what, in_footer)

    def _unreadable(self, group: int, error: Exception) -> DataError:
        """What to raise for a row group that cannot be decoded, unless rows are missing."""
        self._check_alone(group)
        encrypted = [name for name in self._names if self._is_encrypted(group, name)]
        if encrypted:
            return DataError(f"{self.path}: column {encrypted[0]!r} is encrypted: leave it out")
        reason = str(error).splitlines()[0]
        return DataError(f"{self.path}: row group {group} cannot be read: {reason}")

    def _check_alone(self, group: int) -> None:
        """Raises a DataError for the first column that has fewer rows than the footer says."""
        for name in self._names:
            try:
                rows = sum(batch.num_rows for batch in self._iter(group, [name], _ALONE_ROWS))
            except (pa.ArrowException, OSError):
                continue  # the caller has the reason
            if rows != self.rows(group):
                raise self._damage(group, f"column {name!r} has {rows} rows", self.rows(group))

    def _is_encrypted(self, group: int, name: str) -> bool:
        """Whether a column cannot be read for want of a key, in a file that has others."""
        try:
            next(self._iter(group, [name], 1), None)
        except (pa.ArrowException, OSError) as error:
            return "decrypt" in str(error)
        return False

    def _damage(self, group: int, what: str, expected: int) -> DataError:
        return DataError(
            f"{self.path}: row group {group}: {what}, but the footer says {expected}: the file is "
            "damaged, write it again"
        )


def _around(path: str) -> list[str]:
    """The paths of the columns that one lies in, and its own."""
    return [*accumulate(path.split("."), "{}.{}".format)]


def _list_values(table: pa.Table) -> Counter[str]:
    """How many values each column of lists of numbers has."""
    nested = [field for field in table.schema if field.type.num_fields]
    lists = [f.name for f in nested if is_list(f.type) and is_numeric(f.type.value_type)]
    return Counter({name: stored_values(table.column(name)) for name in lists})


def stored_values(lists: pa.ChunkedArray) -> int:
    """How many values Parquet stores for some lists: one for a list that is null or empty."""
    lengths = (pc.max_element_wise(chunk.value_lengths(), 1) for chunk in lists.chunks)
    return sum(pc.sum(length, min_count=0).as_py() for length in lengths)
