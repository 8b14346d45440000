"""That a worker is at work and what at, in a file of its own: runners tell nothing meanwhile.

A file is written when something was done and none was written for a while, so one that stays as
it is belongs to a process that stands still. Workers write as they work and not behind their own
back: once a job is over no file appears.
"""

import contextlib
import json
import os
import posixpath
import socket
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass

from pipeline.data.blocks import BlockRef
from pipeline.data.store import FileVersion
from pipeline.errors import JobError
from pipeline.passes.checkpoint import WorkFolder

BEAT_SECONDS = 5.0
_NEAR_SECONDS = 1.0  # where a file costs no request


@dataclass(frozen=True)
class Heard:
    """What a worker process has said last.

    Attributes:
        host: where it runs.
        pid: its process.
        line: what it was at.
        tasks: how many it has done in this stage.
        last_words: why it ended; empty while it lives.
        stage: that in which it is at work.
        rows: how many of them it has read in this stage.
    """

    host: str
    pid: int
    line: str
    tasks: int
    last_words: str = ""
    stage: str = ""
    rows: int = 0

    @property
    def worker(self) -> str:
        """Which process, as messages name it."""
        return f"{self.host} pid {self.pid}"


@dataclass(frozen=True)
class Heartbeat:
    """Travels with a stage to its workers.

    Attributes:
        stage: its name.
        work: where they write.
    """

    stage: str
    work: WorkFolder

    def began(self, block: BlockRef) -> None:
        """This process is at a block from now on."""
        _PROCESS.began(self, f"{self.stage}: block {block.index} of {block.spans[0].file.path}")

    def read(self, block: BlockRef) -> None:
        """This process has the rows of a block."""
        _PROCESS.read(self, block.rows)

    def began_files(self, first: FileVersion) -> None:
        """This process is at a file, and those behind it, from now on."""
        _PROCESS.began(self, f"{self.stage}: files from {first.path}")

    def did_a_task(self) -> None:
        """This process has got on."""
        _PROCESS.did_a_task(self)

    @property
    def seconds(self) -> float:
        """How long the process waits before it says something again."""
        return _NEAR_SECONDS if self.work.store.is_local(self.work.path) else BEAT_SECONDS


class _Process:
    """What this process has to say, and when it may say it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: Counter[Heartbeat] = Counter()
        self._rows: Counter[Heartbeat] = Counter()
        self._lines: dict[Heartbeat, str] = {}
        self._due: dict[Heartbeat, float] = {}

    def began(self, heartbeat: Heartbeat, line: str) -> None:
        self._lines[heartbeat] = line
        self._say(heartbeat)

    def did_a_task(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._tasks[heartbeat] += 1
        self._say(heartbeat)

    def read(self, heartbeat: Heartbeat, rows: int) -> None:
        with self._lock:
            self._rows[heartbeat] += rows
        self._say(heartbeat)

    def last_words(self, text: str) -> None:
        """Says why the process ends, where it was at work last, if that is not over by now."""
        if not self._due:
            return
        heartbeat = max(self._due, key=self._due.__getitem__)
        if heartbeat.work.store.version(_file(heartbeat.work)):
            self._write(heartbeat, text)

    def _say(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._due.get(heartbeat, now):
                return
            self._due[heartbeat] = now + heartbeat.seconds
        with contextlib.suppress(OSError, JobError):  # a job that can write nothing ends by itself
            self._write(heartbeat)

    def _write(self, heartbeat: Heartbeat, last_words: str = "") -> None:
        line, tasks = self._lines.get(heartbeat, heartbeat.stage), self._tasks[heartbeat]
        rows = self._rows[heartbeat]
        heard = Heard(
            socket.gethostname(), os.getpid(), line, tasks, last_words, heartbeat.stage, rows
        )
        heartbeat.work.store.write(_file(heartbeat.work), json.dumps(asdict(heard)).encode())


_PROCESS = _Process()


def say_last_words(text: str) -> None:
    """Leaves to the driver why this process is about to end."""
    with contextlib.suppress(OSError, JobError):
        _PROCESS.last_words(text)


def read_heard(work: WorkFolder, path: str) -> Heard:
    """What a worker wrote."""
    return Heard(**json.loads(work.store.read(path)))


def _file(work: WorkFolder) -> str:
    return posixpath.join(work.workers, f"{socket.gethostname()}-{os.getpid()}")
