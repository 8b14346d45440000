"""What the user reads while the job runs."""

import io
import json
import logging
import math
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from pipeline.data.addresses import masked
from pipeline.errors import one_line

_WORKER_ENDED = "Worker subprocess exited"
_ENDS: list[str] = []
_SOME_ENDED = threading.Event()
SAYING = threading.Lock()  # a line is written as a whole, and to one place


_format = {"json": False}


def log_json(wanted: bool) -> None:
    """Whether lines are to be JSON from now on."""
    _format["json"] = wanted


def logs_json() -> bool:
    """Whether lines are JSON."""
    return _format["json"]


def _is_no_number(fact: Any) -> bool:
    """Whether it is a float that JSON has not."""
    return isinstance(fact, float) and not math.isfinite(fact)


def say(text: str, **facts: Any) -> None:
    """One line on standard error, whatever names stand in it, without secrets.

    It is plain, or an object of JSON: when it was, the text as `message`, and the facts.
    """
    line = masked(one_line(text))
    if logs_json():
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {name: fact for name, fact in facts.items() if not _is_no_number(fact)}
        line = json.dumps({"time": now, "message": line} | known)
    try:
        with SAYING:
            print(line, file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more, which is no reason to end the job
        sys.stderr = io.StringIO()


def tell(text: str) -> None:
    """One plain line on standard output: what was asked for, as `say` would say it."""
    try:
        print(masked(one_line(text)), flush=True)
    except BrokenPipeError:  # what reads it, like `head`, has seen enough
        sys.stdout = io.StringIO()


def quiet_logs() -> None:
    """Leaves to the job's own one-line messages what libraries would log, stack traces and all."""
    logging.disable(logging.ERROR)  # a level would not do: Prism's start sets its own
    threading.excepthook = _quiet_excepthook


def _quiet_excepthook(raised: threading.ExceptHookArgs) -> None:
    """Beam waits for a job in two threads: what ends one reaches the driver by the other.

    It waits for each of its worker processes in a thread too, and for their channels.
    """
    if str(raised.exc_value).startswith(_WORKER_ENDED):
        _ENDS.append(str(raised.exc_value))
        _SOME_ENDED.set()
    elif raised.thread is None or not (
        raised.thread.name == "wait_until_finish_read" or raised.exc_type.__name__ == "RpcError"
    ):
        threading.__excepthook__(raised)


def forget_ends_of_workers() -> None:
    """Another job begins, with other workers."""
    _ENDS.clear()
    _SOME_ENDED.clear()


def ends_of_workers(seconds: float = 0.0) -> str:
    """What Beam said of worker processes that ended before their time; waits so long for it."""
    _SOME_ENDED.wait(seconds)
    return " ".join(_ENDS)
