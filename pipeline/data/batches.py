"""Row groups as record batches, held against what the footer says of them."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.kinds import is_numeric_list
from pipeline.errors import DataError

_BUFFER_BYTES = 1 << 20  # of a column: a row group is streamed, not read whole


def open_parquet(source: pa.NativeFile) -> pq.ParquetFile:
    """A file whose row groups are streamed and whose pages are checked where they say a sum."""
    return pq.ParquetFile(
        source, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
    )


def read_batches(
    parquet: pq.ParquetFile, path: str, group: int, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """A row group, at most `batch_rows` rows at a time; in the end it is all that the footer says.

    Arrow believes what stands in front of a page: where that says fewer rows than there are,
    the others would be gone without a word, and so would the last values of a list.

    Raises:
        DataError: it cannot be decoded, or there are fewer rows or values of a list than the
            footer says.
    """
    rows, values = 0, Counter[str]()
    try:
        for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns):
            rows += batch.num_rows
            lists = [field.name for field in batch.schema if is_numeric_list(field.type)]
            values.update({name: stored_values(batch.column(name)) for name in lists})
            yield batch
    except (pa.ArrowException, OSError) as error:
        _check_alone(parquet, path, group, columns, batch_rows)
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: row group {group} cannot be read: {reason}") from error
    if rows != footer_rows(parquet, group):
        _check_alone(parquet, path, group, columns, batch_rows)
        raise _damage(path, group, f"has {rows} rows", footer_rows(parquet, group))
    for name, count in values.items():
        expected = footer_values(parquet, group, name)
        if expected and count < expected:
            what = f"column {name!r} has {count} values in its lists"
            raise _damage(path, group, what, expected)


def _check_alone(
    parquet: pq.ParquetFile, path: str, group: int, columns: Sequence[str], batch_rows: int
) -> None:
    """Raises a DataError for the first column that has fewer rows than the footer says."""
    for name in columns:
        try:
            batches = parquet.iter_batches(batch_rows, row_groups=[group], columns=[name])
            rows = sum(batch.num_rows for batch in batches)
        except (pa.ArrowException, OSError):
            continue  # the caller has the reason
        if rows != footer_rows(parquet, group):
            what = f"column {name!r} has {rows} rows"
            raise _damage(path, group, what, footer_rows(parquet, group))


def _damage(path: str, group: int, what: str, expected: int) -> DataError:
    return DataError(
        f"{path}: row group {group}: {what}, but the footer says {expected}: the file is damaged, "
        "write it again"
    )


def footer_rows(parquet: pq.ParquetFile, group: int) -> int:
    """How many rows the footer says a row group has."""
    return parquet.metadata.row_group(group).num_rows


def stored_values(array: pa.Array) -> int:
    """How many values Parquet stores for some lists: one for a list that is null or empty."""
    return pc.sum(pc.max_element_wise(array.value_lengths(), 1), min_count=0).as_py()


def footer_values(parquet: pq.ParquetFile, group: int, name: str) -> int | None:
    """How many values the footer says a list column has; None if names leave open which it is."""
    meta = parquet.metadata
    leaves = [j for j in range(meta.num_columns) if _is_leaf(meta.schema.column(j).path, name)]
    return meta.row_group(group).column(leaves[0]).num_values if len(leaves) == 1 else None


def _is_leaf(path: str, name: str) -> bool:
    return path.startswith(f"{name}.")
