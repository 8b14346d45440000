"""Local folders: links followed, names of any bytes."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a folder.

    Attributes:
        below: its path below the folder.
        is_folder: whether it is a folder, and else a file.
        size: in bytes.
        modified: nanoseconds since 1970, 0 where the store does not tell.
    """

    below: str
    is_folder: bool
    size: int = 0
    modified: int = 0


def walk(folder: str, *, recursive: bool) -> Iterator[Entry]:
    """What is in a folder; nothing if there is no such folder.

    A link to a folder that it lies in is passed over. A link to nothing is an empty file.
    """
    try:
        found = Path(folder).stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(found.st_mode):
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
                yield Entry(name, is_folder=False)
            elif not isinstance(error, FileNotFoundError):  # as what is gone meanwhile is
                raise
            continue
        here = (found.st_dev, found.st_ino)
        if stat.S_ISREG(found.st_mode):
            yield Entry(name, False, found.st_size, found.st_mtime_ns)
        elif stat.S_ISDIR(found.st_mode) and here not in above:
            yield Entry(name, is_folder=True)
            if recursive:
                yield from _walk(entry.path, f"{name}/", recursive, above | {here})
