"""What a job on Flink makes of a process killed under it, and what it leaves when interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import flink, processes
from cluster.__main__ import flags
from tests.clusters.conftest import require
from tests.pipeline.answer import Answer, assert_same_answer, contents
from tests.tables import blobs, write_shards
from tests.waiting import latest_iteration, wait_for

TASKMANAGERS = 3
FAULT_AT = 3
ITERATIONS = 20
JOB_SECONDS = 240.0
# So slow a descent that it is not over before the fault.
SLOW = (
    *("--keys=id", "--k=8", "--optimizer=sgd", "--learning_rate=1e-9", "--tolerance=0"),
    *(f"--max_iterations={ITERATIONS}", "--iterations_per_job=10"),
)


def kill_worker(_: subprocess.Popen) -> None:
    """Kills the process of the pool that has worked most: one that the job runs in."""
    pool = processes.read_record(flink.POOL).pid
    slots = [pid for pid in processes.pids(flink.POOL) if pid != pool]
    os.kill(max(slots, key=ticks), signal.SIGKILL)


def ticks(pid: int) -> int:
    """Processor time in user mode that a process has used."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def kill_taskmanager(_: subprocess.Popen) -> None:
    """Kills one that the job runs on."""
    found = processes.ask(f"http://{flink.HOST}:{flink.REST_PORT}/taskmanagers")["taskmanagers"]
    assert len(found) == TASKMANAGERS
    kill(next(manager["id"] for manager in found if not manager["freeSlots"]))


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
def rows(tmp_path_factory) -> Path:
    """240,000 rows of eight blobs in six shards of two blocks or more."""
    folder = tmp_path_factory.mktemp("rows") / "in"
    points, _ = blobs(240_000, 16, 8, seed=2)
    write_shards(folder, points, shards=6, keys={"id": range(len(points))}, row_group_size=20_000)
    return folder


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
    command = fit_command(rows, output)
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
    assert not jobs_under_way()
    answer = Answer(output)
    assert len(answer.history) == ITERATIONS
    assert_same_answer(answer, undisturbed)
    for name in ("prototypes.parquet", "history.parquet", *answer_parts(undisturbed.folder)):
        assert contents(output)[name] == contents(undisturbed.folder)[name]


def test_an_interrupted_job_ends_on_the_cluster_too(cluster, rows, tmp_path):
    def interrupt(driver: subprocess.Popen) -> None:
        assert jobs_under_way()
        driver.send_signal(signal.SIGINT)

    output = tmp_path / "out"
    code, stderr = run_with_fault(fit_command(rows, output), output, interrupt)
    assert code == 130
    assert stderr.endswith("kmeans-tf: interrupted; run the same command again to resume\n")
    assert not jobs_under_way()


def fit_command(rows: Path, output: Path) -> list[str]:
    places = (f"--input={rows}", f"--output={output}")
    on_flink = (*flags(flink.options()), "--parallelism=2")  # leaves a TaskManager to spare
    return [sys.executable, "-m", "pipeline", "fit", *places, *SLOW, *on_flink]


def jobs_under_way() -> list[str]:
    """Names of the jobs that have not ended, as Flink itself tells."""
    found = processes.ask(f"http://{flink.HOST}:{flink.REST_PORT}/jobs/overview")["jobs"]
    return [job["name"] for job in found if job["end-time"] == -1]


def answer_parts(folder: Path) -> list[str]:
    return [name for name in contents(folder) if name.startswith("labels/part-")]


def run_with_fault(
    command: list[str], output: Path, fault: Callable[[subprocess.Popen], None]
) -> tuple[int, str]:
    """Strikes in the middle of the training; returns the exit code and the messages."""
    log = output.with_name("stderr")
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        wait_for(lambda: latest_iteration(output) >= FAULT_AT or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        assert latest_iteration(output) < ITERATIONS, "the fault came too late"
        fault(process)
        process.wait(JOB_SECONDS)
    finally:
        process.kill()
        process.wait()
        print(log.read_text())
    return process.returncode, log.read_text()
