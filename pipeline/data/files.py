"""Which files are read, and what each says of itself."""

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


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: its schema, and how many rows each row group has."""

    file: FileVersion
    schema: pa.Schema
    row_groups: tuple[int, ...]


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
        schemas: dict[pa.Schema, int] = {}
        schema, rows, ends = array("i"), array("q"), array("q")

        def taken() -> Iterator[FileVersion]:
            last = None
            for footer in footers:
                if last is None or last != footer.schema:  # which is known sooner than its hash
                    last = footer.schema
                    number = schemas.setdefault(last, len(schemas))
                schema.append(number)
                rows.extend(footer.row_groups)
                ends.append(len(rows))
                yield footer.file

        self.files = FileTable.of(taken())
        self.schemas, self.schema = tuple(schemas), np.array(schema)
        self.row_groups, self.ends = np.array(rows), np.array(ends)

    def __len__(self) -> int:
        return len(self.files)

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
        return Footer(file, parquet.schema_arrow.remove_metadata(), groups)
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error
