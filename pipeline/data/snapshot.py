"""A table as its log has it: which files are valid, and what the log says of them."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import shorten
from urllib.parse import quote, unquote

import pyarrow as pa

from pipeline.data.addresses import is_uri
from pipeline.data.partitions import HIVE_NULL
from pipeline.data.store import Store
from pipeline.errors import DataError

_REASON_SIZE = 200  # of characters: packages print all that they know


@dataclass(frozen=True)
class Snapshot:
    """A table at one time.

    Attributes:
        format: what keeps the log, as it is called.
        folder: the table's.
        id: of the time, by the log's own count.
        files: the paths of the valid files, each with the folders that would have told its
            partition values, `day=1/`.
        schema: the columns of such files; None where the log does not tell.
        partitions: the names in such folders.
        unsure: the columns that may have other values than null where a file has none of the name.
    """

    format: str
    folder: str
    id: str
    files: tuple[tuple[str, str], ...]
    schema: pa.Schema | None = None
    partitions: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.format} {self.folder} at {self.id}"


def unreadable(format: str, folder: str, error: Exception) -> DataError:
    """That a table cannot be read, with what a package says of it in short."""
    reason = shorten(str(error) or type(error).__name__, _REASON_SIZE, placeholder=" …")
    return DataError(f"the {format} {folder} cannot be read: {reason}")


def folders(values: Iterable[tuple[str, str | None]]) -> str:
    """The folders that would have told the partition values of a file."""
    pairs = ((name, HIVE_NULL if value is None else value) for name, value in values)
    return "".join(f"{quote(name, '')}={quote(value, '')}/" for name, value in pairs)


def path_of(folder: str, uri: str) -> str:
    """The path that a log names by an escaped URI, or by an escaped path below the table."""
    if uri.startswith("file:"):
        return Store.plain(uri)
    path = unquote(uri)
    return Store.plain(path if is_uri(path) else posixpath.join(folder, path))
