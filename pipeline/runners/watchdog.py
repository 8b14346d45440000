"""Whether a job moves, by what its workers leave in the work folder; runners do not tell."""

import contextlib
import time
from collections.abc import Callable

from pipeline.data.store import FileVersion
from pipeline.errors import JobError
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.heartbeat import Heard, read_heard

_SHOWN = 5
_LOOKS = 10  # at what the workers leave, in the time that a job may stand still
LOOK_SECONDS = 10.0  # the longest between two


class Watchdog:
    """Knows since when nothing has moved: no heartbeat of a worker and no checkpoint has come.

    A job that has not begun counts from its submission.
    """

    def __init__(
        self,
        work: WorkFolder,
        stage: str,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Knows nothing before `start`.

        Args:
            work: where the workers write.
            stage: what the job is for, for the message.
            seconds: how long it may stand still; 0: for ever.
            clock: says what time it is.
        """
        self._work, self._stage, self._seconds, self._clock = work, stage, seconds, clock
        self._seen: dict[str, FileVersion] = {}
        self._moved = clock()
        self._heard: dict[str, float] = {}

    def start(self) -> None:
        """Begins to count; what is there already is of an attempt before."""
        self._seen, self._moved = self._files(), self._clock()

    @property
    def look_seconds(self) -> float | None:
        """How long to wait between two looks; None: for ever."""
        return min(LOOK_SECONDS, self._seconds / _LOOKS) if self._seconds else None

    def look(self) -> str | None:
        """Looks once; what to tell the user if the job has stood still for too long, else None."""
        self._see()
        still = self._clock() - self._moved
        return self._complaint(still) if self._seconds and still >= self._seconds else None

    def last_words(self) -> list[str]:
        """Why workers of the job have ended, as they said themselves."""
        self._see()
        return [f"{h.worker}: {h.last_words}" for h, _ in self._workers() if h.last_words]

    def _see(self) -> None:
        with contextlib.suppress(OSError, JobError):  # a store that fails is for the job to tell
            files = self._files()
            moved = [path for path, file in files.items() if self._seen.get(path) != file]
            if moved:
                self._seen, self._moved = files, self._clock()
                self._heard |= dict.fromkeys(moved, self._moved)

    def _files(self) -> dict[str, FileVersion]:
        work = self._work
        files = [*work.store.files(work.workers), *work.store.files(work.states)]
        return {file.path: file for file in files}

    def _workers(self) -> list[tuple[Heard, float]]:
        """Those of the job and when they were heard, the latest first."""
        workers = []
        for path, when in sorted(self._heard.items(), key=lambda item: -item[1]):
            if path.startswith(self._work.workers):
                with contextlib.suppress(OSError, JobError, ValueError, TypeError):
                    workers.append((read_heard(self._work, path), when))
        return workers

    def _complaint(self, still: float) -> str:
        workers, now = self._workers(), self._clock()
        told = "; ".join(
            f"{heard.worker}, {in_words(now - when)} ago: {heard.last_words or heard.line} "
            f"({heard.tasks} tasks done)"
            for heard, when in workers[:_SHOWN]
        )
        more = len(workers) - _SHOWN
        return (
            f"{self._stage}: nothing has moved for {in_words(still)}, longer than --stall_timeout "
            "allows, and the job was cancelled: "
            + (f"workers last heard: {told}" if workers else "no worker was heard")
            + (f"; and {more} more workers" if more > 0 else "")
        )


def in_words(seconds: float) -> str:
    """A duration as --stall_timeout takes it, in whole units."""
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"
