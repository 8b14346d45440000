"""Which files are read, and what each says of itself."""

import contextlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from pipeline.data.file_table import FileTable
from pipeline.data.footers import read_footer
from pipeline.data.lazy import LazySequence
from pipeline.data.names import split_list
from pipeline.data.store import HIDDEN, FileVersion, Store
from pipeline.data.streams import in_order
from pipeline.errors import DataError, UsageError

FILE_THREADS = 16
_AHEAD = 4 * FILE_THREADS
_INDEX = b"index"


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


def find_files(store: Store, spec: str) -> FileTable:
    """The files of a comma-separated list of files, globs and folders, each file once.

    A comma in a name is written as `\\,`. A folder stands for the `*.parquet` files below it,
    names that begin with `_` or `.` left out.

    Raises:
        UsageError: nothing is named.
        DataError: a part matches nothing.
    """
    parts = split_list(spec)
    if not parts:
        raise UsageError(f"--input {spec!r} names no file, glob or folder")
    return FileTable.of(_each_once(store, parts))


def _each_once(store: Store, parts: Iterable[str]) -> Iterator[FileVersion]:
    """The files that parts of the input stand for; of their path below it they keep the folders."""
    seen: set[tuple[str, str]] = set()
    for part in parts:
        for file in _expand(store, store.plain(part)):
            place = store.place(file.path)
            if place not in seen:
                seen.add(place)
                yield replace(file, below=file.below[: file.below.rfind("/") + 1])


def _expand(store: Store, part: str) -> list[FileVersion]:
    file = store.version(part)
    if file:
        return [file]
    if store.is_folder(part):
        below = [f for f in store.files(part, recursive=True) if _is_table(f.below)]
        if not below:
            raise DataError(f"--input {part}: no *.parquet file in or below this folder")
        return below
    matches = store.glob(part) if set("*?[") & set(part) else []
    if not matches:
        raise DataError(f"--input {part}: no file matches")
    return matches


def _is_table(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].endswith(".parquet") and not any(p.startswith(HIDDEN) for p in parts)


def read_footers(store: Store, files: Sequence[FileVersion]) -> Footers:
    """The footers of all files, many at a time.

    Raises:
        DataError: a file is not a complete Parquet file.
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
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error


def _schema(schema: pa.Schema) -> pa.Schema:
    """A schema of which nothing is left but the types and which columns are a pandas index."""
    index = _pandas_index((schema.metadata or {}).get(b"pandas", b"{}"))
    plain = pa.schema([field.remove_metadata() for field in schema])
    return plain.with_metadata({_INDEX: json.dumps(index)}) if index else plain


def _pandas_index(note: bytes) -> list[str]:
    """The columns that are the index by pandas' note; an index that is a range is none."""
    with contextlib.suppress(ValueError, AttributeError):  # whoever wrote the note
        return [name for name in json.loads(note).get("index_columns", ()) if isinstance(name, str)]
    return []
