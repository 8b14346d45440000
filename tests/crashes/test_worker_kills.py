"""A worker process that is killed: the job says so, and resumes to the same bits."""

import random
from pathlib import Path

import pytest

from tests.crashes.test_kills import FIT, answer
from tests.pipeline.answer import with_options

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_worker_that_is_killed_at_any_moment_is_told_and_the_job_resumes(
    nursery, three_blobs, tmp_path
):
    """Unless it had done all that was asked of it."""
    args = ["fit", f"--input={three_blobs.folder}", *with_options(FIT, "--iterations_per_job=9")]
    whole = nursery.run(*args, f"--output={tmp_path / 'whole'}")
    assert whole.code == 0, whole.stderr
    codes, rng = [], random.Random(1)
    for number in range(3):
        output = f"--output={tmp_path / f'{number}'}"
        words = (*args, output, "--runner=DirectRunner", *PROCESSES)
        killed = nursery.run(*words, kill_after=rng.uniform(4, 14), whom="worker")
        codes.append(killed.code)
        if killed.code:
            told = killed.stderr.splitlines()[-1]
            assert "a worker process was killed, as it is where the machine or container" in told
            assert told.endswith("; then run the same command to resume")
            resumed = nursery.run(*args, output)
            assert resumed.code == 0, resumed.stderr
        assert answer(tmp_path / f"{number}") == answer(tmp_path / "whole")
    assert set(codes) <= {0, 5}
    assert 5 in codes, "the premise"
