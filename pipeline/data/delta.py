"""Delta tables: which files a version has, by the `deltalake` package."""

import contextlib
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.data.snapshot import Snapshot, folders, path_of, unreadable
from pipeline.data.store import Store
from pipeline.errors import DataError

_LOG = "_delta_log"
_NOT_IN_URIS = re.compile(r"[%\\\x00-\x1f\x7f]")
_MAPPING = "delta.columnMapping.mode"
_ADVICE = "run REORG TABLE … APPLY (PURGE) on it first"


def read_snapshot(store: Store, folder: str) -> Snapshot:
    """The latest version of a table.

    Raises:
        DataError: its files cannot be taken as they are, or its log not be read.
    """
    try:
        with _local(store, folder) as here:
            table = DeltaTable(here)
            _check(table, folder)
            actions = pa.table(table.get_add_actions(flatten=True))
    except (DeltaError, ValueError) as error:
        raise unreadable("Delta table", folder, error) from error
    names = table.metadata().partition_columns
    values = [actions[f"partition.{name}"].cast(pa.string()).to_pylist() for name in names]
    below = [folders(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    paths = [path_of(folder, path) for path in actions["path"].to_pylist()]
    files = zip(paths, below or [""] * len(paths), strict=True)
    version, schema = f"version {table.version()}", pa.schema(table.schema().to_arrow())
    stored = pa.schema([field for field in schema if field.name not in names])
    return Snapshot("Delta table", folder, version, tuple(sorted(files)), stored, tuple(names))


@contextlib.contextmanager
def _local(store: Store, folder: str) -> Iterator[str]:
    """A local folder with the log of a table: its own, or a temporary one.

    The package takes a path for a URI: it unescapes it, and stumbles over some characters.
    """
    if store.is_local(folder) and not _NOT_IN_URIS.search(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as copy:
        store.download(posixpath.join(folder, _LOG), Path(copy, _LOG))
        yield copy


def _check(table: DeltaTable, folder: str) -> None:
    """Raises a DataError where a file is not what its part of the table is."""
    mode = table.metadata().configuration.get(_MAPPING, "none")
    if mode != "none":
        raise DataError(
            f"the columns of the Delta table {folder} have other names in its files "
            f"({_MAPPING} is {mode}): write it again without"
        )
    if _has_deleted(table):
        raise DataError(
            f"rows of the Delta table {folder} are deleted by vectors beside its files: {_ADVICE}"
        )


def _has_deleted(table: DeltaTable) -> bool:
    try:
        return any(batch.num_rows for batch in pa.table(table.deletion_vectors()).to_batches())
    except DeltaError:  # one that could not be read
        return True
