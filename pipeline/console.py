"""What the user reads while the job runs."""

import atexit
import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

from pipeline.data.addresses import masked
from pipeline.errors import one_line

_STDERR = 2  # the file descriptor
_WORKER_ENDED = "Worker subprocess exited"
_ENDS: list[str] = []
_SOME_ENDED = threading.Event()
_KEEPER_SECONDS = 2
_ALL_IS_WELL = b"\0loaded\0"
_SAYING = threading.Lock()  # a line is written as a whole, and to one place
# A process started meanwhile has the pipe too: what it writes afterwards goes through.
_KEEP = f"""
import os
kept, well = b"", False
while data := os.read(0, 65536):
    kept += data
    if not well and {_ALL_IS_WELL!r} in kept:
        well, kept = True, kept.partition({_ALL_IS_WELL!r})[2]
    if well:
        os.write(2, kept)
        kept = b""
os.write(2, kept)
"""


def say(text: str) -> None:
    """One plain line on standard error, whatever names stand in it, without secrets."""
    try:
        with _SAYING:
            print(masked(one_line(text)), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more, which is no reason to end the job
        sys.stderr = io.StringIO()


def tell(text: str) -> None:
    """One plain line on standard output: what was asked for, as `say` would say it."""
    print(masked(one_line(text)), flush=True)


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


@contextlib.contextmanager
def native_notices_hidden() -> Iterator[None]:
    """Keeps from the terminal what TensorFlow's libraries write as they load, unless they fail.

    They write to the file descriptor, and where they fail they may abort the process: so another
    process holds what they wrote, and lets it out unless it hears that all is well. Whoever has a
    line for the user meanwhile, in another thread, reaches the terminal by another descriptor. A
    process that ends in order meanwhile has loaded for nobody, and what was written is no matter.
    """
    terminal = os.dup(_STDERR)  # stays open: a thread may be about to write there
    try:
        keeper = _Keeper()
    except OSError:  # no process may be started: better notices than no job
        yield
        return
    with _stderr_on(terminal):
        os.dup2(keeper.pipe, _STDERR)
        atexit.register(keeper.hear_that_all_is_well)
        try:
            yield
            keeper.hear_that_all_is_well()
        finally:
            atexit.unregister(keeper.hear_that_all_is_well)
            os.dup2(terminal, _STDERR)
            keeper.close()


class _Keeper:
    """A process that keeps what is written into a pipe."""

    def __init__(self) -> None:
        reader, self.pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", _KEEP],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(reader)

    def hear_that_all_is_well(self) -> None:
        """Lets what was written be forgotten."""
        with contextlib.suppress(OSError):  # it is gone, and nothing is held any more
            os.write(self.pipe, _ALL_IS_WELL)

    def close(self) -> None:
        """Closes the pipe; what is to be let out is, unless another process holds it open."""
        os.close(self.pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KEEPER_SECONDS)


@contextlib.contextmanager
def _stderr_on(terminal: int) -> Iterator[None]:
    """Lets `sys.stderr`, if it is the process's own, write to another file descriptor."""
    own = sys.stderr
    if own is sys.__stderr__:
        with _SAYING:
            sys.stderr = os.fdopen(terminal, "w", buffering=1, closefd=False)
    try:
        yield
    finally:
        sys.stderr = own
