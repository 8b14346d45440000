"""Names in a store that one process at a time holds, where the store knows no locks.

A store of objects could keep others out by a write on condition that nothing is there; pyarrow has
none. So whoever wants a name writes an object of its own that begins with it and looks whose else
are there. Listings tell what was written before them: of two that come at once at least one sees
the other, and who sees another gives way. No two hold the name; of two that come at the same moment
it may be none.

A holder writes its object again and again. One that was not written for `DEAD_SECONDS`, by the
store's clock, is a dead holder's; so is one of a process of this machine that is gone.
"""

import contextlib
import hashlib
import os
import posixpath
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from pyarrow import fs

from pipeline import environment
from pipeline.data.locks import HeldError

RENEW_SECONDS = 10.0
DEAD_SECONDS = 60.0
_LATE_SECONDS = DEAD_SECONDS / 2  # the store may count whole seconds, and from when it wishes


@contextlib.contextmanager
def leased(system: fs.FileSystem, path: str, holder: str) -> Iterator[Callable[[], bool]]:
    """Holds a path, of which nothing is left at the end.

    Args:
        system: the store.
        path: in it; objects are called so and more.
        holder: what others are told.

    Yields:
        Whether it is still held. Between this answer and what is done by it another may come.

    Raises:
        HeldError: another process has it.
        OSError: it cannot be written.
    """
    lease = _Lease(system, path, holder)
    lease.take()
    ended = threading.Event()
    renewing = threading.Thread(target=lease.keep, args=(ended,), daemon=True)
    renewing.start()
    try:
        yield lease.is_there
    finally:
        ended.set()
        renewing.join()
        lease.drop()


class _Lease:
    """An object that says that this process holds a path."""

    def __init__(self, system: fs.FileSystem, path: str, holder: str):
        self._system, self._all, self._holder = system, f"{path}-", holder
        self._path = f"{self._all}{_machine()}-{os.getpid()}-{uuid.uuid4().hex}"
        self._renewed = 0.0  # when the last write began, by this machine's clock

    def take(self) -> None:
        self._renewed = self._write()
        try:
            self._give_way()
        except BaseException:
            self.drop()
            raise

    def keep(self, ended: threading.Event) -> None:
        """Renews it until the end, or until it was taken from this process."""
        while not ended.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):  # a store that fails is for the job to tell
                if not self.is_there() or not self._renew():
                    return

    def is_there(self) -> bool:
        return self._system.get_file_info(self._path).type == fs.FileType.File

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._system.delete_file(self._path)

    def _renew(self) -> bool:
        """Writes it again; whether it is still this process's.

        Where that comes late, or takes long, it may have been taken for a dead one's meanwhile.
        """
        began = self._write()
        try:
            if environment.steady_seconds() - self._renewed > _LATE_SECONDS:
                self._give_way()
        except HeldError:
            self.drop()
            return False
        self._renewed = began
        return True

    def _write(self) -> float:
        """Writes it; when that began."""
        began = environment.steady_seconds()
        with self._system.open_output_stream(self._path, compression=None) as stream:
            stream.write(self._holder.encode())
        return began

    def _give_way(self) -> None:
        """Deletes what dead holders have left.

        Raises:
            HeldError: there is a living one.
        """
        selector = fs.FileSelector(posixpath.dirname(self._path), allow_not_found=True)
        there = [f for f in self._system.get_file_info(selector) if f.type == fs.FileType.File]
        found = {file.path: file for file in there if file.path.startswith(self._all)}
        if self._path not in found:
            raise OSError(f"{self._path} was written and is not there")
        now = found.pop(self._path).mtime_ns
        ages = {path: (now - file.mtime_ns) / 1e9 for path, file in found.items()}
        for path, age in ages.items():
            if age < DEAD_SECONDS and not _is_gone(path.removeprefix(self._all)):
                raise HeldError(self._told(path, age))
        for path in ages:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_file(path)

    def _told(self, path: str, age: float) -> str:
        try:
            with self._system.open_input_stream(path, compression=None) as stream:
                holder = stream.read().decode(errors="replace")
        except OSError:  # it has ended since
            holder = "which has just ended"
        return f"{holder}; if it was killed, its hold ends in {DEAD_SECONDS - age:.0f} s"


def _is_gone(who: str) -> bool:
    """Whether a holder was a process of this machine and is not there any more."""
    machine, _, rest = who.partition("-")
    pid = rest.partition("-")[0]
    if not machine or machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False


@cache
def _machine() -> str:
    """What tells where process ids are of this process's kind; empty where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        processes = Path("/proc/self/ns/pid").readlink()
        return hashlib.sha256(f"{boot} {processes}".encode()).hexdigest()[:16]
    except OSError:
        return ""
