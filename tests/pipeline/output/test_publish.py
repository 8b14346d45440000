"""The output folder: every file of it, the labels in order, publishing and labelling again."""

import json
import os
import posixpath
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.command_line.options import OutputOptions
from pipeline.data.store import Store
from pipeline.driver.attempt import Attempt
from pipeline.driver.fit import Fit
from pipeline.errors import NoResumeError
from pipeline.output.publish import Output
from tests import reference
from tests.pipeline.answer import Answer, assert_same_answer, contents
from tests.runner_cases import small_blocks
from tests.tables import write_shards

pytestmark = pytest.mark.xdist_group("publish")  # for the fixtures of this module

MODEL_FILES = {
    "model/saved_model.pb",
    "model/fingerprint.pb",
    "model/settings.json",
    "model/variables/variables.index",
    "model/variables/variables.data-00000-of-00001",
}
FIT = ("--features=f0,f1", "--keys=id", "--k=3", "--max_iterations=4")
BESIDE = {"run.json", "report.html", "_SUCCESS"} | {
    f"{name}.parquet"
    for name in ("prototypes", "history", "features", "scatter", "typical", "trials")
}


@pytest.fixture(scope="module")
def trained(fit, three_blobs, tmp_path_factory) -> Answer:
    """Trained from rows in blocks of one row group or two, each a part, with a key."""
    folder = tmp_path_factory.mktemp("trained")
    with small_blocks():
        return fit(three_blobs.folder, folder / "out", *FIT)


def part_names(blocks: int) -> list[str]:
    return [f"part-{i:05d}-of-{blocks:05d}.parquet" for i in range(blocks)]


def test_exactly_these_files_are_there(trained):
    blocks = trained.run.counts.blocks
    assert blocks > 3
    labels = {f"labels/{name}" for name in part_names(blocks)}
    assert set(contents(trained.folder)) == labels | MODEL_FILES | BESIDE
    assert (trained.folder / "_SUCCESS").read_bytes() == b""


def test_labels_are_one_row_per_row_in_the_order_of_the_input(trained, three_blobs):
    schema = pa.schema({"id": pa.int64(), "label": pa.int32(), "distance": pa.float32()})
    assert trained.table.schema.equals(schema)
    np.testing.assert_array_equal(trained.table["id"], np.arange(600))
    points = three_blobs.points
    nearest = reference.labels(points, trained.centres, "sqeuclidean")
    np.testing.assert_array_equal(trained.labels, nearest)
    distances = np.sqrt(reference.distances(points, trained.centres, "sqeuclidean").min(1))
    np.testing.assert_allclose(trained.distances, distances, rtol=1e-5, atol=1e-6)


def test_row_groups_of_the_input_are_joined_in_parts_and_zstd(trained, three_blobs):
    expected = [140, 130, 130, 140, 60]  # of 70, 70, 60, 70, …: blocks of at most 150
    rows = []
    for path in sorted((trained.folder / "labels").iterdir()):
        meta = pq.ParquetFile(path).metadata
        for i in range(meta.num_row_groups):
            group = meta.row_group(i)
            rows.append(group.num_rows)
            codecs = {group.column(c).compression for c in range(group.num_columns)}
            assert codecs == {"ZSTD"}
    assert rows == expected


def test_prototypes(trained, three_blobs):
    table = trained.prototypes
    assert table.schema.equals(
        pa.schema(
            {
                "label": pa.int32(),
                "rows": pa.int64(),
                "weight": pa.float64(),
                "cost": pa.float64(),
                "f0": pa.float64(),
                "f1": pa.float64(),
            }
        )
    )
    assert table["label"].to_pylist() == [0, 1, 2]
    assert table["rows"].to_pylist() == np.bincount(trained.labels).tolist()
    assert table["weight"].to_pylist() == table["rows"].to_pylist()
    squares = reference.distances(three_blobs.points, trained.centres, "sqeuclidean").min(1)
    costs = np.bincount(trained.labels, squares)
    np.testing.assert_allclose(table["cost"], costs, rtol=1e-6)


def test_history_holds_the_cost_that_each_iteration_started_with(trained, three_blobs):
    history = trained.history
    assert history.schema.names == ["trial", "iteration", "cost", "relocated"]
    assert history.schema.types == [pa.int32(), pa.int32(), pa.float64(), pa.int32()]
    assert history["iteration"].to_pylist() == list(range(len(history)))
    assert set(history["trial"].to_pylist()) == {0}
    assert (np.diff(trained.costs) <= 0).all()
    cost = trained.run.result.cost
    assert cost == pytest.approx(reference.cost(three_blobs.points, trained.centres), rel=1e-6)
    assert cost == pytest.approx(trained.prototypes["cost"].to_numpy().sum(), rel=1e-12)


def test_run_json_tells_what_was_run_and_how_it_went(trained, three_blobs):
    run = json.loads((trained.folder / "run.json").read_text())  # as other programs read it
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run["run_id"])
    configuration = run["configuration"]
    assert configuration["input"] == str(three_blobs.folder)
    assert (configuration["k"], configuration["init"], configuration["runner"]) == (
        [3],
        "auto",
        "FnApiRunner",
    )
    assert run["schema"] == {
        "features": ["f0", "f1"],
        "layout": "scalars",
        "keys": {"id": "int64"},
        "weight": None,
    }
    counts = run["counts"]
    assert (counts["files"], counts["row_groups"], counts["rows"]) == (3, 9, 600)
    assert (counts["bad_rows"], counts["bad"], counts["weight"]) == (0, [], 600.0)
    assert counts["sample_rows"] == len(np.unique(three_blobs.points, axis=0))
    assert set(run["versions"]) == {
        "python",
        "kmeans-tf",
        "tensorflow",
        "numpy",
        "apache-beam",
        "pyarrow",
    }
    assert run["versions"]["tensorflow"] == tf.__version__
    files = list(three_blobs.folder.iterdir())
    assert run["input"]["bytes"] == sum(file.stat().st_size for file in files)
    assert re.fullmatch("[0-9a-f]{64}", run["input"]["fingerprint"])
    seconds = run["seconds"]
    stages = {"start", "scan", "seed", "train", "label"}
    assert stages | {"total", "iterations", "jobs"} == set(seconds)
    assert seconds["total"] >= sum(seconds[stage] for stage in stages)
    assert seconds["jobs"][0] == 0
    assert len(seconds["iterations"]) == len(trained.history)
    assert min(seconds["iterations"]) > 0
    assert run["warnings"] == []
    assert run["result"]["k"] == 3
    assert run["result"]["status"] == "converged"


def test_run_json_can_be_read(trained):
    assert (trained.folder / "run.json").stat().st_size < 10_000


def test_the_share_of_variance_explained(trained, three_blobs):
    points = three_blobs.points.astype(np.float64)
    spread = ((points - points.mean(0)) ** 2).sum()
    cost = reference.cost(three_blobs.points, trained.centres)
    assert trained.run.result.explained == pytest.approx(1 - cost / spread, rel=1e-6)
    features = pq.read_table(trained.folder / "features.parquet")
    np.testing.assert_allclose(features["mean"], points.mean(0), rtol=1e-9)
    np.testing.assert_allclose(features["standard_deviation"], points.std(0), rtol=1e-9)


def test_typical_rows_are_the_nearest(trained):
    typical = pq.read_table(trained.folder / "typical.parquet").to_pylist()
    for label in range(3):
        distances = np.where(trained.labels == label, trained.distances, np.inf)
        nearest = np.argsort(distances, kind="stable")[:3]
        told = [line for line in typical if line["label"] == label]
        keys = trained.table["id"].take(nearest).to_pylist()
        assert [line["keys"] for line in told] == [[str(key)] for key in keys]
        np.testing.assert_allclose([line["distance"] for line in told], distances[nearest], 1e-6)


def test_label_is_held_against_the_training(fit, trained, three_blobs, tmp_path):
    args = ("--keys=id", f"--model={trained.folder}")
    again = fit(three_blobs.folder, tmp_path / "again", *args, command="label")
    compared = again.run.compared
    assert (compared.what, compared.rows) == ("training run", 600)
    assert compared.cost_per_weight == trained.run.cost_per_weight
    assert [c.rows for c in compared.clusters] == trained.prototypes["rows"].to_pylist()
    assert "Against the training run" in (again.folder / "report.html").read_text()


def test_tensorboard_can_read_what_the_training_did(fit, three_blobs, tmp_path):
    args = ("--features=f0,f1", "--k=3", f"--tensorboard={tmp_path / 'board'}")
    answer = fit(three_blobs.folder, tmp_path / "out", *args)
    (events,) = (tmp_path / "board").glob("events*")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(tf.make_ndarray(value.tensor))
    np.testing.assert_allclose(found["cost"], answer.costs, 1e-6)
    assert [int(found[f"rows/{i}"][0]) for i in range(3)] == answer.prototypes["rows"].to_pylist()
    np.testing.assert_array_equal(found["prototypes"][0], answer.centres)
    points = np.loadtxt(tmp_path / "board/prototypes.tsv")
    np.testing.assert_array_equal(points, answer.centres)


def test_the_report_is_one_page_that_loads_nothing(trained):
    page = (trained.folder / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert trained.run.run_id in page


def test_the_model_labels_as_the_job_did(trained, three_blobs):
    """That it needs nothing of this project is in tests/kmeans_tf/test_model.py."""
    model = tf.saved_model.load(str(trained.folder / "model"))
    served = model.label(three_blobs.points.astype(np.float64))
    np.testing.assert_array_equal(served["label"], trained.labels)
    np.testing.assert_array_equal(np.float32(served["distance"]), trained.distances)


def test_label_gives_the_labels_of_fit(fit, trained, three_blobs, tmp_path, many_blocks):
    args = ("--keys=id", f"--model={trained.folder}")
    again = fit(three_blobs.folder, tmp_path / "again", *args, command="label")
    assert again.table.equals(trained.table)
    labels = {f"labels/{name}" for name in part_names(again.run.counts.blocks)}
    assert set(contents(again.folder)) == labels | BESIDE - {"trials.parquet"}
    columns = ["label", "rows", "weight", "cost"]
    assert again.prototypes.select(columns).equals(trained.prototypes.select(columns))
    assert again.history.num_rows == 0
    assert again.run.result.status == "given"


def test_label_takes_the_folder_of_the_model_itself_and_other_rows(fit, trained, tmp_path):
    points = np.array([[0.0, 0.0], [1e3, -1e3]])
    write_shards(tmp_path / "in", points, names=["f0", "f1"])
    model = f"--model={trained.folder / 'model'}"
    answer = fit(tmp_path / "in", tmp_path / "out", model, command="label")
    nearest = reference.labels(points, trained.centres, "sqeuclidean")
    np.testing.assert_array_equal(answer.labels, nearest)


def test_report_draws_it_again(run, trained):
    before = contents(trained.folder)
    (trained.folder / "report.html").unlink()
    ran = run("report", trained.folder)
    assert (ran.code, ran.stderr) == (0, f"wrote {trained.folder / 'report.html'}\n")
    assert contents(trained.folder) == before


def test_a_report_of_a_history_of_something_else_is_refused(run, trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "out")
    pq.write_table(pa.table({name: [1] for name in "abcd"}), folder / "history.parquet")
    ran = run("report", folder)
    assert ran.code == 2
    assert ran.stderr.startswith(
        f"kmeans-tf: error: report {folder}: its files are not what this job wrote: KeyError"
    )


# Publishing


def test_overwrite_replaces_the_answer_and_leaves_nothing_of_it(fit, three_blobs, tmp_path):
    args = ("--features=f0,f1", "--k=3", "--max_iterations=0")
    with small_blocks():
        first = fit(three_blobs.folder, tmp_path / "out", *args)
    assert len(list((first.folder / "labels").iterdir())) > 1
    again = fit(three_blobs.folder, tmp_path / "out", *args, "--seed=5", "--overwrite")
    assert [path.name for path in (again.folder / "labels").iterdir()] == part_names(1)
    assert set(contents(again.folder)) == {f"labels/{part_names(1)[0]}"} | MODEL_FILES | BESIDE
    assert again.run.configuration["seed"] == 5


def test_a_label_run_may_replace_a_fit(fit, trained, three_blobs, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "out")
    args = (f"--model={trained.folder}", "--keys=id", "--overwrite")
    again = fit(three_blobs.folder, tmp_path / "out", *args, command="label")
    assert again.table.equals(trained.table)
    assert not (again.folder / "model").exists()


@pytest.mark.parametrize("model", ["out", "out/", "out/model"])
def test_a_label_run_does_not_replace_its_own_model(run, trained, three_blobs, tmp_path, model):
    output = shutil.copytree(trained.folder, tmp_path / "out")
    places = (f"--input={three_blobs.folder}", f"--output={output}", "--overwrite")
    ran = run("label", *places, f"--model={tmp_path / model}")
    assert ran.code == 2
    assert "is where --model is" in ran.stderr
    assert (output / "model" / "saved_model.pb").exists()


@pytest.fixture
def failing_moves(monkeypatch):
    """Moves fail from the fourth on, until it is called."""
    moves = []
    move = Store.move

    def fail(store, source, target):
        moves.append(target)
        if len(moves) > 3:
            raise OSError(5, "Input/output error")
        move(store, source, target)

    monkeypatch.setattr(Store, "move", fail)
    return lambda: monkeypatch.setattr(Store, "move", move)


@pytest.mark.parametrize("over", ["a new folder", "a finished output"])
def test_a_publishing_that_fails_is_finished_by_the_next_run(
    run, trained, three_blobs, tmp_path, many_blocks, failing_moves, over
):
    args = [*FIT]
    output = tmp_path / "out"
    if over == "a finished output":
        (output / "labels").mkdir(parents=True)
        for name in ("labels/part-of-another.parquet", "run.json", "_SUCCESS"):
            (output / name).touch()
        args.append("--overwrite")
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *args)
    assert ran.code == 5
    assert "Input/output error" in ran.stderr
    assert "run the same command again to resume" in ran.stderr
    assert len(list((output / "labels").glob("part-0*"))) == 3
    assert not (output / "_SUCCESS").exists()
    failing_moves()
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *args)
    assert ran.code == 0
    assert "train" not in ran.stderr, "it only publishes"
    assert_same_answer(Answer(output), trained)
    assert set(contents(output)) == set(contents(trained.folder))


def test_a_publishing_that_fails_is_held_to_the_gates_of_the_next_run(
    run, trained, three_blobs, tmp_path, many_blocks, failing_moves
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)
    assert run(*args, "--gate=smallest_cluster>=1").code == 5
    assert (output / "_publishing").exists(), "the premise"
    failing_moves()
    ran = run(*args, "--gate=smallest_cluster>=1000000")
    assert ran.code == 4, ran.stderr
    assert not (output / "_SUCCESS").exists()
    ran = run(*args, "--gate=smallest_cluster>=1")
    assert ran.code == 0, ran.stderr
    assert "scan" not in ran.stderr, "what was trained stays"
    assert_same_answer(Answer(output), trained)
    assert set(contents(output)) == set(contents(trained.folder))


@pytest.mark.parametrize("command", ["fit", "label"])
def test_a_check_finishes_no_publishing(
    run, trained, three_blobs, tmp_path, many_blocks, failing_moves, command
):
    own = {
        "fit": ["--features=f0,f1", "--max_iterations=0"],
        "label": [f"--model={trained.folder}"],
    }
    output = tmp_path / "out"
    args = [command, f"--input={three_blobs.folder}", f"--output={output}", *own[command]]
    assert run(*args).code == 5
    failing_moves()
    before = contents(output)
    ran = run(*args, "--check")
    assert ran.code == 0, ran.stderr
    assert ran.stderr.startswith("ready: ")
    assert contents(output) == before
    assert run(*args).code == 0
    assert (output / "_SUCCESS").exists()


@pytest.mark.parametrize("command", ["fit", "label"])
def test_a_check_leaves_the_folders_that_were_there(run, trained, three_blobs, tmp_path, command):
    own = {"fit": "--features=f0,f1", "label": f"--model={trained.folder}"}[command]
    output = tmp_path / "new" / "parent" / "out"
    args = (command, f"--input={three_blobs.folder}", f"--output={output}", own, "--check")
    folders = []
    for folder in (output.parents[1], output.parents[0], output):
        ran = run(*args)
        assert ran.code == 0, ran.stderr
        assert sorted(tmp_path.rglob("*")) == folders
        folder.mkdir()
        folders.append(folder)
    assert run(*args).code == 0
    assert sorted(tmp_path.rglob("*")) == folders


def test_a_publishing_whose_files_are_gone_is_done_again(
    run, three_blobs, tmp_path, many_blocks, failing_moves
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)
    assert run(*args).code == 5
    failing_moves()
    (left,) = (output / "_work").iterdir()
    (left / "run.json").unlink()
    ran = run(*args)
    assert ran.code == 0
    assert f"warning: {left / 'run.json'} is gone: what led to it is done again\n" in ran.stderr
    assert (
        set(contents(output)) == {f"labels/{name}" for name in part_names(5)} | MODEL_FILES | BESIDE
    )


# What is killed, removed or damaged while it is published


KILLED = ["", "_work", "_publishing"]


@pytest.mark.parametrize("before", KILLED, ids=lambda name: f"before {name or 'nothing'} is gone")
@pytest.mark.parametrize("command", ["fit", "label"])
def test_a_kill_behind_success_leaves_a_finished_output(
    run, trained, three_blobs, tmp_path, monkeypatch, command, before
):
    output = tmp_path / "out"
    own = {"fit": FIT, "label": (f"--model={trained.folder}", "--keys=id")}[command]
    args = (command, f"--input={three_blobs.folder}", f"--output={output}", *own)
    delete = Store.delete

    def killed(store, path):
        if (output / "_SUCCESS").exists() and (not before or path == str(output / before)):
            raise KeyboardInterrupt
        delete(store, path)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", killed)
        assert run(*args).code == 130
    assert (output / "_SUCCESS").exists()
    assert (output / "_publishing").exists(), "the premise"
    if before != "_publishing":
        (output / "_work" / "held").write_text("of a process that was killed")
    (output / "._SUCCESS.0123").touch()
    (output / "._publishing.4567").write_text("half of it")
    other = run(*args, "--on_bad_row=null")
    assert other.code == 2
    assert "holds a finished output: give --overwrite" in other.stderr
    ran = run(*args)
    assert ran.code == 0, ran.stderr
    assert "train" not in ran.stderr, "it only cleans up"
    model = MODEL_FILES if command == "fit" else set()
    besides = BESIDE if command == "fit" else BESIDE - {"trials.parquet"}
    assert set(contents(output)) == {f"labels/{part_names(1)[0]}"} | model | besides
    assert not (output / "_work").exists()
    again = run(*args)
    assert again.code == 2, "now it is an output as any other"


def test_a_finished_output_of_which_something_was_deleted_since_stays_one(
    run, three_blobs, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", _until(Store.delete, output / "_SUCCESS", killed))
        assert run(*args).code == 130
    (output / "report.html").unlink()
    before = contents(output / "model")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "move", killed)
        ran = run(*args)
    assert ran.code == 0, ran.stderr
    assert (output / "_SUCCESS").exists()
    assert contents(output / "model") == before
    assert not (output / "_publishing").exists()


def _until(act, path, other):
    return lambda *args: other(*args) if path.exists() else act(*args)


@pytest.mark.parametrize("command", ["report", "diff"])
def test_an_output_that_is_half_published_is_none(
    run, trained, three_blobs, tmp_path, monkeypatch, command
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)

    def killed(store, path, data, write=Store.write):
        if path == str(output / "_SUCCESS"):
            raise KeyboardInterrupt
        write(store, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", killed)
        assert run(*args).code == 130
    assert (output / "run.json").exists(), "the premise"
    ran = run(command, output, *([trained.folder] if command == "diff" else []))
    assert ran.code == 2
    assert ran.stderr == (
        f"kmeans-tf: error: {command} {output}: its job was killed while it published: run that "
        "again first\n"
    )


def cut(record):
    record.write_bytes(record.read_bytes()[:-40])


def a_bit_wrong(record):
    record.write_bytes(record.read_bytes().replace(b"part-00001", b"part-00003", 1))


def something_else(record):
    record.write_text('{"request": {}, "files": {"run.json": "/etc/passwd"}}')


@pytest.mark.parametrize("spoil", [cut, a_bit_wrong, something_else])
def empty(record):
    """As where the machine ended before it was on the disk."""
    record.write_bytes(b"")


@pytest.mark.parametrize("spoil", [cut, a_bit_wrong, something_else, empty])
def test_a_record_of_publishing_that_is_damaged_is_passed_over(
    run, trained, three_blobs, tmp_path, many_blocks, failing_moves, spoil
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)
    assert run(*args).code == 5
    failing_moves()
    record = output / "_publishing"
    spoil(record)
    ran = run(*args)
    assert ran.code == 0, ran.stderr
    told = f"warning: {record} is damaged, or something else: what led to it is done again\n"
    assert told in ran.stderr
    assert "label: " in ran.stderr, "of the labels some were moved away"
    assert_same_answer(Answer(output), trained)
    assert set(contents(output)) == set(contents(trained.folder))


@pytest.mark.parametrize("when", ["scan", "train", "label", "files"])
def test_an_output_that_is_removed_under_the_job_ends_it(
    run, three_blobs, tmp_path, monkeypatch, when
):
    output = tmp_path / "out"
    original = getattr(Fit, when) if when != "label" else Attempt.label
    where = Attempt if when == "label" else Fit

    def removed(self, *args):
        try:
            return original(self, *args)
        finally:
            shutil.rmtree(output, ignore_errors=True)

    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)
    with monkeypatch.context() as patch:
        patch.setattr(where, when, removed)
        ran = run(*args)
    assert ran.code == 5, ran.stderr
    message = f"{output / '_work'} was removed while the job ran: run the job again\n"
    assert ran.stderr.endswith(f"kmeans-tf: error: {message}")
    assert run(*args, "--overwrite").code == 0


# Two jobs


@pytest.fixture
def publishing(tmp_path):
    """An output, its work folder and files to publish there, over an answer of before."""
    output = Output(Store(), OutputOptions(str(tmp_path / "out"), overwrite=True))
    work = output.work_folder("mine")
    files = {name: work.file(name) for name in ("labels/a.parquet", "labels/b.parquet", "run.json")}
    for path in (*files.values(), output.file("run.json"), output.file("_SUCCESS")):
        output.store.write(path, b"mine")
    return output, work, files


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_job_whose_folder_is_anothers_changes_no_more_of_it(publishing, monkeypatch, moves):
    """As where it stood still, and was taken for dead, in the middle of publishing."""
    output, work, files = publishing
    held, done = Path(output.path) / "_work" / "held", []

    def lose_it_after_so_many(name):
        original = getattr(Store, name)

        def changed(store, *args):
            assert held.exists(), "it looks before it changes anything"
            original(store, *args)
            done.append(args[-1])
            if len(done) == 1 + moves:
                held.unlink()

        monkeypatch.setattr(Store, name, changed)

    with (
        pytest.raises(NoResumeError, match="_work was removed while the job ran"),
        output.held(),
    ):
        lose_it_after_so_many("move")
        lose_it_after_so_many("delete")
        output.publish(work, {}, files)
    assert done == [output.file(name) for name in ("_SUCCESS", *list(files)[:moves])]
    monkeypatch.undo()
    assert not output.finished


def test_a_job_that_lost_its_folder_to_one_that_is_done_does_not_pass_for_that(
    publishing, monkeypatch, capsys
):
    """As where it stood still before it wrote its record, and its work folder is gone by then."""
    output, work, files = publishing
    held, write = Path(output.path) / "_work" / "held", Store.write

    def written_late(store, path, data):
        if Path(path).name == "_publishing":
            held.unlink()
            store.delete(work.path)
            for name in (*files, "_SUCCESS"):
                write(store, output.file(name), b"another's")
        write(store, path, data)

    monkeypatch.setattr(Store, "write", written_late)
    with pytest.raises(NoResumeError, match="was removed while the job ran"), output.held():
        output.publish(work, {}, files)
    assert not output.finish_pending({})
    assert "run.json is another job's: what led to it is done again\n" in capsys.readouterr().err
    assert output.finished
    assert Path(output.file("labels/a.parquet")).read_bytes() == b"another's"


def test_what_is_published_outlives_the_sudden_end_of_the_machine(publishing, monkeypatch):
    """What comes before is on the disk before what comes next begins."""
    output, work, files = publishing
    names = {Path(path).stat().st_ino: name for name, path in files.items()}
    names |= {Path(output.path).stat().st_ino: "out"}
    events = []

    def synced(descriptor):
        record = Path(output.file("_publishing"))
        if record.exists():
            names[record.stat().st_ino] = record.name
        return names.get(os.fstat(descriptor).st_ino, "labels")

    def watch(of, attribute, told):
        original = getattr(of, attribute)

        def watched(*args):
            original(*args)
            events.append(told(*args))

        monkeypatch.setattr(of, attribute, watched)

    with output.held():
        watch(os, "fsync", synced)
        watch(Store, "write", lambda store, path, data: posixpath.basename(path))
        watch(Store, "move", lambda store, source, target: "moved")
        watch(Store, "delete", lambda store, path: f"{posixpath.basename(path)} is gone")
        output.publish(work, {}, files)
    assert {*events[:3]} == {*files}
    assert events[3] == "_publishing"
    assert {*events[4:6]} == {"_publishing", "out"}
    assert events[6:11] == ["_SUCCESS is gone", "out", "moved", "moved", "moved"]
    assert {*events[11:13]} == {"model is gone", "_rejected is gone"}
    assert {*events[13:15]} == {"labels", "out"}
    assert events[15:17] == ["_SUCCESS", "out"]


def test_a_second_job_is_refused_at_the_start_and_told_who_is_there(
    run, three_blobs, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    args = ("fit", f"--input={three_blobs.folder}", f"--output={output}", *FIT)
    seconds = []
    scan = Fit.scan

    def scan_beside_another(self):
        if not seconds:
            seconds.extend(run(*args, option) for option in ("--overwrite", "--seed=5", "--check"))
        return scan(self)

    monkeypatch.setattr(Fit, "scan", scan_beside_another)
    assert run(*args).code == 0
    me = rf"{re.escape(socket.gethostname())}, pid {os.getpid()}, since \d{{4}}-\d\d-\d\d .* UTC"
    for second in seconds:
        assert second.code == 2
        assert re.fullmatch(
            rf"kmeans-tf: error: --output {output}: another job is at work there \({me}\): "
            "wait for its end, or name another folder\n",
            second.stderr,
        )
    assert len(seconds) == 3
    assert set(contents(output)) == {f"labels/{part_names(1)[0]}"} | MODEL_FILES | BESIDE


def test_a_job_that_is_refused_makes_and_leaves_no_folder(run, tmp_path):
    output = tmp_path / "new" / "out"
    assert run("fit", f"--input={tmp_path / 'none'}", f"--output={output}", *FIT).code == 3
    assert not (tmp_path / "new").exists()


# An output within its input


@pytest.fixture
def linked(tmp_path):
    """A folder with a table, links to it, and a table beside a link to another folder."""
    write_shards(tmp_path / "in", np.arange(20.0)[:, None], names=["x"])
    write_shards(tmp_path / "other" / "deep", np.arange(20.0)[:, None], names=["x"])
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "in-two").mkdir()
    shutil.copy(tmp_path / "in" / "shard-00000.parquet", tmp_path / "in-two")
    (tmp_path / "in-two" / "below").symlink_to(tmp_path / "other")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("link", "in/out"),
        ("in", "link/out"),
        ("link", "link/a/b"),
        ("in-two", "other/out"),
        ("in-two", "other/deep/out"),
        ("i*", "in/out"),
        ("*/", "in/out"),
        ("in/*", "link/out"),
        ("**/*", "in/a/b"),
    ],
)
def test_an_output_in_the_input_is_refused_however_it_is_spelt(run, linked, source, output):
    before = sorted(linked.rglob("*"))
    ran = run("fit", f"--input={linked / source}", f"--output={linked / output}", "--k=2")
    assert ran.code == 2, ran.stderr
    assert f"--output {linked / output} lies in --input " in ran.stderr
    assert sorted(linked.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "output"),
    [("in/*.parquet", "in/out"), ("in-two", "in/out"), ("in/shard-00000.parquet", "in/out")],
)
def test_an_output_beside_the_input_is_not(run, linked, source, output):
    ran = run("fit", f"--input={linked / source}", f"--output={linked / output}", "--check")
    assert ran.code == 0, ran.stderr


def cut(part):
    """As where the machine ended before all of it was on the disk."""
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])


def full_of_zeros(part):
    """As where what was written last was on the disk first: the footer is whole."""
    data = bytearray(part.read_bytes())
    start = len(data) // 4
    data[start : start + 100] = bytes(100)
    part.write_bytes(data)


@pytest.mark.parametrize(
    ("where", "spoil"),
    [
        ("pipeline.passes.label.save_manifest", lambda part: None),
        ("pipeline.driver.fit.write_results", cut),
        ("pipeline.driver.fit.write_results", full_of_zeros),
    ],
    ids=["not in the manifest", "cut", "full of zeros"],
)
def test_labels_of_an_attempt_that_failed_are_not_in_the_answer(
    run, trained, three_blobs, tmp_path, monkeypatch, where, spoil
):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")

    def fail(*args):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        assert run("fit", *places, *FIT).code == 5
    (left,) = (tmp_path / "out" / "_work").iterdir()
    (part,) = (left / "labels").iterdir()
    spoil(part)
    assert run("fit", *places, *FIT).code == 0
    parts = list((tmp_path / "out" / "labels").iterdir())
    assert [path.name for path in parts] == part_names(1)
    assert_same_answer(Answer(tmp_path / "out"), trained)
