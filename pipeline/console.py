"""What the user reads while the job runs."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

from pipeline.errors import one_line

_STDERR = 2  # the file descriptor


def say(text: str) -> None:
    """One plain line on standard error, whatever names stand in it."""
    try:
        print(one_line(text), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more, which is no reason to end the job
        sys.stderr = io.StringIO()


def quiet_logs() -> None:
    """Leaves to the job's own one-line messages what libraries would log, stack traces and all."""
    logging.disable(logging.ERROR)  # a level would not do: Prism's start sets its own
    threading.excepthook = _quiet_excepthook


def _quiet_excepthook(raised: threading.ExceptHookArgs) -> None:
    """Beam waits for a job in two threads: what ends one reaches the driver by the other."""
    if raised.thread is None or raised.thread.name != "wait_until_finish_read":
        threading.__excepthook__(raised)


@contextlib.contextmanager
def native_notices_hidden() -> Iterator[None]:
    """Keeps from the terminal what TensorFlow's libraries write as they load, unless they fail.

    They write to the file descriptor. Whoever has a line for the user meanwhile, in another
    thread, reaches the terminal by another one.
    """
    terminal = os.dup(_STDERR)  # stays open: a thread may be about to write there
    with tempfile.TemporaryFile() as notices, _stderr_on(terminal):
        os.dup2(notices.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            notices.seek(0)
            os.write(terminal, notices.read())
            raise
        finally:
            os.dup2(terminal, _STDERR)


@contextlib.contextmanager
def _stderr_on(terminal: int) -> Iterator[None]:
    """Lets `sys.stderr`, if it is the process's own, write to another file descriptor."""
    own = sys.stderr
    if own is sys.__stderr__:
        sys.stderr = os.fdopen(terminal, "w", buffering=1, closefd=False)
    try:
        yield
    finally:
        sys.stderr = own
