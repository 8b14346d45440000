"""Ending jobs that run somewhere else, and waiting until they have ended."""

import time
from collections.abc import Callable, Collection

from pipeline.errors import RunError

_SECONDS = 60.0
_POLL_SECONDS = 0.2


def cancel_all(
    running: Callable[[], Collection[str]], cancel: Callable[[str], None], described: str
) -> None:
    """Cancels what runs until nothing does.

    Args:
        running: the ids of the jobs that have not ended.
        cancel: asks for a job's end. It may be asked again, and of a job that has just ended.
        described: which jobs they are, for a message.

    Raises:
        RunError: they do not end in time.
    """
    deadline = time.monotonic() + _SECONDS
    while jobs := running():
        for job in jobs:
            cancel(job)
        if time.monotonic() > deadline:
            raise RunError(f"{described} cannot be cancelled")
        time.sleep(_POLL_SECONDS)
