"""What Spark's streaming has written: which files of a folder its own log names."""

import json
import posixpath
import re

from pipeline.data.partitions import folders_of
from pipeline.data.snapshot import Snapshot, path_of
from pipeline.data.store import FileVersion, Store
from pipeline.errors import DataError

_LOG = "_spark_metadata"
_BATCH = re.compile(r"(\d+)(\.compact)?")


def read_snapshot(store: Store, folder: str) -> Snapshot:
    """What the batches of a sink have written, by the last compacted log and those after it.

    Raises:
        DataError: a batch is missing, or its log cannot be understood.
    """
    log = posixpath.join(folder, _LOG)
    matches = [_BATCH.fullmatch(file.below) for file in store.files(log)]
    batches = {int(match[1]): match[0] for match in matches if match}
    whole = [int(match[1]) for match in matches if match and match[2]]
    if not batches:
        raise DataError(f"the streaming sink {folder} cannot be read: {_LOG} has no batch")
    first, last = max(whole, default=0), max(batches)
    added: set[str] = set()
    deleted: set[str] = set()
    for batch in range(first, last + 1):
        name = f"{batch}.compact" if batch in whole else batches.get(batch)
        if name is None:
            reason = f"{_LOG} has no batch {batch}, of which {last} is the last"
            raise DataError(f"the streaming sink {folder} cannot be read: {reason}")
        for uri, action in _entries(store, folder, f"{_LOG}/{name}"):
            (added if action == "add" else deleted).add(path_of(folder, uri))
    files = tuple((path, _folders(store, path, folder)) for path in sorted(added - deleted))
    return Snapshot("streaming sink", folder, f"batch {last}", files)


def _entries(store: Store, folder: str, name: str) -> list[tuple[str, str]]:
    """The files that a batch names, and what it did with them."""
    version, *lines = store.read(posixpath.join(folder, name)).decode().splitlines() or [""]
    try:
        if version != "v1":
            raise ValueError(f"version {version!r}, expected 'v1'")
        entries = [json.loads(line) for line in lines]
        return [(entry["path"], entry["action"]) for entry in entries]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"the streaming sink {folder} cannot be read: {name}: {error!r}") from error


def _folders(store: Store, path: str, folder: str) -> str:
    """The folders of a file below the table's, by whatever links either is named."""
    place, above = store.place(path)[1], f"{store.place(folder)[1]}/"
    below = place.removeprefix(above)
    return folders_of(FileVersion(place, 0, 0, below if below != place else ""))
