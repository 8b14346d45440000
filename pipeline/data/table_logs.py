"""Tables whose log tells which files are valid: what else lies there may be stale."""

import importlib
import os
import posixpath
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.data import dbio
from pipeline.data.snapshot import Snapshot
from pipeline.data.store import FileVersion, Store, escaped, is_hidden
from pipeline.errors import DataError, UsageError

_THREADS = 16
_PACKAGES = {"delta": "deltalake", "iceberg": "pyiceberg"}  # by module and extra


@dataclass(frozen=True)
class _Format:
    """A kind of table.

    Attributes:
        name: what a table of the kind is called.
        mark: the path below a table's folder by which it is known; that of a folder ends with a
            slash.
        module: what reads the log; None if nothing does.
    """

    name: str
    mark: str
    module: str | None = None


# Where a folder is of two kinds, one was made of the other, and the first is read.
_FORMATS = (
    _Format("Delta table", r"_delta_log/.*", "delta"),
    _Format("Iceberg table", r"metadata/[^/]+\.metadata\.json(?:\.gz)?", "iceberg"),
    _Format("streaming sink", r"_spark_metadata/.*", "streaming_sink"),
    _Format("Hudi table", r"\.hoodie/.*|\.hoodie_partition_metadata(?:\.\w+)?"),
    _Format("Paimon table", r"snapshot/snapshot-\d+"),
    _Format("transactional Hive table", r"(?:base|(?:delete_)?delta_\d{7})_\d{7}[^/]*/[^/]+"),
    _Format("DuckLake table", r"ducklake-[0-9a-f-]{36}\.parquet"),
)
_MARK = re.compile(rf"(?:^|/)(?:{'|'.join(f'({known.mark})' for known in _FORMATS)})$", re.S)
_MARK_FOLDERS = ("_delta_log", "metadata", "_spark_metadata", ".hoodie", "snapshot")


class TableLogs:
    """The tables that files belong to; the log of each is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Format] = {}
        self._tables: dict[str, str | None] = {}  # that a folder is or lies in
        self._snapshots: dict[str, Snapshot] = {}
        self._files: dict[str, list[FileVersion]] = {}
        self._invalid: dict[str, set[str]] = {}  # of the files in a folder

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """Those that were read, in this order."""
        return tuple(self._snapshots.values())

    def above(self, path: str) -> str | None:
        """The nearest table that a file or folder lies in, whatever links lead to it."""
        named = self.marked(posixpath.dirname(path), [posixpath.basename(path)])
        if named:
            return named[0]
        paths = [path, os.path.realpath(path)] if self._store.is_local(path) else [path]
        tables = (self._around(posixpath.dirname(each)) for each in dict.fromkeys(paths))
        return next((table for table in tables if table), None)

    def marked(self, folder: str, below: Iterable[str]) -> list[str]:
        """The outermost tables that files and folders below a folder mark."""
        found: dict[str, _Format] = {}
        for path in (f"{folder.rstrip('/')}/{name}" for name in below):
            match = _MARK.search(path)
            if match and not any(map(is_hidden, path[len(folder) : match.start()].split("/"))):
                kind, table = _kind(match), path[: match.start()] or "/"
                found[table] = min(found.get(table, kind), kind, key=_FORMATS.index)
        tables = [t for t in sorted(found) if not any(is_below(t, other) for other in found)]
        self._known |= {table: found[table] for table in tables}
        return tables

    def files(self, table: str, part: str) -> list[FileVersion]:
        """The valid files of a table that are, or lie in, a part of it; all for the table itself.

        What they have as `below` are folders with their partition values.

        Raises:
            UsageError: the package that reads the log is not installed.
            DataError: none is valid in a part, one is not there, or the log is not read.
        """
        if table not in self._files:
            self._files[table] = self._versions(self._snapshot(table))
        files = self._files[table]
        if table == part:
            return files
        files = [file for file in files if self._store.inside(file.path, part)]
        if not files:
            raise self.nothing(table, part)
        return files

    def nothing(self, table: str, part: str) -> DataError:
        """That of a part of a table no file is valid."""
        return DataError(f"--input {part}: the {self._snapshots[table]} has no file here")

    def is_invalid(self, path: str) -> bool:
        """Whether a file that a transaction wrote is not valid by the markers beside it."""
        folder = posixpath.dirname(path)
        if not dbio.transaction_of(path):
            return False
        if folder not in self._invalid:
            try:
                listed = self._store.files(folder)
            except OSError:  # a user has the right to the file alone
                listed = []
            self._invalid[folder] = dbio.invalid(self._store, listed, listed)
        return path in self._invalid[folder]

    def _around(self, folder: str) -> str | None:
        """The nearest table that a folder is or lies in."""
        if folder not in self._tables:
            kind, above = self._kind_of(folder), posixpath.dirname(folder)
            if kind:
                self._known[folder] = kind
            is_top = above == folder or ("://" in folder and "://" not in above)
            self._tables[folder] = folder if kind else None if is_top else self._around(above)
        return self._tables[folder]

    def _kind_of(self, folder: str) -> _Format | None:
        """Which kind of table has this folder; none where it may not be looked at."""
        found = []
        for name in _MARK_FOLDERS:
            try:
                listing = self._store.listing(posixpath.join(folder, name))
            except OSError:  # there is none, or a user has the right to the part alone
                continue
            matches = (_MARK.match(f"{name}/{below}") for below in ("", *listing.below))
            found += [_kind(match) for match in matches if match]
        return min(found, key=_FORMATS.index, default=None)

    def _snapshot(self, table: str) -> Snapshot:
        kind = self._known[table]
        if kind.module is None:
            raise DataError(
                f"{table} is a {kind.name}: which of its files are valid is told by a log that is "
                "not read: write it as plain Parquet first"
            )
        try:
            reader = importlib.import_module(f"pipeline.data.{kind.module}")
        except ModuleNotFoundError as error:
            if kind.module not in _PACKAGES or (error.name or "").startswith("pipeline"):
                raise
            raise UsageError(
                f"{table} is a {kind.name}, which the package {_PACKAGES[kind.module]} reads: "
                f"pip install 'kmeans-tf[{kind.module}]'"
            ) from error
        self._snapshots[table] = reader.read_snapshot(self._store, table)
        return self._snapshots[table]

    def _versions(self, snapshot: Snapshot) -> list[FileVersion]:
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(self._store.version, (path for path, _ in snapshot.files))
            return [
                _there(file, path, below, snapshot)
                for file, (path, below) in zip(found, snapshot.files, strict=True)
            ]


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies somewhere below a folder, both as they are spelt."""
    return path.startswith(f"{folder.rstrip('/')}/")


def _there(file: FileVersion | None, path: str, below: str, snapshot: Snapshot) -> FileVersion:
    if file is None:
        raise DataError(f"{escaped(path)}, a file of the {snapshot}, is not there")
    return replace(file, below=below)


def _kind(match: re.Match) -> _Format:
    assert match.lastindex is not None
    return _FORMATS[match.lastindex - 1]
