"""Of many files the workers read the footers, and nothing else is different."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings
from tests.pipeline.answer import assert_same_answer
from tests.tables import blobs, write_shards

FILES = 30
ARGS = ("--k=4", "--init=k-means++", "--tolerance=0", "--max_iterations=3")


@pytest.fixture
def rows(tmp_path):
    points, _ = blobs(600, 2, 4, seed=3)
    write_shards(tmp_path / "in", points, shards=FILES, row_group_size=7)
    return tmp_path / "in"


@pytest.fixture
def by_workers(monkeypatch):
    """by_workers(): from now on workers are elsewhere, and many files are more than ten."""

    def begin():
        monkeypatch.setattr(Settings, "one_process", False)
        monkeypatch.setattr("pipeline.driver.commands.FEW_FILES", 10)
        monkeypatch.setattr("pipeline.passes.footers.RANGE_FILES", 7)

    return begin


@pytest.fixture
def jobs(monkeypatch):
    """What each job was for, as far as its watchdog knows."""
    stages = []
    run = Runner.run

    def noted(self, build, *args, watchdog=None, **kwargs):
        stages.append(watchdog._stage if watchdog else "preflight")
        return run(self, build, *args, watchdog=watchdog, **kwargs)

    monkeypatch.setattr(Runner, "run", noted)
    return stages


def test_fit_and_label_give_the_answer_of_a_driver_that_read_them(
    fit, rows, tmp_path, by_workers, jobs
):
    one = fit(rows, tmp_path / "one", *ARGS)
    one_labelled = fit(rows, tmp_path / "1", f"--model={tmp_path / 'one'}", command="label")
    assert "footers" not in jobs
    jobs.clear()
    by_workers()
    other = fit(rows, tmp_path / "other", *ARGS)
    assert jobs == ["preflight", "footers", "scan", "train", "label"], "workers are asked once"
    labelled = fit(rows, tmp_path / "2", f"--model={tmp_path / 'other'}", command="label")
    assert_same_answer(other, one)
    assert other.table.equals(one.table)
    assert labelled.table.equals(one_labelled.table)
    assert other.run.input == one.run.input
    assert other.run.counts == one.run.counts
    assert other.run.counts.files == FILES


def damage(folder):
    files = sorted(folder.iterdir())
    for place in (25, 12, 20):
        files[place].write_bytes(files[place].read_bytes()[:-9])
    return f"{files[12]} is not a complete Parquet file: "


def change_a_type(folder):
    path = sorted(folder.iterdir())[21]
    pq.write_table(pa.table({"f0": ["0", "1"], "f1": [0.0, 1.0]}), path)
    return f"{path}: column 'f0' is string, but "


@pytest.mark.parametrize("harm", [damage, change_a_type])
def test_a_file_that_is_wrong_is_told_of_in_the_same_words(run, rows, tmp_path, by_workers, harm):
    said = harm(rows)
    places = (f"--input={rows}", f"--output={tmp_path / 'out'}")
    mine = run("fit", *places, *ARGS)
    assert mine.code == 3
    assert mine.stderr.startswith(f"kmeans-tf: error: {said}")
    by_workers()
    theirs = run("fit", *places, *ARGS)
    assert theirs.code == 3
    assert theirs.stderr.splitlines()[-1] == mine.stderr.rstrip()
    assert not (tmp_path / "out").exists()


def test_check_leaves_nothing_of_it(run, rows, tmp_path, by_workers, jobs):
    by_workers()
    ran = run("fit", f"--input={rows}", f"--output={tmp_path / 'out'}", "--check")
    assert ran.code == 0, ran.stderr
    assert jobs == ["preflight", "footers"]
    assert not (tmp_path / "out").exists()


def test_a_driver_that_is_its_own_worker_reads_them_itself(
    fit, rows, tmp_path, by_workers, jobs, monkeypatch
):
    by_workers()
    monkeypatch.setattr(Settings, "one_process", True)
    fit(rows, tmp_path / "out", *ARGS)
    assert "footers" not in jobs


def test_a_runner_that_is_not_there_is_told_before_any_footer_is_read(
    run, rows, tmp_path, by_workers
):
    damage(rows)
    by_workers()
    places = (f"--input={rows}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--runner=PortableRunner")
    assert ran == (2, "kmeans-tf: error: --runner PortableRunner needs --job_endpoint=HOST:PORT\n")
