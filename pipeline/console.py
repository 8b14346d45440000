"""What the user reads while the job runs."""

import io
import logging
import sys
import threading

from pipeline.errors import one_line

SAYING = threading.Lock()  # a line is written as a whole, and to one place


def say(text: str) -> None:
    """One plain line on standard error, whatever names stand in it."""
    try:
        with SAYING:
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
