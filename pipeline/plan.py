"""What the job will read, settled before it reads a row."""

import hashlib
import io
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf.points import chunk_rows
from pipeline.blocks import BlockRef, plan_blocks
from pipeline.errors import DataError, UsageError
from pipeline.inputs import ColumnNames, Columns, Footer, find_files, read_footers, resolve_columns
from pipeline.rows import to_float64
from pipeline.store import Store


@dataclass(frozen=True)
class Plan:
    """The input, its columns and its blocks."""

    footers: Sequence[Footer]
    columns: Columns
    blocks: Sequence[BlockRef]

    @property
    def rows(self) -> int:
        return sum(footer.rows for footer in self.footers)

    @property
    def nbytes(self) -> int:
        return sum(footer.file.size for footer in self.footers)

    @property
    def row_groups(self) -> int:
        return sum(len(footer.row_groups) for footer in self.footers)

    def fingerprint(self) -> str:
        """Changes when a file is added, removed or rewritten."""
        digest = hashlib.sha256()
        for footer in self.footers:
            file = footer.file
            digest.update(f"{file.path}\0{file.size}\0{file.modified}\n".encode())
        return digest.hexdigest()


def make_plan(store: Store, spec: str, names: ColumnNames) -> Plan:
    """Finds the files and columns and plans the blocks.

    Raises:
        UsageError, DataError: see `find_files`, `read_footers` and `resolve_columns`.
        DataError: there is no row.
    """
    footers = read_footers(store, find_files(store, spec))
    if not any(footer.rows for footer in footers):
        raise DataError(f"--input {spec}: no row in {len(footers)} file(s)")
    columns = resolve_columns(store, footers, names)
    return Plan(footers, columns, plan_blocks(footers, chunk_rows(columns.dimension)))


@dataclass(frozen=True)
class GivenPrototypes:
    """Prototypes to start from.

    Attributes:
        rows: (k, d) float64, in the input's units.
        labels: (k,) int32.
    """

    rows: np.ndarray
    labels: np.ndarray


def read_prototypes(store: Store, path: str, columns: Columns) -> GivenPrototypes:
    """Reads `--init PATH`: a Parquet or npy file of prototypes, or an earlier output folder.

    Raises:
        UsageError: there are none, they are not finite, or not of the features' width.
    """
    file = posixpath.join(path, "prototypes.parquet") if store.is_folder(path) else path
    if not store.version(file):
        raise UsageError(f"--init {path}: no such file, nor k-means++ or random")
    try:
        rows, labels = _read_prototypes(store.read(file), columns, npy=file.endswith(".npy"))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UsageError(f"--init {file}: not prototypes: {str(error).splitlines()[0]}") from error
    if rows.ndim != 2 or rows.shape[1] != columns.dimension:
        raise UsageError(
            f"--init {file}: prototypes of shape {rows.shape}, expected (k, {columns.dimension})"
        )
    if not (len(rows) and np.isfinite(rows).all()):
        raise UsageError(f"--init {file}: prototypes must be finite numbers, at least one row")
    if len(set(labels.tolist())) < len(labels):
        raise UsageError(f"--init {file}: two prototypes have the same label")
    return GivenPrototypes(rows, labels)


def _read_prototypes(data: bytes, columns: Columns, *, npy: bool) -> tuple[np.ndarray, np.ndarray]:
    if npy:
        rows = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
        return rows, np.arange(len(rows), dtype=np.int32)
    table = pq.read_table(pa.BufferReader(data))
    labels = np.arange(len(table), dtype=np.int32)
    if "label" in table.column_names:
        labels = table.column("label").to_numpy().astype(np.int32)
    named = [table.column(name).combine_chunks() for name in columns.features]
    if columns.is_list:
        return np.array(named[0].to_pylist(), np.float64), labels
    return np.stack([to_float64(column) for column in named], 1), labels
