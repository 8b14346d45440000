"""What can go wrong, by exit code.

A message is one line: it names the file, column, row or option, says what was found and what was
expected, and what to do. One line, because a failure on a worker reaches the driver as the text
of a stack trace, out of which `find_failure` takes it again.
"""

import re
import socket
from collections import Counter
from collections.abc import Iterator
from urllib.error import URLError


class JobError(Exception):
    """A failure that the user is told about in one line."""

    exit_code = 1
    hint = ""  # what to do, where every message of the kind would end with it

    def __str__(self) -> str:
        return one_line(super().__str__())

    @property
    def told(self) -> str:
        """The line that the user reads."""
        return f"kmeans-tf: error: {self}{self.hint}"


class UsageError(JobError):
    """The options do not say what to do."""

    exit_code = 2


class DataError(JobError):
    """The data breaks the contract."""

    exit_code = 3


class GateError(JobError):
    """The answer is not as good as was asked for."""

    exit_code = 4


class RunError(JobError):
    """The runner or the disk failed; the job can be resumed."""

    exit_code = 5
    hint = "; run the same command again to resume"


class SetupError(RunError):
    """What the job needs is not there; the message says what to do, and nothing else helps."""

    hint = ""


class FullDiskError(RunError):
    """There was no room; until there is, the same job fails again."""

    hint = ": free some space there; run the same command again to resume"


class MemoryLackError(RunError):
    """The cluster lacks memory; the message says what to raise, for the same job fails again."""

    hint = "; then run the same command to resume"


class DamagedError(RunError):
    """What an attempt has left is not what it wrote; the next one does again what led to it."""


class NoResumeError(RunError):
    """What an attempt has left cannot be taken up; the message says what to do instead."""

    hint = ""


INTERRUPTED = 130
SHARED_OUTPUT = "give an --output that every worker and the driver reach"
_BAD_SHOWN = 5

_KINDS = {
    kind.__name__: kind
    for kind in (
        *(UsageError, DataError, RunError, SetupError, FullDiskError),
        *(DamagedError, NoResumeError),
    )
}
# What a disk says that it will say again, and what to do.
_REFUSED = {
    "Permission denied": "give this user the right to it",
    "Operation not permitted": "give this user the right to it",
    "Read-only file system": "name a place that can be written",
    "No usable temporary directory": "set TMPDIR to a folder that can be written",
    "Too many open files": "allow more of them, with ulimit -n",
}
_FULL = ("No space left on device", "Disk quota exceeded")
_RAISED = re.compile(
    rf"pipeline\.errors\.({'|'.join(_KINDS)}): (.+?)(?: \[while running .*)?$", re.M
)
_DISK = re.compile(
    r"^(?:\w+\.)*(?:OSError|(?:Permission|FileNotFound|NotADirectory|IsADirectory)Error): "
    r"(.+?)(?: \[while running .*)?$",
    re.M,
)
# Python counts them among the disk's errors.
_NETWORK = (URLError, ConnectionError, TimeoutError, socket.gaierror)
_MEMORY = re.compile(
    r"^(?:\w+\.)*(?:_?Array|Arrow)?MemoryError(?:: (.+?))?(?: \[while running .*)?$", re.M
)
_TENSORS = re.compile(r"ResourceExhaustedError: .*?(OOM when allocating[^\n]*)")
_PLACE = re.compile(r" \[while running .*", re.S)


def one_line(text: str) -> str:
    """Text in which a control character, a line's end or a byte that is no text is escaped.

    A name from the data then can neither break a line nor forge another.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def find_failure(error: BaseException) -> JobError | None:
    """The failure that an exception is or carries in its text; None if it is neither."""
    for cause in _causes(error):
        if isinstance(cause, JobError):
            return type(cause)(without_place(cause))
        if isinstance(cause, OSError) and not isinstance(cause, _NETWORK):
            return disk_failure(cause)
        if isinstance(cause, MemoryError):
            return memory_failure(str(cause))
    raised = _RAISED.search(str(error))
    if raised:
        return _KINDS[raised[1]](raised[2])
    disk = _DISK.search(str(error))
    if disk:
        return disk_failure(disk[1])
    memory = _MEMORY.search(str(error)) or _TENSORS.search(str(error))
    return memory_failure(memory[1]) if memory else None


def is_interrupt(error: BaseException) -> bool:
    """Whether it is an interrupt or came of one, as what Beam raises in the place of one does."""
    return any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error))


def without_place(error: object) -> str:
    """The text of an error without the name of the transform, which Beam puts behind it."""
    return _PLACE.sub("", str(error))


def disk_failure(error: object) -> RunError:
    """The message for a read or write that the file system refused."""
    told = f"reading or writing failed: {without_place(error).splitlines()[0]}"
    for words, remedy in _REFUSED.items():
        if words in told:
            return SetupError(f"{told}: {remedy}")
    return (FullDiskError if any(words in told for words in _FULL) else RunError)(told)


def memory_failure(error: str | None) -> MemoryLackError:
    """The message for memory that a process asked for and did not get."""
    told = f": {without_place(error).splitlines()[0]}" if error else ""
    return MemoryLackError(
        f"there is not enough memory{told}: give the job more, or lower --threads or --cache_mb"
    )


def bad_rows_error(bad_rows: int, rows: int, bad: Counter) -> DataError:
    """The message for bad rows under the policy to fail."""
    return DataError(
        f"{bad_rows} of {rows} rows are bad: {bad_rows_text(bad)}: fix them, or choose "
        "--on_bad_row null or impute"
    )


def bad_rows_text(bad: Counter) -> str:
    """The first few counts of bad rows by (file, column, reason)."""
    shown = sorted(bad.items())[:_BAD_SHOWN]
    parts = [f"{file}: column {column!r}: {n} {reason}" for (file, column, reason), n in shown]
    more = len(bad) - len(shown)
    return "; ".join(parts) + (f"; and {more} more files or columns" if more else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
