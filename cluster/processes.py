"""Long-lived processes, each with a log, a record on disk, a health check and a way to end it.

A pid alone proves nothing: it may have gone to a stranger since it was written down. Every
process started here therefore carries a random mark in its environment, which its children
inherit. A name's processes are those that carry its mark now, and only those are ever killed:
a worker pool takes its workers along, a Spark worker its executors.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.home import HOME, HOST, REPOSITORY, ClusterError, folder, write

MARK = "KMEANS_CLUSTER_PROCESS"
POLL_SECONDS = 0.2
START_SECONDS = 15.0
STOP_SECONDS = 15.0
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class Record:
    """What is kept on disk of a started process: who it is and how it was started."""

    pid: int
    mark: str
    command: list[str]


def start(name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Starts a detached process under a name, or finds it running; returns its pid.

    One that runs another command is ended first: that is how a cluster changes its size. Variables
    are not compared: a process that runs keeps those it was started with.

    Args:
      name: what the process is called in `status`, its log and its record.
      command: program and arguments.
      env: variables added to this process's own.
    """
    record = read_record(name)
    if record is not None and record.command == list(command) and running(name):
        return record.pid
    stop(name)
    mark = f"{name}-{uuid.uuid4().hex}"
    with log_path(name).open("ab") as log:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, **(env or {}), MARK: mark},
            start_new_session=True,
        )
    record = Record(process.pid, mark, list(command))
    write(record_path(name), json.dumps(asdict(record), indent=1))
    # A process that has only just begun its program does not show its environment yet.
    wait_until(lambda: running(name) or process.poll() is not None, name, START_SECONDS)
    return process.pid


def stop(name: str, seconds: float = STOP_SECONDS) -> None:
    """Ends a named process and all it started: asks first, then kills. Harmless when it is gone."""
    _signal(name, signal.SIGTERM)
    try:
        wait_until(lambda: not pids(name), f"{name} to end", seconds)
    except ClusterError:
        _signal(name, signal.SIGKILL)
        wait_until(lambda: not pids(name), f"{name} to be killed", seconds)
    record_path(name).unlink(missing_ok=True)


def running(name: str) -> bool:
    """Whether the named process itself, not just a child it left behind, is alive."""
    record = read_record(name)
    return record is not None and record.pid in pids(name)


def pids(name: str) -> list[int]:
    """The live processes of a name: the one that was started and those it started in turn."""
    return sorted(process.pid for process in _processes(name))


def of_program(program: Path) -> list[int]:
    """The live processes of a program, whoever started them."""
    live = psutil.process_iter(["exe"])
    return [process.pid for process in live if process.info["exe"] == str(program)]


def names() -> list[str]:
    """Every name that has a record, running or not."""
    return sorted(path.stem for path in (HOME / "run").glob("*.json"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Polls until the condition holds; the only place in this package that waits.

    Raises:
      ClusterError: the condition did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"timed out after {seconds:.0f} s waiting for {what}")
        time.sleep(POLL_SECONDS)


def wait_healthy(
    needed: Sequence[str], probe: Callable[[], bool], what: str, seconds: float
) -> None:
    """Waits for a probe, and gives up at once when a process it needs has died.

    Raises:
      ClusterError: a process died or time ran out; the message ends with the log's last lines.
    """

    def condition() -> bool:
        for name in needed:
            if not running(name):
                raise ClusterError(f"{name} ended while starting\n{log_tail(name)}")
        return probe()

    try:
        wait_until(condition, what, seconds)
    except ClusterError as error:
        logs = ", ".join(str(log_path(name)) for name in needed)
        raise ClusterError(f"{error}\nlogs: {logs}") from error


def listening(port: int) -> bool:
    """Whether anything accepts connections on a local port."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def ask(url: str) -> dict[str, Any]:
    """The JSON a local web interface answers with; empty when it does not answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return {}


def require_port(name: str, port: int) -> None:
    """Refuses to start a process whose port a stranger holds.

    Raises:
      ClusterError: something listens there and it is not the named process.
    """
    if not running(name) and listening(port):
        raise ClusterError(f"{name} needs port {port} on {HOST}, which another program holds")


def log_path(name: str) -> Path:
    """The file that receives a process's stdout and stderr."""
    return folder("log") / f"{name}.log"


def log_tail(name: str) -> str:
    """The last lines of a process's log."""
    path = log_path(name)
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def record_path(name: str) -> Path:
    """The file that remembers a started process."""
    return folder("run") / f"{name}.json"


def read_record(name: str) -> Record | None:
    """What was started under a name, or None."""
    try:
        return Record(**json.loads(record_path(name).read_text()))
    except FileNotFoundError:
        return None


def _signal(name: str, number: signal.Signals) -> None:
    for process in _processes(name):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _processes(name: str) -> list[psutil.Process]:
    record = read_record(name)
    if record is None:
        return []
    live = psutil.process_iter(["environ"])  # None for another user's process
    return [p for p in live if (p.info["environ"] or {}).get(MARK) == record.mark]
