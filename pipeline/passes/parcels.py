"""Partial sums on their way to be added: themselves where they are small, else files.

A runner keeps what goes between its workers in memory and queues of its own, which were not made
for a sample of rows or the sums of thousands of prototypes. Where all of them are one process, what
is large stays in its memory.
"""

import pickle
import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError
from pipeline.passes.archive import pack, unpack
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.shared import forget, hand, handed

INLINE_BYTES = 1 << 17  # up to which a sum travels itself; a runner is slower than a file


@dataclass(frozen=True)
class Parcel:
    """A sum, in parts.

    Attributes:
        value: of the parts that are here; None where none is.
        files: where the others lie, or what stands for them in this process.
    """

    value: Any = None
    files: tuple[str, ...] = ()

    def __add__(self, other: "Parcel") -> "Parcel":
        values = [v for v in (self.value, other.value) if v is not None]
        value = values[0] + values[1] if len(values) == 2 else values[0] if values else None
        return Parcel(value, self.files + other.files)


def send(work: WorkFolder, folder: str, value: Any) -> Parcel:
    """A value as it may travel; what is large goes to a file of its own in `folder`.

    Where the work folder is this process's alone it is handed over as it is.
    """
    if _nbytes(value) <= INLINE_BYTES:
        return Parcel(value)
    path = posixpath.join(folder, uuid.uuid4().hex)
    if work.alone:
        hand(path, value)
    else:
        work.store.write(path, pack(value, path))
    return Parcel(None, (path,))


def receive(work: WorkFolder, parcel: Parcel, kinds: Sequence[type]) -> Any:
    """The sum of all parts; None of none.

    Args:
        kinds: see `unpack`.

    Raises:
        RunError: a file is gone or damaged, or what stands for it was let go.
    """
    total = parcel.value
    for path in parcel.files:
        value = _handed(path) if work.alone else _read(work, path, kinds)
        total = value if total is None else total + value
    return total


def drop(work: WorkFolder, folder: str) -> None:
    """Lets go of the sums of a folder, which nobody wants any more."""
    forget(folder)
    work.store.delete(folder)


def _handed(path: str) -> Any:
    value = handed(path)
    if value is None:
        raise RunError(f"a worker's sums for {path} are gone from this process: run the job again")
    return value


def _read(work: WorkFolder, path: str, kinds: Sequence[type]) -> Any:
    try:
        return unpack(work.store.read(path), kinds, path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunError(f"a worker's sums in {path} cannot be read: {error}") from error


def _nbytes(value: Any) -> int:
    """How large it is when it is pickled; arrays are not copied for that."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(head) + sum(buffer.raw().nbytes for buffer in buffers)
