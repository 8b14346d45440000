"""Which files are read, and what each says of itself."""

import contextlib
import glob
import json
import posixpath
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data import dbio
from pipeline.data.file_table import FileTable
from pipeline.data.footers import is_parquet, read_footer
from pipeline.data.foreign import is_foreign, recognised
from pipeline.data.lazy import LazySequence
from pipeline.data.names import split_list
from pipeline.data.partitions import folders_of, partition_values
from pipeline.data.snapshot import Snapshot, folders
from pipeline.data.store import FileVersion, Store, escaped, is_hidden
from pipeline.data.streams import in_order
from pipeline.data.table_logs import TableLogs, is_below
from pipeline.errors import DataError, UsageError

FILE_THREADS = 16
_AHEAD = 4 * FILE_THREADS
_NO_MEASURES = b"no measures"
_EXTENSION = b"ARROW:extension:name"  # stays in a field's metadata where the type is not known
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
_SUFFIXES = (".parquet", ".parq", ".pq")  # in any case
_SUFFIXES_TOLD = ".parquet, .parq or .pq"
_NAMED_FILES = 3


Tell = Callable[[str], None]


def silent(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: its schema, and how many rows each row group has.

    Of what else a schema carries it keeps which columns are numbers that measure nothing.
    """

    file: FileVersion
    schema: pa.Schema
    row_groups: tuple[int, ...]

    @property
    def no_measures(self) -> tuple[str, ...]:
        """The columns whose numbers stand for something else, as pandas' index and periods."""
        return tuple(json.loads((self.schema.metadata or {}).get(_NO_MEASURES, b"[]")))


class Footers(LazySequence[Footer]):
    """The footers of many files, in little memory.

    Attributes:
        files: whose they are.
        schemas: those that differ, each once.
        schema: (f,) int32, which of these each file has.
        row_groups: (g,) int64, the rows of each row group of all files.
        ends: (f,) int64, the place behind each file's last row group.
    """

    def __init__(self, footers: Iterable[Footer]) -> None:
        schemas: dict[tuple[pa.Schema, str], int] = {}
        schema, rows, ends = array("i"), array("q"), array("q")

        def taken() -> Iterator[FileVersion]:
            last = None
            for footer in footers:
                # Whether they are equal is known sooner than a hash.
                if last is None or not footer.schema.equals(last, check_metadata=True):
                    last = footer.schema
                    number = schemas.setdefault((last, str(last.metadata)), len(schemas))
                schema.append(number)
                rows.extend(footer.row_groups)
                ends.append(len(rows))
                yield footer.file

        self.files = FileTable.of(taken())
        self.schemas, self.schema = tuple(s for s, _ in schemas), np.array(schema)
        self.row_groups, self.ends = np.array(rows), np.array(ends)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def rows(self) -> np.ndarray:
        """(f,) int64, of each file."""
        return np.diff(np.append(0, np.cumsum(self.row_groups))[np.append(0, self.ends)])

    def item(self, place: int) -> Footer:
        groups = self.row_groups[self.ends[place - 1] if place else 0 : self.ends[place]]
        schema = self.schemas[self.schema[place]]
        return Footer(self.files[place], schema, tuple(groups.tolist()))


@dataclass(frozen=True)
class Found:
    """What `--input` stands for: files, and the tables whose logs told which."""

    files: FileTable
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def columns(self) -> Footers:
        """What the logs say of the columns of tables without files, as of a file of no rows each.

        Raises:
            DataError: one does not say it.
        """
        untold = [table for table in self.snapshots if table.schema is None]
        if untold:
            raise DataError(
                f"the log of the {untold[0]} lists no valid file, and tells no columns for an "
                "answer without rows: run again when it lists one"
            )
        return Footers(map(_of_no_rows, self.snapshots))

    def completed(self, footers: Footers) -> Footers:
        """The same, of which each file of a table has the columns that this was given later.

        They are null there. What stands in the folders of the files is left to these.
        """
        folders = footers.files.folders
        given = {name for below in folders for name, _ in partition_values(below)}
        tables = [(table, _columns_of(table, given)) for table in self.snapshots]
        added = {
            path: columns
            for table, columns in tables
            if any(not {*columns} <= {*schema.names} for schema in footers.schemas)
            for path, _ in table.files
        }
        return Footers(_completed(footer, added) for footer in footers) if added else footers


def _columns_of(table: Snapshot, given: Collection[str]) -> dict[str, pa.Field]:
    """The columns of a table that are null in files without them."""
    fields = _schema(table.schema) if table.schema else ()
    other = {*given, *table.partitions, *table.unsure}
    return {field.name: field for field in fields if field.name not in other}


def _completed(footer: Footer, added: Mapping[str, Mapping[str, pa.Field]]) -> Footer:
    schema = footer.schema
    there = {name.casefold() for name in schema.names}  # the same column to a table
    for name, field in added.get(footer.file.path, {}).items():
        if name.casefold() not in there:
            schema = schema.append(field)
    return replace(footer, schema=schema)


def _of_no_rows(table: Snapshot) -> Footer:
    below = folders((name, None) for name in table.partitions)
    return Footer(FileVersion(table.folder, 0, 0, below), _schema(table.schema), ())


def find_files(store: Store, spec: str, tell: Tell = silent) -> FileTable:
    """The files of `find_input`."""
    return find_input(store, spec, tell).files


def find_input(store: Store, spec: str, tell: Tell = silent) -> Found:
    """The files of a comma-separated list of files, globs and folders, each real file once.

    A comma in a name is written as `\\,`. A folder stands for the Parquet files below it, hidden
    names left out; a glob may name folders too. Of a table that has a log, or of a part of one, the
    files are those that the log says are valid, and of a folder with markers of transactions those
    that these say are.

    Args:
        tell: takes a line for the user, where files of a folder are left out or a log was read.

    Raises:
        UsageError: nothing is named, or the package that reads a table's log is not installed.
        DataError: a part matches nothing, a link leads nowhere, a name is no text, or a table's
            log or a marker cannot be read.
    """
    parts = split_list(spec)
    if not parts:
        raise UsageError(f"--input {spec!r} names no file, glob or folder")
    logs = TableLogs(store)
    files = FileTable.of(_each_once(store, logs, parts, tell))
    return Found(files, logs.snapshots)


def _each_once(
    store: Store, logs: TableLogs, parts: Iterable[str], tell: Tell
) -> Iterator[FileVersion]:
    """The files that parts of the input stand for, each once."""
    seen: set[tuple[str, str]] = set()
    for part in map(store.plain, parts):
        told = len(logs.snapshots)
        try:
            meant = _expand(store, logs, part)
        except PermissionError as error:
            raise DataError(f"--input {part}: {error}") from error
        if not (meant.files or meant.tables):
            raise DataError("--input " + "; ".join(_nothing(store, part, meant)))
        for line in (*map(str, logs.snapshots[told:]), *_left_out(meant)):
            tell(f"--input {part}: {line}")
        for file in meant.files:
            place = store.place(file.path)
            if place not in seen:
                seen.add(place)
                yield file


@dataclass(frozen=True)
class _Meant:
    """What a part of the input stands for.

    Attributes:
        files: to be read; of their paths below the part they keep the folders.
        tables: whose valid files are all among these, if there are any.
        left: other files of the folders.
        invalid: the paths of files that a transaction has not committed, or has removed.
        strange: the paths of what is neither a file nor a folder there, such as pipes.
    """

    files: Sequence[FileVersion] = ()
    tables: Sequence[str] = ()
    left: Sequence[FileVersion] = ()
    invalid: Sequence[str] = ()
    strange: Sequence[str] = ()


def _expand(store: Store, logs: TableLogs, part: str) -> _Meant:
    file = store.version(part)
    if file:
        table = logs.above(part)
        if table:
            return _Meant(logs.files(table, part))
        if logs.is_invalid(part):
            return _Meant(invalid=[posixpath.basename(part)])
        return _Meant([_kept(replace(file, below=posixpath.basename(part)))])
    _check_link(store, part)
    if store.is_folder(part):
        return _of_folder(store, logs, part, logs.above(part))
    return _matching(store, logs, part) if set("*?[") & set(part) else _Meant()


def _matching(store: Store, logs: TableLogs, pattern: str) -> _Meant:
    matches = store.match(pattern)
    found, above = matches.found, matches.found.folder
    tables = logs.marked(above, matches.listed.below)
    around = logs.above(posixpath.join(above, "*"))

    def table_of(path: str) -> str | None:
        return next((table for table in tables if is_below(path, table)), around)

    plain = [file for file in found.files if not table_of(file.path)]
    invalid = dbio.invalid(store, matches.listed.files, plain)
    valid = [file for file in found.files if file.path not in invalid]
    files = _valid(logs, pattern, valid, table_of)
    for file in files:
        _check_file(store, file)
    paths = [(posixpath.join(above, below), below) for below in found.folders]
    parts = [_of_folder(store, logs, path, table_of(path), below) for path, below in paths]

    def every(what: str) -> list[Any]:
        return [each for part in parts for each in getattr(part, what)]

    return _Meant(
        files=sorted([*files, *every("files")], key=lambda file: file.path),
        tables=every("tables"),
        left=every("left"),
        invalid=[*(file.below for file in plain if file.path in invalid), *every("invalid")],
        strange=[*found.others, *every("strange")],
    )


def _valid(
    logs: TableLogs,
    pattern: str,
    files: Sequence[FileVersion],
    table_of: Callable[[str], str | None],
) -> list[FileVersion]:
    """Those that match a pattern and that the logs of their tables name, if they are of any."""
    tables = [table_of(file.path) for file in files]
    valid = {table: {f.path: f for f in logs.files(table, table)} for table in {*tables} if table}
    kept = [
        valid[table][file.path] if table else _kept(file)
        for file, table in zip(files, tables, strict=True)
        if table is None or file.path in valid[table]
    ]
    if valid and not kept:
        raise logs.nothing(min(valid), pattern)
    return kept


def _of_folder(
    store: Store, logs: TableLogs, folder: str, table: str | None, below: str = ""
) -> _Meant:
    """The Parquet files below a folder, and what else is there; neither has hidden ones.

    Args:
        table: that the folder lies in.
        below: where it lies below the wildcard that found it.
    """
    listing = store.listing(folder, recursive=True)
    tables = logs.marked(folder, listing.below)
    if table and tables != [folder]:
        return _Meant(logs.files(table, folder))

    def is_seen(path: str) -> bool:
        whole = posixpath.join(folder, path)
        return not (_any_hidden(path) or any(is_below(whole, table) for table in tables))

    files = [
        replace(file, below=posixpath.join(below, file.below))
        for file in listing.files
        if is_seen(file.below)
    ]
    for file in files:
        _check_file(store, file)
    parquet = [file for file in files if _is_parquet(file)]
    invalid = dbio.invalid(store, listing.files, parquet)
    read = [_kept(file) for file in parquet if file.path not in invalid]
    for each in tables:
        read += logs.files(each, each)
    return _Meant(
        files=sorted(read, key=lambda file: file.path),
        tables=tables,
        left=[file for file in files if not _is_parquet(file)],
        invalid=[file.below for file in parquet if file.path in invalid],
        strange=[posixpath.join(below, path) for path in filter(is_seen, listing.others)],
    )


def _is_parquet(file: FileVersion) -> bool:
    return file.path.lower().endswith(_SUFFIXES)


def _kept(file: FileVersion) -> FileVersion:
    """A file that of its path below the input keeps the folders."""
    return replace(file, below=folders_of(file))


def _nothing(store: Store, part: str, meant: _Meant) -> list[str]:
    """Why a part stands for nothing."""
    if meant.invalid:
        return [f"{part}: no valid file", *_left_out(meant)]
    if not store.is_folder(part):
        there = store.is_there(part)
        why = "this is neither a file nor a folder" if there else "no file matches"
        return [f"{part}: {why}", *_left_out(meant)]
    why = f"no file ending in {_SUFFIXES_TOLD} in or below this folder"
    return [f"{part}: {why}", *_seen(store, part, meant)]


def _seen(store: Store, folder: str, meant: _Meant) -> list[str]:
    """What the files of a folder are, by one of them, and what to do."""
    if not meant.left:
        return _left_out(meant)
    one = next((file for file in meant.left if is_foreign(file.below)), meant.left[0])
    head = store.head(one)
    known = recognised(head)
    if known:
        return [f"{escaped(one.below)} is {known}"]
    if not is_parquet(head):
        return _left_out(meant)
    pattern = glob.escape(folder.rstrip("/")) + "/*" * len(one.below.split("/"))
    return [*_left_out(meant), "to read them, name " + pattern.replace(",", "\\,")]


def _any_hidden(path: str) -> bool:
    return any(map(is_hidden, path.split("/")))


def _left_out(meant: _Meant) -> list[str]:
    """What is said of what lies in folders and is not read, if there is any."""
    reasons = {
        f"not ending in {_SUFFIXES_TOLD}": [file.below for file in meant.left],
        "being uncommitted or removed by a transaction": meant.invalid,
        "being neither files nor folders": meant.strange,
    }
    told = [f"for {why}: {_some(names)}" for why, names in reasons.items() if names]
    return [f"left out {' and '.join(told)}"] if told else []


def _some(names: Sequence[str]) -> str:
    shown, more = ", ".join(map(escaped, names[:_NAMED_FILES])), len(names) - _NAMED_FILES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _check_file(store: Store, file: FileVersion) -> None:
    if not file.size:  # as a link to nothing has it
        _check_link(store, file.path)


def _check_link(store: Store, path: str) -> None:
    target = store.lost(path)
    if target is not None:
        link = f"{escaped(path)} is a link to {escaped(target)}"
        raise DataError(f"--input {link}, which is not there")


def read_footers(store: Store, files: Sequence[FileVersion]) -> Footers:
    """The footers of all files, many at a time.

    Raises:
        DataError: a file is not a complete Parquet file, or may not be read.
    """
    with ThreadPoolExecutor(FILE_THREADS) as pool:
        tasks = ((1, partial(_read_footer, store, file)) for file in files)
        return Footers(in_order(pool, tasks, _AHEAD))


def _read_footer(store: Store, file: FileVersion) -> Footer:
    try:
        parquet = read_footer(store, file)
        meta = parquet.metadata
        groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
        return Footer(file, _schema(parquet.schema_arrow), groups)
    except PermissionError as error:
        raise DataError(f"{file.path} may not be read: permission denied") from error
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        known = recognised(store.head(file))
        if known:
            raise DataError(f"{file.path} is {known}") from error
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{file.path} is not a complete Parquet file: {reason}: write it again"
        ) from error


def _schema(schema: pa.Schema) -> pa.Schema:
    """A schema of which nothing is left but the types and which columns measure nothing."""
    noted = _noted((schema.metadata or {}).get(b"pandas", b"{}"))
    apart = [
        field.name
        for field in schema
        if field.name in noted
        or _UNNAMED_INDEX.fullmatch(field.name)
        or _EXTENSION in (field.metadata or {})
    ]
    plain = pa.schema([field.remove_metadata() for field in schema])
    return plain.with_metadata({_NO_MEASURES: json.dumps(apart)}) if apart else plain


def _noted(note: bytes) -> set[str]:
    """The columns that are the index or categories by pandas' note; an index may be no column."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):  # anyone's note
        told = json.loads(note)
        columns = (c for c in told.get("columns", ()) if c["pandas_type"] == "categorical")
        names = (column.get("field_name", column["name"]) for column in columns)
        return {name for name in (*told["index_columns"], *names) if isinstance(name, str)}
    return set()
