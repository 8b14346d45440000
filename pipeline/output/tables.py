"""The tables beside the labels, by the names of their files."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.page_sums import WRITING, whole_table
from pipeline.data.store import Store


@dataclass(frozen=True)
class Tables:
    """Each is NAME.parquet in the output; what is None is not there.

    Attributes:
        history: trial, iteration, cost (of the prototypes the iteration started with), relocated.
        prototypes: label, rows, weight, cost, then one column per feature or one list column.
        features: feature, mean, standard_deviation, minimum, maximum of all rows.
        scatter: kind (row, prototype, before), x, y, label.
        typical: label, distance, file, row, keys of the rows nearest to each prototype.
        trials: a row for each trial; None where nothing was trained.
        bad_rows: file, column, reason, rows.
    """

    history: pa.Table
    prototypes: pa.Table
    features: pa.Table | None = None
    scatter: pa.Table | None = None
    typical: pa.Table | None = None
    trials: pa.Table | None = None
    bad_rows: pa.Table | None = None

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents."""
        for field in fields(self):
            table = getattr(self, field.name)
            if table is not None:
                yield f"{field.name}.parquet", _parquet(table)

    @classmethod
    def read(cls, store: Store, folder: str) -> "Tables":
        """Those of an output.

        Raises:
            OSError: history or prototypes are not there.
            ValueError: a table is damaged, or has fewer columns than this job gives it.
        """
        found = {}
        for field in fields(cls):
            path = posixpath.join(folder, f"{field.name}.parquet")
            if field.name in REQUIRED or store.version(path):
                found[field.name] = _read(store, path, REQUIRED.get(field.name, 1))
        return cls(**found)


REQUIRED = {"history": 4, "prototypes": 5}  # and how many columns they have, at least


def _read(store: Store, path: str, columns: int) -> pa.Table:
    data = store.read(path)
    try:
        table = whole_table(data)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if table.num_columns < columns:
        raise ValueError(f"{path} has {table.num_columns} columns, expected {columns}")
    return table


def table_names() -> list[str]:
    """The names of all files that there may be."""
    return [f"{field.name}.parquet" for field in fields(Tables)]


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **WRITING)
    return sink.getvalue().to_pybytes()
