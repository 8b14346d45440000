"""A job whose worker stands still is ended, in processes of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.tables import blobs, write_shards
from tests.waiting import wait_for

STALL_SECONDS = 20  # longer than the workers of a job take to start
JOB_SECONDS = 240


@pytest.fixture
def rows(tmp_path):
    points, _ = blobs(60_000, 8, 4, seed=2)
    write_shards(tmp_path / "in", points, shards=4, row_group_size=5_000)
    return tmp_path / "in"


def heard(output: Path) -> list[dict]:
    """What the workers have said so far."""
    files = output.glob("_work/*/workers/*-*")
    return [json.loads(file.read_text()) for file in files if not file.name.startswith(".")]


def test_a_worker_that_is_stopped(rows, tmp_path):
    """SIGSTOP: it answers nobody, and no connection of it ends."""
    output, log = tmp_path / "out", tmp_path / "stderr"
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    command = [
        *(sys.executable, "-m", "pipeline", "fit", f"--input={rows}", f"--output={output}"),
        *("--k=4", "--optimizer=sgd", "--learning_rate=1e-9", "--tolerance=0"),
        *("--max_iterations=40", "--iterations_per_job=40"),
        *("--runner=DirectRunner", *processes, f"--stall_timeout={STALL_SECONDS}s"),
    ]
    with log.open("w") as stderr:
        driver = subprocess.Popen(command, stderr=stderr)
    children = []
    try:
        wait_for(
            lambda: (
                any(h["line"].startswith("train: ") for h in heard(output))
                or driver.poll() is not None
            ),
            JOB_SECONDS,
        )
        assert driver.poll() is None, log.read_text()
        children = psutil.Process(driver.pid).children(recursive=True)
        pids = [h["pid"] for h in heard(output) if h["line"].startswith("train: ")]
        assert driver.pid not in pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert driver.wait(JOB_SECONDS) == 5, log.read_text()
    finally:
        driver.kill()
        driver.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    # Beam's workers write to the driver's standard error too, and later.
    (said,) = [line for line in log.read_text().splitlines() if line.startswith("kmeans-tf: ")]
    assert said.startswith(
        f"kmeans-tf: error: train: nothing has moved for {STALL_SECONDS}s, longer than "
        "--stall_timeout allows, and the job was cancelled: workers last heard: "
    )
    assert any(f" pid {pid}, " in said for pid in pids)
    assert said.endswith("; run the same command again to resume")


PATIENCE = 25
WITH_A_PROBE_THAT_STOPS = f"""
import sys
from pipeline.__main__ import main
from pipeline.runners import preflight
from pipeline.runners.settings import Settings
from tests.processes.failing import answer_and_stop
preflight.probe, Settings.start_seconds = answer_and_stop, {PATIENCE}
sys.exit(main(sys.argv[1:]))
"""


def test_a_worker_that_is_stopped_when_it_has_answered_the_preflight(rows, tmp_path):
    """Beam's runner of processes waits for it for ever."""
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    places = (f"--input={rows}", f"--output={tmp_path / 'out'}")
    command = ["fit", *places, "--k=4", "--runner=DirectRunner", *processes]
    with subprocess.Popen(
        [sys.executable, "-c", WITH_A_PROBE_THAT_STOPS, *command],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as driver:
        try:
            assert driver.wait(JOB_SECONDS) == 5
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
        (said,) = [line for line in driver.stderr if line.startswith("kmeans-tf: ")]
    assert said.startswith("kmeans-tf: error: only ")
    assert f": the job was not over after {PATIENCE} s; run the same command again" in said
