"""End-to-end cases that every runner must pass, embedded or a cluster.

Test modules import them all beside a fixture `runner`: the options that choose the runner.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from pipeline.data.plan import make_plan
from pipeline.driver.attempt import Attempt
from tests.pipeline.answer import Answer, assert_same_answer
from tests.tables import write_shards

__all__ = [
    "test_a_data_error_in_a_worker_reaches_the_user",
    "test_a_job_that_failed_resumes_from_its_checkpoint",
    "test_bad_rows_end_the_job",
    "test_check_says_who_answers",
    "test_fit_gives_the_embedded_runners_answer",
    "test_label_gives_the_embedded_runners_answer",
]

START = "--init=k-means++"  # one from which there is something left to do
ARGS = ("--features=f0,f1", "--keys=id", "--k=5", START, "--tolerance=0", "--max_iterations=6")


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of at most 150 rows, and parts of one: little data makes several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.passes.label.PART_BYTES", 150 * 2 * 4)
        patch.setattr("pipeline.driver.commands.make_plan", partial(make_plan, block_rows=150))
        yield


@pytest.fixture
def many_blocks() -> Iterator[None]:
    """Small blocks for one test."""
    with small_blocks():
        yield


@pytest.fixture(scope="session")
def embedded(fit, three_blobs, tmp_path_factory) -> Answer:
    """What the embedded runner answers."""
    with small_blocks():
        return fit(three_blobs.folder, tmp_path_factory.mktemp("embedded") / "out", *ARGS)


@pytest.fixture(scope="session")
def fitted(fit, three_blobs, tmp_path_factory, runner) -> Answer:
    """What the runner answers."""
    with small_blocks():
        output = tmp_path_factory.mktemp("fitted") / "out"
        return fit(three_blobs.folder, output, *ARGS, *runner)


def test_fit_gives_the_embedded_runners_answer(fitted, embedded, runner):
    assert fitted.run.configuration["runner"] in runner[0]
    assert fitted.run.counts.blocks > 3
    assert len(fitted.history) == 6
    assert fitted.labels.tolist() == embedded.labels.tolist()
    np.testing.assert_allclose(fitted.centres, embedded.centres, rtol=1e-6)
    assert_same_answer(fitted, embedded)


def test_label_gives_the_embedded_runners_answer(fit, three_blobs, embedded, runner, tmp_path):
    args = (f"--model={embedded.folder}", "--keys=id")
    answer = fit(three_blobs.folder, tmp_path / "out", *args, *runner, command="label")
    assert answer.table.equals(embedded.table)


def test_a_data_error_in_a_worker_reaches_the_user(run, runner, tmp_path, capfd):
    weights = np.ones(40)
    weights[25] = -1
    keys = {"w": weights}
    _, shard = write_shards(tmp_path / "in", np.arange(80.0).reshape(40, 2), shards=2, keys=keys)
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--features=f0,f1", "--weight=w", "--k=2", *runner)
    assert ran.code == 3, ran.stderr
    *progress, told = ran.stderr.splitlines()
    assert told == (
        f"kmeans-tf: error: {shard}: row 5: weight column 'w' holds -1.0, "
        "expected a finite number that is not negative"
    )
    assert all(line.startswith("scan: ") for line in progress)
    assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_rows_end_the_job(run, runner, tmp_path):
    points = np.arange(80.0).reshape(40, 2)
    points[25, 1] = np.nan
    _, shard = write_shards(tmp_path / "in", points, shards=2)
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", *runner)
    assert ran.code == 3, ran.stderr
    assert ran.stderr.splitlines()[-1] == (
        f"kmeans-tf: error: 1 of 40 rows are bad: {shard}: column 'f1': 1 NaN: fix them, "
        "or choose --on_bad_row null or impute"
    )
    assert not (tmp_path / "out").exists()


def test_a_job_that_failed_resumes_from_its_checkpoint(
    run, three_blobs, many_blocks, embedded, runner, tmp_path
):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")

    def fail(*args):
        raise OSError(5, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "label", fail)
        ran = run("fit", *places, *ARGS)
    assert ran.code == 5, ran.stderr
    again = run("fit", *places, *ARGS, *runner, "--resume=require")
    assert again.code == 0, again.stderr
    assert "resuming after iteration 6\n" in again.stderr
    assert_same_answer(Answer(tmp_path / "out"), embedded)


def test_check_says_who_answers(run, three_blobs, runner, tmp_path):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *runner, "--check")
    assert ran.code == 0, ran.stderr
    name = runner[0].rpartition("=")[2]
    assert ran.stderr.startswith(f"ready: {name} (environment: ")
    assert "worker process(es): " in ran.stderr
    assert not (tmp_path / "out").exists()
