"""Has loaded all, and forks a process for each command that it reads, which may be killed.

Before the first fork nothing of TensorFlow has run, so that it has no threads to lose.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from kmeans_tf.notices import native_notices_hidden
from pipeline import environment
from pipeline.__main__ import command

LONGEST_SECONDS = 120.0
POLL_SECONDS = 0.002
WORKER = b"apache_beam.runners.worker.sdk_worker_main"


def serve() -> None:
    """Answers each line with how the process ended and after how many seconds."""
    load()
    for line in sys.stdin:
        request = json.loads(line)
        pid = child(request)
        ended = watched(pid, request["kill_after"], request["whom"], request["since"])
        print(json.dumps(ended), flush=True)


def load() -> None:
    """Loads what a command does."""
    environment.prepare(environment.ENVIRONMENT | environment.WITHOUT_KERAS)
    with native_notices_hidden():
        for name in ("tensorflow", "pipeline.driver.jobs", "pipeline.output.report"):
            importlib.import_module(name)


def child(request: dict) -> int:
    """The id of a process that runs a command."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    os.dup2(2, 1)
    sys.argv = ["kmeans-tf", *request["argv"]]
    command()
    raise AssertionError("it exits by itself")


def watched(pid: int, kill_after: float | None, whom: str, since: list) -> tuple[int, float]:
    """Waits for a process, and kills it, or a worker of its as soon as there is one, in time."""
    start = time.monotonic()
    began = None if since else start  # to count
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic()
        if done:
            return os.waitstatus_to_exitcode(status), now - start
        if began is None and is_there(*since):
            began = now
        if began is not None and kill_after is not None and now - began >= kill_after:
            victims = [pid] if whom == "driver" else workers(pid)[:1]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
                kill_after = None
        if now - start >= LONGEST_SECONDS:
            os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def is_there(folder: str, pattern: str) -> bool:
    """Whether something in a folder matches a pattern."""
    try:
        return any(Path(folder).glob(pattern))
    except FileNotFoundError:  # it was deleted meanwhile
        return False


def workers(session: int) -> list[int]:
    """The worker processes that Beam has started in a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if int(status[3]) == session and words[0] != b"/bin/sh" and WORKER in words:
            found.append(int(folder.name))
    return sorted(found)


if __name__ == "__main__":
    serve()
