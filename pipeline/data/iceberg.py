"""Iceberg tables: which files a snapshot has, by the `pyiceberg` package and without a catalog."""

import io
import posixpath
import re
from collections import defaultdict
from typing import Any, NoReturn

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import FileIO, InputFile, InputStream
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import index_name_by_id
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import NestedField

from pipeline.data.snapshot import Snapshot, folders, unreadable
from pipeline.data.store import Store
from pipeline.errors import DataError, JobError

_METADATA = "metadata"
_HINT = "version-hint.text"
_VERSION = re.compile(r"v?(\d+)(?:-.*)?\.metadata\.json(?:\.gz)?|v?(\d+)\.gz\.metadata\.json")
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)  # as Avro has names; others are escaped in files
_FILE = re.compile(r"^file:/+")


def read_snapshot(store: Store, folder: str) -> Snapshot:
    """The current snapshot of a table, by its newest metadata.

    Raises:
        DataError: its files cannot be taken as they are, or its metadata not be read.
    """
    location, stored = _newest(store, folder), _Stored(store)
    try:
        metadata = FromInputFile.table_metadata(stored.new_input(location))
        table = StaticTable(("table",), metadata, location, stored, NoopCatalog("none"))
        current = table.current_snapshot()
        tasks = [*table.scan().plan_files()] if current else []
    except (PermissionError, JobError):
        raise
    except Exception as error:  # of what is garbled the package may raise anything
        raise unreadable("Iceberg table", folder, error) from error
    _check_names(table, folder)
    for task in tasks:
        if task.delete_files:
            raise DataError(
                f"rows of the Iceberg table {folder} are deleted by files beside its data: run "
                "rewrite_data_files on it first"
            )
        if task.file.file_format != FileFormat.PARQUET:
            raise DataError(f"{task.file.file_path} of the Iceberg table {folder} is no Parquet")
    files = sorted((_path(task.file.file_path), _folders(table, task.file)) for task in tasks)
    number = current.snapshot_id if current else "none"
    columns = table.schema()
    return Snapshot(
        "Iceberg table",
        folder,
        f"snapshot {number}",
        tuple(files),
        columns.as_arrow(),
        unsure=tuple(field.name for field in columns.fields if _is_unsure(field)),
    )


def _is_unsure(field: NestedField) -> bool:
    """Whether files without a column have a default for it, or may spell its name otherwise."""
    return field.initial_default is not None or not _PLAIN.fullmatch(field.name)


class _Stored(FileIO):
    """Files for pyiceberg, by the store."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def new_input(self, location: str) -> InputFile:
        return _StoredFile(self._store, location)

    def new_output(self, location: str) -> NoReturn:
        raise NotImplementedError(f"{location} is only read")

    def delete(self, location: Any) -> NoReturn:
        raise NotImplementedError(f"{location} is only read")


class _StoredFile(InputFile):
    def __init__(self, store: Store, location: str) -> None:
        super().__init__(location)
        self._store, self._path = store, _path(location)

    def __len__(self) -> int:
        file = self._store.version(self._path)
        return file.size if file else 0

    def exists(self) -> bool:
        return self._store.version(self._path) is not None

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(self._store.read(self._path))


def _newest(store: Store, folder: str) -> str:
    """The metadata that a hint names, else those with the highest number.

    A hint that is but a number is where a reader may begin to look for later ones.
    """
    files = store.files(posixpath.join(folder, _METADATA))
    hints = [store.read(f.path).decode(errors="replace").strip() for f in files if f.below == _HINT]
    found = [(match, file) for file in files if (match := _VERSION.fullmatch(file.below))]
    stems = _stems(hints)
    named = [(match, file) for match, file in found if file.below.split(".")[0] in stems]
    if not found:
        raise DataError(f"the Iceberg table {folder} has no metadata with a number in its name")
    if stems and not named:
        told = f"its {_HINT} names metadata that are not there, {hints[0]!r}"
        raise DataError(f"the Iceberg table {folder} cannot be read: {told}")

    def age(entry: tuple[re.Match, Any]) -> tuple[int, int]:
        match, file = entry
        return int(match[1] or match[2]), file.modified

    return max(named or found, key=age)[1].path


def _stems(hints: list[str]) -> set[str]:
    return {hint.split(".")[0] for hint in hints if not hint.removeprefix("v").isdigit()}


def _path(location: str) -> str:
    """A path as Iceberg writes it: a URI, but nothing is escaped."""
    local = _FILE.sub("/", location)
    return local if local.startswith("/") else Store.plain(location)


def _check_names(table: StaticTable, folder: str) -> None:
    """Raises a DataError if a column's name in a file may be another's in the table.

    Columns are told by numbers; of a name that was changed, or given again, files know the old one.
    """
    names: defaultdict[Any, set] = defaultdict(set)
    for schema in table.metadata.schemas:
        for number, name in index_name_by_id(schema).items():
            names[number].add(name)
            names[name].add(number)
    for one, several in names.items():
        if len(several) > 1:
            which = " and ".join(sorted(map(repr, several if isinstance(one, int) else {one})))
            raise DataError(
                f"a column of the Iceberg table {folder} was renamed or made anew ({which}), which "
                "its older files do not know: write it again"
            )


def _folders(table: StaticTable, file: DataFile) -> str:
    """What columns are to a partition as they are; files that were taken over lack these."""
    schema, values = table.schema(), []
    for place, field in enumerate(table.specs()[file.spec_id].fields):
        name = schema.find_column_name(field.source_id)
        if isinstance(field.transform, IdentityTransform) and name is not None:
            value, kind = file.partition[place], schema.find_type(field.source_id)
            text = None if value is None else field.transform.to_human_string(kind, value)
            values.append((name, text))
    return folders(values)
