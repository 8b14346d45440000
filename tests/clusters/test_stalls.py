"""What becomes of a job on Flink or Spark when a part of it falls silent and does not die."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import flink, processes, spark
from cluster.__main__ import CLUSTERS, flags
from tests.clusters.conftest import brought_up, require
from tests.clusters.slow_fit import JOB_SECONDS, run_with_fault, slow_fit
from tests.connections import cut
from tests.waiting import wait_for

STALL_SECONDS = 40
POOLS = {"flink": flink.POOL, "spark": spark.POOL}


@pytest.fixture(scope="module", params=POOLS)
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a cluster that is up, with as many workers as it has by default."""
    yield from brought_up(request.param)


@pytest.fixture(scope="module")
def runner(cluster: str) -> tuple[str, ...]:
    return tuple(flags(CLUSTERS[cluster].options()))


def worker_of(output: Path) -> int:
    """The worker process that trained last."""
    files = [file for file in output.glob("_work/*/workers/*-*") if file.name[0] != "."]
    heard = json.loads(max(files, key=lambda file: file.stat().st_mtime).read_text())
    assert heard["line"].startswith("train: ")
    return heard["pid"]


def resumed(command: list[str]) -> None:
    """The same command succeeds where the last one left off."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=JOB_SECONDS)
    assert ran.returncode == 0, ran.stderr
    assert "resuming after iteration" in ran.stderr


def test_a_worker_that_is_stopped(cluster, runner, rows, tmp_path):
    output, stopped = tmp_path / "out", []
    options = (f"--stall_timeout={STALL_SECONDS}s",)
    command = slow_fit(rows, output, *runner, *options)

    def stop(_: subprocess.Popen) -> None:
        stopped.append(worker_of(output))
        os.kill(stopped[0], signal.SIGSTOP)

    try:
        code, stderr = run_with_fault(command, output, stop)
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert code == 5, stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("kmeans-tf: error: train: nothing has moved for "), stderr
    assert f" pid {stopped[0]}, " in last
    assert last.endswith("; run the same command again to resume")
    wait_for(lambda: not CLUSTERS[cluster].jobs())
    resumed(slow_fit(rows, output, *options))  # here, which is sooner over


def test_a_channel_that_is_closed(cluster, runner, rows, tmp_path):
    output, cut_off = tmp_path / "out", []
    # A timeout longer than the test waits, for the worker's end it is that ends the job; and more
    # iterations, for a worker that is cut off waits some seconds for its runner to end it.
    options = ("--stall_timeout=1h", "--max_iterations=60")
    command = slow_fit(rows, output, *runner, *options)
    log = processes.log_path(POOLS[cluster])

    def close(_: subprocess.Popen) -> None:
        cut_off.append(worker_of(output))
        assert cut(cut_off[0], channels(cut_off[0]))

    code, stderr = run_with_fault(command, output, close)
    assert code == 5, stderr
    said = [line for line in log.read_text().splitlines() if f"process {cut_off[0]} ends" in line]
    # Spark hears of the lost input itself, and Flink where it was just writing to the worker; they
    # end the worker in the ordinary way.
    assert len(said) <= (cluster == "flink")
    for line in said:
        assert " channel was lost: " in line
        assert f" pid {cut_off[0]}: its " in stderr.splitlines()[-1]
    resumed(slow_fit(rows, output, *options))  # here, which is sooner over


def channels(pid: int) -> set[int]:
    """The ports of a worker's data and state channels: all it has opened but the first, control."""
    sockets = psutil.Process(pid).net_connections("tcp")
    listens = {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}
    opened = [s for s in sockets if s.raddr and s.laddr.port not in listens]
    return {s.raddr.port for s in sorted(opened, key=lambda s: s.fd)[1:]}


# Flink's own 128 MB are what a TaskManager's channels to its workers live on.
LITTLE = "taskmanager.memory.framework.off-heap.size: 8m\n"


@pytest.fixture
def little_memory(monkeypatch) -> Iterator[tuple[str, ...]]:
    """Flink with TaskManagers of little direct memory -> the options of a job on it."""
    require("flink")
    monkeypatch.setattr(flink, "CONFIGURATION", flink.CONFIGURATION + LITTLE)
    flink.down()
    try:
        flink.up()
        yield tuple(flags(flink.options()))
    finally:
        flink.down()


def test_taskmanagers_of_little_direct_memory(little_memory, rows, tmp_path):
    command = slow_fit(rows, tmp_path / "out", *little_memory, "--stall_timeout=2m", "--k=2000")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=2 * JOB_SECONDS)
    assert ran.returncode == 5, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert "lacks direct memory: raise taskmanager.memory.task.off-heap.size" in last
    assert last.endswith("; then run the same command to resume")
