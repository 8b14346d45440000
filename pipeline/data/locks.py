"""Local files that one process at a time holds. The system lets a dead one's go."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class HeldError(Exception):
    """Another process holds the file; its text is what that has written there."""


class NoLocksError(Exception):
    """The file system knows no locks."""


@contextlib.contextmanager
def locked(path: Path, holder: str) -> Iterator[Callable[[], bool]]:
    """Holds a file, which is deleted at the end.

    Args:
        holder: what others read in it.

    Yields:
        Whether it is still the file of this name.

    Raises:
        HeldError: another process has it.
        NoLocksError: nobody can hold it, and it is not there.
        OSError: it cannot be written.
    """
    descriptor = _take(path)

    def is_held() -> bool:
        return _is_file_of(descriptor, path)

    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode())
        yield is_held
    finally:
        with contextlib.suppress(OSError):  # a disk that takes no change any more
            if is_held():
                path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_file_of(descriptor, path):
                return descriptor  # and not one that its holder has just deleted
        except NoLocksError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 1 << 12).decode(errors="replace")
        raise HeldError(holder or "which has just begun") from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError from error
        raise


def _is_file_of(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
