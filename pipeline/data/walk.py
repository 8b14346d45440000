"""Local folders: links followed, names of any bytes."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileType

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a folder.

    Attributes:
        below: its path below the folder.
        kind: whether it is a file, a folder, or neither (a pipe, say), which is `Unknown`.
        size: in bytes.
        modified: nanoseconds since 1970, 0 where the store does not tell.
    """

    below: str
    kind: FileType
    size: int = 0
    modified: int = 0


def walk(folder: str, *, recursive: bool) -> Iterator[Entry]:
    """What is in a folder.

    A link to a folder that it lies in is passed over. A link to nothing is an empty file.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
    """
    found = Path(folder).stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(folder)
    yield from _walk(folder, "", recursive, {(found.st_dev, found.st_ino)})


def _walk(folder: str, below: str, recursive: bool, above: set[_Identity]) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:  # gone meanwhile
        return
    for entry in listed:
        name = below + entry.name
        try:
            found = entry.stat()
        except OSError as error:
            if entry.is_symlink():
                yield Entry(name, FileType.File)
            elif not isinstance(error, FileNotFoundError):  # as what is gone meanwhile is
                raise
            continue
        here = (found.st_dev, found.st_ino)
        if stat.S_ISREG(found.st_mode):
            yield Entry(name, FileType.File, found.st_size, found.st_mtime_ns)
        elif not stat.S_ISDIR(found.st_mode):
            yield Entry(name, FileType.Unknown)
        elif here not in above:
            yield Entry(name, FileType.Directory)
            if recursive:
                yield from _walk(entry.path, f"{name}/", recursive, above | {here})
