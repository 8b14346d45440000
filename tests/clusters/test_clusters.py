"""The job on Flink, Spark and Prism, as separate processes of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import build, home, processes
from cluster.__main__ import CLUSTERS
from tests.clusters.conftest import require
from tests.clusters.slow_fit import run_with_fault, slow_fit
from tests.runner_cases import *  # noqa: F403  collected here, with this folder's `runner`
from tests.runner_cases import ARGS

# Prism gives a pipeline of one environment one worker, however much there is to do.
LEAST_WORKERS = {"flink": 2, "spark": 2, "prism": 1}


def test_worker_processes_did_the_work_and_the_driver_none(fitted, cluster):
    counters, blocks = fitted.run.counters, fitted.run.counts.blocks
    workers = counters["blocks_by_worker"]
    assert sum(workers.values()) == blocks * len(fitted.history)
    assert len(workers) >= LEAST_WORKERS[cluster]
    assert f"{socket.gethostname()}:{os.getpid()}" not in workers


def test_a_second_job_finds_warm_workers_and_cached_blocks(
    fit, fitted, three_blobs, many_blocks, runner, tmp_path
):
    again = fit(three_blobs.folder, tmp_path / "out", *ARGS, *runner)
    counters, blocks = again.run.counters, again.run.counts.blocks
    assert counters.get("tensorflow_starts", 0) == 0
    # The first iteration reads what the last job's cache cannot have.
    later_loads = blocks * (len(again.history) - 1)
    assert counters["blocks_cached"] >= 0.9 * later_loads


def test_an_interrupted_job_ends_on_the_cluster_too(rows, cluster, runner, tmp_path):
    jobs = CLUSTERS[cluster].jobs
    before = jobs()  # Prism's are processes, and this one has had its own

    def interrupt(driver: subprocess.Popen) -> None:
        assert len(jobs()) > len(before)
        driver.send_signal(signal.SIGINT)

    output = tmp_path / "out"
    code, stderr = run_with_fault(slow_fit(rows, output, *runner), output, interrupt)
    assert code == 130
    assert stderr.endswith("kmeans-tf: interrupted; run the same command again to resume\n")
    assert jobs() == before


@pytest.mark.parametrize("cluster", ["flink"], ids=["FlinkRunner"], indirect=True)
def test_workers_that_beams_boot_program_starts(run, three_blobs, cluster, runner, tmp_path):
    """As in a container, where it is the first to run."""
    require("boot")
    boot, command = build.beam_program("python/container"), tmp_path / "boot"
    # It leaves a file where it is started.
    command.write_text(f'#!/bin/sh\ncd "{tmp_path}"\nexec "{boot}" "$@"\n')
    command.chmod(0o755)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
    }
    process = json.dumps({"command": str(command), "env": environment})
    own = ("--environment_type=PROCESS", f"--environment_config={process}")
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *runner, *own, "--check")
    assert ran.code == 0, ran.stderr
    assert ran.stderr.startswith("ready: FlinkRunner (environment: PROCESS")


def test_a_process_is_started_anew_only_for_another_command(monkeypatch, tmp_path):
    monkeypatch.setattr(home, "HOME", tmp_path)
    try:
        first = processes.start("sleeper", ["sleep", "60"])
        assert processes.start("sleeper", ["sleep", "60"], {"ANOTHER": "variable"}) == first
        second = processes.start("sleeper", ["sleep", "61"])
        assert second != first
        assert processes.pids("sleeper") == [second]
    finally:
        processes.stop("sleeper")


def test_a_failed_build_does_not_pass_the_old_jar_off_as_the_new(monkeypatch, tmp_path):
    def build_runs(command, what, env=None):
        target = home.folder("build", "engine", "target")
        (target / "beam-engine-job-server.jar").write_text(pom.read_text())

    def build_fails(command, what, env=None):
        raise home.ClusterError(what)

    monkeypatch.setattr(home, "HOME", tmp_path / "home")
    monkeypatch.setattr(build, "require", lambda program, purpose: program)
    pom = tmp_path / "engine" / "pom.xml"
    pom.parent.mkdir()
    pom.write_text("old")
    monkeypatch.setattr(build, "run", build_runs)
    assert build.maven_jar(pom).read_text() == "old"
    monkeypatch.setattr(build, "run", build_fails)
    assert build.maven_jar(pom).read_text() == "old"
    pom.write_text("new")
    for _ in range(2):
        with pytest.raises(home.ClusterError):
            build.maven_jar(pom)
    monkeypatch.setattr(build, "run", build_runs)
    assert build.maven_jar(pom).read_text() == "new"
