"""The job on stores of objects: the answer of local files, however it got there."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.driver.attempt import Attempt
from tests.object_stores.conftest import ARGS, ITERATIONS, same_bytes
from tests.pipeline.answer import assert_same_answer, contents
from tests.tables import blobs, write_shards

FIT = ("fit", *ARGS, ITERATIONS)


def places(rows, output):
    return (f"--input={rows.uri}", f"--output={output.uri}")


@pytest.fixture
def output(place):
    return place.below("out")


def test_fit_label_report_and_diff(run, place, rows, output, local, tmp_path):
    ran = run(*FIT, *places(rows, output))
    assert ran.code == 0, ran.stderr
    answer = output.fetched(tmp_path / "copy")
    assert_same_answer(answer, local)
    assert same_bytes(answer.folder) == same_bytes(local.folder)
    assert {*output.names()} == {*contents(local.folder)}
    told = ran.stderr + (answer.folder / "run.json").read_text()
    assert "secret" not in told.replace("***", "")
    assert f"done: {output.path}\n" in ran.stderr

    labelled = place.below("labelled")
    ran = run("label", *places(rows, labelled), f"--model={output.uri}", "--keys=id")
    assert ran.code == 0, ran.stderr
    assert labelled.fetched(tmp_path / "labelled").table.equals(local.table)

    output.store.delete(output.below("report.html").path)
    assert run("report", output.uri).code == 0
    assert output.store.version(output.below("report.html").path)
    ran = run("diff", local.folder, output.uri)
    assert ran.code == 0, ran.stderr


def test_workers_of_their_own_processes(run, rows, output, local, tmp_path):
    several = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    ran = run(*FIT, *places(rows, output), *several)
    assert ran.code == 0, ran.stderr
    assert_same_answer(output.fetched(tmp_path / "copy"), local)
    assert {*output.names()} == {*contents(local.folder)}


def test_a_job_that_failed_resumes(run, rows, output, local, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "label", fail)
        ran = run(*FIT, *places(rows, output))
    assert ran.code == 5, ran.stderr
    assert "_SUCCESS" not in output.names()
    ran = run(*FIT, *places(rows, output), "--resume=require")
    assert ran.code == 0, ran.stderr
    assert "resuming after iteration 6\n" in ran.stderr
    assert_same_answer(output.fetched(tmp_path / "copy"), local)


@pytest.mark.parametrize("move", [1, 4])
def test_a_job_that_was_killed_while_it_published_is_finished(
    run, rows, output, local, tmp_path, move
):
    module = "tests.object_stores.killed"
    command = [sys.executable, "-m", module, str(move), *FIT, *places(rows, output)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    names = output.names()
    assert "_SUCCESS" not in names
    assert any(name.startswith("_work/held-") for name in names), "the premise"
    ran = run(*FIT, *places(rows, output))
    assert ran.code == 0, ran.stderr
    assert "scan" not in ran.stderr
    assert same_bytes(output.fetched(tmp_path / "copy").folder) == same_bytes(local.folder)
    assert {*output.names()} == {*contents(local.folder)}


def test_overwrite_replaces_all_of_it(run, fit, rows, output, three_blobs, tmp_path):
    assert run(*FIT, *places(rows, output)).code == 0
    ran = run(*FIT, *places(rows, output))
    assert ran.code == 2
    assert "holds a finished output: give --overwrite" in ran.stderr
    two = ["--k=2" if word == "--k=5" else word for word in FIT]
    output.store.write(output.below("labels/part-00009-of-00010.parquet").path, b"of before")
    ran = run(*two, *places(rows, output), "--overwrite")
    assert ran.code == 0, ran.stderr
    expected = fit(three_blobs.folder, tmp_path / "two", *two[1:])
    assert same_bytes(output.fetched(tmp_path / "copy").folder) == same_bytes(expected.folder)


def test_more_files_than_a_store_lists_at_once(run, fit, place, tmp_path):
    points, _ = blobs(2100, 2, 3, seed=3)
    write_shards(tmp_path / "in", points, shards=1050, keys={"id": np.arange(2100)})
    rows = place.below("many")
    rows.store.upload(tmp_path / "in", rows.path)
    assert len(rows.names()) == 1050
    output = tmp_path / "out"
    ran = run(*FIT, f"--input={rows.below('shard-*.parquet').uri}", f"--output={output}")
    assert ran.code == 0, ran.stderr
    expected = fit(tmp_path / "in", tmp_path / "expected", *FIT[1:])
    assert same_bytes(output) == same_bytes(expected.folder)
    rows.store.delete(rows.path)
    assert rows.names() == []


def test_data_that_is_wrong_leaves_nothing(run, place, tmp_path):
    points = np.arange(80.0).reshape(40, 2)
    points[25, 1] = np.nan
    write_shards(tmp_path / "in", points)
    place.store.upload(tmp_path / "in", place.below("in").path)
    output = place.below("a/b/out")
    ran = run("fit", "--k=2", *places(place.below("in"), output))
    assert ran.code == 3, ran.stderr
    assert "in/shard-00000.parquet: column 'f1': 1 NaN" in ran.stderr
    assert place.names() == ["in/shard-00000.parquet"]
    assert not output.store.is_folder(place.below("a").path)


def test_points_are_staged_on_a_disk_or_not_at_all(run, rows, output, local, tmp_path):
    ran = run(*FIT, *places(rows, output), "--stage=always")
    assert ran.code == 2
    assert f"--stage always: the output {output.path}/_work/" in ran.stderr
    ran = run(*FIT, *places(rows, output), "--cache_mb=0")
    assert ran.code == 0, ran.stderr
    assert_same_answer(output.fetched(tmp_path / "copy"), local)
