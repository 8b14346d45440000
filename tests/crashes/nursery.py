"""Has loaded all, and forks a process for each command that it reads, which may be killed.

Before the first fork nothing of TensorFlow has run, so that it has no threads to lose.
"""

import json
import os
import signal
import sys
import time

LONGEST_SECONDS = 120.0
POLL_SECONDS = 0.002


def serve() -> None:
    """Answers each line with how the process ended and after how many seconds."""

    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(watched(child(request), request["kill_after"])), flush=True)


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
    from pipeline.__main__ import command

    command()
    raise AssertionError("it exits by itself")


def watched(pid: int, kill_after: float | None) -> tuple[int, float]:
    """Waits for a process, and kills it in time."""
    start = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            return os.waitstatus_to_exitcode(status), seconds
        if seconds >= (LONGEST_SECONDS if kill_after is None else kill_after):
            os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    serve()
