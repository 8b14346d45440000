"""Which files are read, and what each says of itself."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipeline.data.footers import read_footer
from pipeline.data.names import split_list
from pipeline.data.store import HIDDEN, FileVersion, Store
from pipeline.errors import DataError, UsageError

FILE_THREADS = 16


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    file: FileVersion
    schema: pa.Schema
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


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
    return list(by_place.values())


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


def read_footers(store: Store, files: Sequence[FileVersion]) -> list[Footer]:
    """The footers of all files.

    Raises:
        DataError: a file is not a complete Parquet file.
    """
    with ThreadPoolExecutor(FILE_THREADS) as pool:
        return list(pool.map(lambda file: _read_footer(store, file), files))


def _read_footer(store: Store, file: FileVersion) -> Footer:
    try:
        parquet = read_footer(store, file)
        meta = parquet.metadata
        groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
        return Footer(file, parquet.schema_arrow.remove_metadata(), groups)
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error
