"""Which files transactions on Databricks leave invalid, by the markers that lie beside them."""

import json
import posixpath
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from pipeline.data.store import FileVersion, Store
from pipeline.errors import DataError

_THREADS = 16
_MARKER = re.compile(r"(?:.*/)?_(started|committed)_(?!vacuum)([^/]+)", re.S)
_OF_TRANSACTION = re.compile(r"(?:.*/)?[^/]*-tid-([a-z0-9]+)-[^/]*", re.S)


def transaction_of(path: str) -> str | None:
    """The transaction that wrote a file, if its name tells one."""
    match = _OF_TRANSACTION.fullmatch(path)
    return match and match[1]


def invalid(store: Store, listed: Iterable[FileVersion], files: Iterable[FileVersion]) -> set[str]:
    """The paths of those files that a transaction removed, or has not added by its commit.

    One that has no marker is long committed: Databricks deletes the markers of these after a while,
    and of others only after their files.

    Args:
        listed: all that lies beside the files, markers among it.

    Raises:
        DataError: a marker cannot be understood.
    """
    markers = [(match, file) for file in listed if (match := _MARKER.fullmatch(file.path))]
    if not markers:
        return set()
    folders = {file.path: posixpath.dirname(file.path) for file in files}
    beside = {*folders.values()}
    begun: set[tuple[str, str | None]] = set()
    committed: dict[tuple[str, str | None], FileVersion] = {}
    for match, file in markers:
        folder = posixpath.dirname(file.path)
        if folder in beside and match[1] == "started":
            begun.add((folder, match[2]))
        elif folder in beside and file.size:  # an empty one is of a commit that was called off
            committed[folder, match[2]] = file
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(lambda file: _changes(store, file.path), committed.values())
        changes = dict(zip(committed, read, strict=True))
    removed = {path for _, paths in changes.values() for path in paths}

    def is_valid(path: str) -> bool:
        by = folders[path], transaction_of(path)
        added = path in changes[by][0] if by in changes else by not in begun
        return added and path not in removed

    return {path for path in folders if not is_valid(path)}


def _changes(store: Store, marker: str) -> tuple[set[str], set[str]]:
    """The files that a commit has added to its folder, and removed from it."""
    folder = posixpath.dirname(marker)
    try:
        told = json.loads(store.read(marker))
        added, removed = (
            {posixpath.join(folder, name) for name in told[what]} for what in ("added", "removed")
        )
    except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{marker}, which tells the valid files beside it, cannot be read: {error!r}"
        ) from error
    return added, removed
