"""Ending the wait for a job from another thread, whatever Beam waits in."""

import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pipeline.console import say
from pipeline.errors import RunError

_SLOW_SECONDS = 15.0


class Alarm:
    """Looks again and again while the block runs, and interrupts it once there is a reason to.

    The block ends with a KeyboardInterrupt, as by Ctrl-C, and `reason` then tells the two apart. A
    signal of its own, for SIGINT is ignored in a job that a shell runs in the background. Where
    the block does not end, for it hangs in foreign code or in Beam's own clearing up, the process
    does, with the message and the exit code of a RunError.
    """

    def __init__(self, look: Callable[[], str | None], seconds: float | None):
        """Makes one that looks so often; None: never.

        Args:
            look: gives the reason to interrupt, or None.
            seconds: from one look to the next.
        """
        self.reason: str | None = None
        self._look, self._seconds = look, seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._handler: Any = None

    def __enter__(self) -> "Alarm":
        # Only a main thread can be interrupted.
        if self._seconds and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGALRM, _interrupt)
            threading.Thread(target=self._watch, name="watch_job", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self._stop()
        finally:  # the alarm may have interrupted just that, and rings only once
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._over.set()
        if self._handler is not None:
            signal.signal(signal.SIGALRM, self._handler)

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            if reason := self._look():
                self._ring(reason)
                return

    def _ring(self, reason: str) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self.reason = reason
            # To that thread: another that took it would leave the main one in its wait.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        if not self._over.wait(_SLOW_SECONDS):
            say(RunError(reason).told)
            os._exit(RunError.exit_code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
