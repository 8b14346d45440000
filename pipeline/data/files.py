"""Which files are read, and what each says of itself."""

import contextlib
import json
import posixpath
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from pipeline.data.file_table import FileTable
from pipeline.data.footers import read_footer
from pipeline.data.foreign import is_foreign, recognised
from pipeline.data.lazy import LazySequence
from pipeline.data.names import split_list
from pipeline.data.partitions import folders_of
from pipeline.data.store import FileVersion, Store, escaped, is_hidden
from pipeline.data.streams import in_order
from pipeline.errors import DataError, UsageError

FILE_THREADS = 16
_AHEAD = 4 * FILE_THREADS
_INDEX = b"index"
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
_SUFFIX = ".parquet"
_NAMED_FILES = 3


Tell = Callable[[str], None]


def silent(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: its schema, and how many rows each row group has.

    Of what else a schema carries it keeps which columns are the index of a pandas table.
    """

    file: FileVersion
    schema: pa.Schema
    row_groups: tuple[int, ...]

    @property
    def index(self) -> tuple[str, ...]:
        """The columns that are the index of a pandas table."""
        return tuple(json.loads((self.schema.metadata or {}).get(_INDEX, b"[]")))


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


def find_files(store: Store, spec: str, tell: Tell = silent) -> FileTable:
    """The files of a comma-separated list of files, globs and folders, each real file once.

    A comma in a name is written as `\\,`. A folder stands for the `*.parquet` files below it,
    hidden names left out; a glob may name folders too.

    Args:
        tell: takes a line for the user, where files of a folder are left out.

    Raises:
        UsageError: nothing is named.
        DataError: a part matches nothing, a link leads nowhere, or a name is no text.
    """
    parts = split_list(spec)
    if not parts:
        raise UsageError(f"--input {spec!r} names no file, glob or folder")
    return FileTable.of(_each_once(store, parts, tell))


def _each_once(store: Store, parts: Iterable[str], tell: Tell) -> Iterator[FileVersion]:
    """The files that parts of the input stand for; of their path below it they keep the folders."""
    seen: set[tuple[str, str]] = set()
    for part in map(store.plain, parts):
        try:
            files, others = _expand(store, part)
        except PermissionError as error:
            raise DataError(f"--input {part}: {error}") from error
        if not files:
            raise DataError("--input " + "; ".join(_nothing(store, part, others)))
        for line in _left_out(others):
            tell(f"--input {part}: {line}")
        for file in files:
            place = store.place(file.path)
            if place not in seen:
                seen.add(place)
                yield replace(file, below=folders_of(file))


def _expand(store: Store, part: str) -> tuple[list[FileVersion], list[FileVersion]]:
    """The files that a part stands for, and the other files of its folders."""
    file = store.version(part)
    if file:
        return [replace(file, below=posixpath.basename(part))], []
    _check_link(store, part)
    if store.is_folder(part):
        return _tables(store, part)
    files: list[FileVersion] = []
    others: list[FileVersion] = []
    if set("*?[") & set(part):
        files += store.glob(part)
        for folder, below in store.glob_folders(part):
            for found, of_folder in zip((files, others), _tables(store, folder), strict=True):
                found += (replace(f, below=posixpath.join(below, f.below)) for f in of_folder)
    for file in files:
        _check_file(store, file)
    return sorted(files, key=lambda file: file.path), others


def _nothing(store: Store, part: str, others: Sequence[FileVersion]) -> list[str]:
    """Why a part stands for nothing; a file of another format is told how to convert."""
    if not store.is_folder(part):
        return [f"{part}: no file matches", *_left_out(others)]
    foreign = next((file for file in others if is_foreign(file.below)), None)
    known = recognised(store.head(foreign)) if foreign else None
    seen = [f"{escaped(foreign.below)} is {known}"] if foreign and known else _left_out(others)
    return [f"{part}: no *{_SUFFIX} file in or below this folder", *seen]


def _tables(store: Store, folder: str) -> tuple[list[FileVersion], list[FileVersion]]:
    """The tables below a folder, and the other files there; neither has hidden ones."""
    files = [f for f in store.files(folder, recursive=True) if not _any_hidden(f.below)]
    for file in files:
        _check_file(store, file)
    tables = [file for file in files if file.path.endswith(_SUFFIX)]
    return tables, [file for file in files if not file.path.endswith(_SUFFIX)]


def _any_hidden(path: str) -> bool:
    return any(map(is_hidden, path.split("/")))


def _left_out(files: Sequence[FileVersion]) -> list[str]:
    """What is said of files of a folder that are no tables by their name, if there are any."""
    if not files:
        return []
    names = ", ".join(escaped(file.below) for file in files[:_NAMED_FILES])
    more = f" and {len(files) - _NAMED_FILES:,} more" if len(files) > _NAMED_FILES else ""
    return [f"left out for not ending in {_SUFFIX}: {names}{more}"]


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
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error


def _schema(schema: pa.Schema) -> pa.Schema:
    """A schema of which nothing is left but the types and which columns are a pandas index."""
    noted = _pandas_index((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in schema.names if name in noted or _UNNAMED_INDEX.fullmatch(name)]
    plain = pa.schema([field.remove_metadata() for field in schema])
    return plain.with_metadata({_INDEX: json.dumps(index)}) if index else plain


def _pandas_index(note: bytes) -> list[str]:
    """The columns that are the index by pandas' note; an index that is a range is none."""
    with contextlib.suppress(ValueError, LookupError, TypeError):  # whoever wrote the note
        return [name for name in json.loads(note)["index_columns"] if isinstance(name, str)]
    return []
