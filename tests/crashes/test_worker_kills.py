"""A worker process that is killed: the job says so, and resumes to the same bits."""

import random
from pathlib import Path

import pytest

from tests.crashes.test_kills import FIT, answer
from tests.pipeline.answer import with_options

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_worker_that_is_killed_at_any_moment_is_told_and_the_job_resumes(
    nursery, three_blobs, tmp_path, seed
):
    args = ["fit", f"--input={three_blobs.folder}", *with_options(FIT, "--iterations_per_job=9")]
    whole = nursery.run(*args, f"--output={tmp_path / 'whole'}")
    assert whole.code == 0, whole.stderr
    output = f"--output={tmp_path / 'out'}"
    moment = random.Random(seed).uniform(4, 16)
    killed = nursery.run(
        *(*args, output, "--runner=DirectRunner", *PROCESSES), kill_after=moment, whom="worker"
    )
    assert killed.code == 5, killed.stderr
    told = killed.stderr.splitlines()[-1]
    assert "a worker process was killed, as it is where the machine or container lacks" in told
    assert told.endswith("; then run the same command to resume")
    resumed = nursery.run(*args, output)
    assert resumed.code == 0, resumed.stderr
    assert answer(tmp_path / "out") == answer(tmp_path / "whole")
