"""What can go wrong, by exit code.

A message is one line: it names the file, column, row or option, says what was found and what was
expected, and what to do. One line, because a failure on a worker reaches the driver as the text
of a stack trace, out of which `find_failure` takes it again.
"""

import re


class JobError(Exception):
    """A failure that the user is told about in one line."""

    exit_code = 1


class UsageError(JobError):
    """The options do not say what to do."""

    exit_code = 2


class DataError(JobError):
    """The data breaks the contract."""

    exit_code = 3


class RunError(JobError):
    """The runner or the disk failed; the job can be resumed."""

    exit_code = 5


INTERRUPTED = 130

_KINDS = {kind.__name__: kind for kind in (UsageError, DataError, RunError)}
_RAISED = re.compile(
    rf"pipeline\.errors\.({'|'.join(_KINDS)}): (.+?)(?: \[while running .*)?$", re.M
)
_DISK = re.compile(r"^(?:\w+\.)*OSError: (.+?)(?: \[while running .*)?$", re.M)


def find_failure(error: BaseException) -> JobError | None:
    """The failure that an exception is or carries in its text; None if it is neither."""
    seen = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, JobError):
            return cause
        if isinstance(cause, OSError):
            return disk_failure(cause)
        cause = cause.__cause__ or cause.__context__
    raised = _RAISED.search(str(error))
    if raised:
        return _KINDS[raised[1]](raised[2])
    disk = _DISK.search(str(error))
    return disk_failure(disk[1]) if disk else None


def disk_failure(error: object) -> RunError:
    """The message for a read or write that the file system refused."""
    first_line = str(error).splitlines()[0]
    return RunError(f"reading or writing failed: {first_line}")
