"""What a job on Flink makes of a process killed under it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import flink, processes
from cluster.__main__ import flags
from tests.clusters.conftest import require
from tests.clusters.slow_fit import ITERATIONS, JOB_SECONDS, SLOW, run_with_fault, slow_fit
from tests.pipeline.answer import Answer, assert_same_answer, contents

TASKMANAGERS = 3


def kill_worker(_: subprocess.Popen) -> None:
    """Kills the process of the pool that has worked most: one that the job runs in."""
    pool = psutil.Process(processes.read_record(flink.POOL).pid)
    max(pool.children(), key=lambda worker: worker.cpu_times().user).kill()


def kill_taskmanager(_: subprocess.Popen) -> None:
    """Kills one that the job runs on."""
    answer = processes.ask(f"http://{flink.HOST}:{flink.REST_PORT}/taskmanagers")
    taskmanagers = answer["taskmanagers"]
    assert len(taskmanagers) == TASKMANAGERS
    kill(next(manager["id"] for manager in taskmanagers if not manager["freeSlots"]))


def kill_job_server(_: subprocess.Popen) -> None:
    kill(flink.JOB_SERVER)


def restart_cluster(_: subprocess.Popen) -> None:
    flink.down()
    flink.up(TASKMANAGERS)


def kill_driver(driver: subprocess.Popen) -> None:
    """The cluster's job goes on: the next attempt finds it there."""
    driver.kill()


def kill(name: str) -> None:
    os.kill(processes.read_record(name).pid, signal.SIGKILL)


FAULTS = [kill_worker, kill_taskmanager, kill_job_server, restart_cluster, kill_driver]
NO_JOB_SERVER = {kill_job_server, restart_cluster}  # what no job goes on after


@pytest.fixture(scope="module")
def undisturbed(fit, rows, tmp_path_factory) -> Answer:
    return fit(rows, tmp_path_factory.mktemp("undisturbed") / "out", *SLOW)


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[None]:
    require("flink")
    yield
    flink.down()


@pytest.fixture
def cluster(whole_cluster) -> None:
    """Flink with a TaskManager to spare, whatever the last test has killed."""
    flink.up(TASKMANAGERS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_costs_no_more_than_another_start(cluster, undisturbed, rows, tmp_path, fault):
    output = tmp_path / "out"
    # Leaves a TaskManager to spare.
    command = slow_fit(rows, output, *flags(flink.options()), "--parallelism=2")
    code, stderr = run_with_fault(command, output, fault)
    if fault in NO_JOB_SERVER:
        assert "kmeans-tf: error: the job server was lost: " in stderr
    if code != 0:
        if code != -signal.SIGKILL:
            assert code == 5, stderr
            last = stderr.splitlines()[-1]
            assert last.startswith("kmeans-tf: error: "), stderr
            assert last.endswith("; run the same command again to resume"), stderr
        flink.up(TASKMANAGERS)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=JOB_SECONDS)
        assert ended.returncode == 0, ended.stderr
        assert "resuming after iteration" in ended.stderr
    assert not flink.jobs()
    answer = Answer(output)
    assert len(answer.history) == ITERATIONS
    assert_same_answer(answer, undisturbed)
    for name in ("prototypes.parquet", "history.parquet", *answer_parts(undisturbed.folder)):
        assert contents(output)[name] == contents(undisturbed.folder)[name]


def answer_parts(folder: Path) -> list[str]:
    return [name for name in contents(folder) if name.startswith("labels/part-")]
