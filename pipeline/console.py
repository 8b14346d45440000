"""What the user reads while the job runs."""

import logging
import sys
import threading


def say(text: str) -> None:
    """One plain line on standard error."""
    print(text, file=sys.stderr, flush=True)


def quiet_logs() -> None:
    """Leaves to the job's own one-line messages what libraries would log, stack traces and all."""
    logging.getLogger().setLevel(logging.CRITICAL)  # where job servers' messages go
    for name in ("apache_beam", "tensorflow", "absl", "PrismRunner"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threading.excepthook = _quiet_excepthook


def _quiet_excepthook(raised: threading.ExceptHookArgs) -> None:
    """Beam waits for a job in two threads: what ends one reaches the driver by the other."""
    if raised.thread is None or raised.thread.name != "wait_until_finish_read":
        threading.__excepthook__(raised)
