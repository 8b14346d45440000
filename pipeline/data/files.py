"""Which files are read, and what each says of itself."""

from array import array
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from pipeline.data.footers import read_footer
from pipeline.data.foreign import is_foreign, recognised
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

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


class Footers(LazySequence[Footer]):
    """The footers of many files, in little memory; equal schemas are one object."""

    def __init__(self, footers: Iterable[Footer]) -> None:
        schemas: dict[pa.Schema, pa.Schema] = {}
        self._files: list[FileVersion] = []
        self._schemas: list[pa.Schema] = []
        self._rows, self._ends = array("q"), array("q", [0])
        for footer in footers:
            self._files.append(footer.file)
            self._schemas.append(schemas.setdefault(footer.schema, footer.schema))
            self._rows.extend(footer.row_groups)
            self._ends.append(len(self._rows))

    def __len__(self) -> int:
        return len(self._files)

    def item(self, place: int) -> Footer:
        groups = self._rows[self._ends[place] : self._ends[place + 1]]
        return Footer(self._files[place], self._schemas[place], tuple(groups))


def find_files(store: Store, spec: str) -> list[FileVersion]:
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
    by_place: dict[tuple[str, str], FileVersion] = {}
    for part in parts:
        for file in _expand(store, store.plain(part)):
            by_place.setdefault(store.place(file.path), file)
    return _in_folders(by_place.values())


def _in_folders(files: Collection[FileVersion]) -> list[FileVersion]:
    """Files that keep of their path below the input the folders, one string for equal ones."""
    folders: dict[str, str] = {}
    heads = (file.below[: file.below.rfind("/") + 1] for file in files)
    shared = (folders.setdefault(head, head) for head in heads)
    return [replace(file, below=below) for file, below in zip(files, shared, strict=True)]


def _expand(store: Store, part: str) -> list[FileVersion]:
    file = store.version(part)
    if file:
        return [file]
    if store.is_folder(part):
        files = store.files(part, recursive=True)
        below = [f for f in files if _is_table(f.below)]
        if not below:
            raise DataError(f"--input {part}: {_no_table(store, files)}")
        return below
    matches = store.glob(part) if set("*?[") & set(part) else []
    if not matches:
        raise DataError(f"--input {part}: no file matches")
    return matches


def _no_table(store: Store, files: Sequence[FileVersion]) -> str:
    """What is wrong with a folder without a table; one of another format is told how to convert."""
    foreign = next((file for file in files if is_foreign(file.below)), None)
    known = recognised(store.head(foreign)) if foreign else None
    return "no *.parquet file in or below this folder" + (
        f"; {foreign.below} is {known}" if foreign and known else ""
    )


def _is_table(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].endswith(".parquet") and not any(p.startswith(HIDDEN) for p in parts)


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
        return Footer(file, parquet.schema_arrow.remove_metadata(), groups)
    except PermissionError as error:
        raise DataError(f"{file.path} may not be read: permission denied") from error
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        known = recognised(store.head(file))
        if known:
            raise DataError(f"{file.path} is {known}") from error
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error
