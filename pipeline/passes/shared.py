"""Values in the work folder that every worker process reads once.

What goes between processes is where a value lies and what its bytes are, never mind how large it
is. A process that wrote or read one keeps it: where driver and worker are one, nothing is read.
What only one reads, and once, is there handed over in memory.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.store import Store
from pipeline.errors import SHARED_OUTPUT, SetupError
from pipeline.passes.archive import pack, seal_of, unpack

_KEPT = 8


@dataclass(frozen=True)
class Shared:
    """A value by the file that it lies in.

    Attributes:
        path: the file.
        digest: of its bytes.
        slot: what stands for it in a process's memory, where a later one takes its place.
    """

    path: str
    digest: str
    slot: str


def share(store: Store, path: str, value: Any, slot: str | None = None) -> Shared:
    """Writes a value down, as `pack` does, for `fetch`."""
    data = pack(value, path)
    store.write(path, data)
    return remember(path, data, value, slot)


def remember(path: str, data: bytes, value: Any, slot: str | None = None) -> Shared:
    """What `share` gave for a file, by what was read of it."""
    shared = Shared(path, seal_of(data), slot or path)
    _MEMO.keep(shared, value)
    return shared


def fetch(store: Store, shared: Shared, kinds: Sequence[type]) -> Any:
    """The value, from this process's memory or the file.

    Args:
        kinds: see `unpack`.

    Raises:
        RunError: the file is not here, or another.
    """
    with _MEMO.lock:
        value = _MEMO.find(shared)
        if value is None:
            value = _read(store, shared, kinds)
            _MEMO.keep(shared, value)
        return value


def hand(path: str, value: Any) -> None:
    """Keeps a value for whoever asks for it in this process, instead of its file or beside it."""
    _HANDED[path] = value


def handed(path: str) -> Any:
    """What was handed over for a file; None if nothing was."""
    return _HANDED.get(path)


def take(path: str) -> Any:
    """What `handed` gives, which is then let go."""
    return _HANDED.pop(path, None)


def forget(folder: str) -> None:
    """Lets go what was handed over for the files below a folder."""
    for path in list(_HANDED):
        if path.startswith(f"{folder}/"):
            _HANDED.pop(path, None)


def _read(store: Store, shared: Shared, kinds: Sequence[type]) -> Any:
    try:
        data = store.read(shared.path)
    except OSError as error:
        raise SetupError(f"{shared.path} cannot be read here: {error}: {SHARED_OUTPUT}") from error
    try:
        if seal_of(data) == shared.digest:
            return unpack(data, kinds, shared.path)
        reason = "it is another file"
    except ValueError as error:
        reason = str(error)
    raise SetupError(
        f"{shared.path} is not what this job wrote ({reason}): does another write there?"
    )


class _Memo:
    """The latest value of each of a few slots."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._values: OrderedDict[str, tuple[Shared, Any]] = OrderedDict()

    def find(self, shared: Shared) -> Any:
        known, value = self._values.get(shared.slot, (None, None))
        return value if known == shared else None

    def keep(self, shared: Shared, value: Any) -> None:
        with self.lock:
            self._values[shared.slot] = (shared, value)
            self._values.move_to_end(shared.slot)
            while len(self._values) > _KEPT:
                self._values.popitem(last=False)


_MEMO = _Memo()
_HANDED: dict[str, Any] = {}
