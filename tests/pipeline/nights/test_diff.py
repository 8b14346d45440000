"""What `diff` says of two outputs."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.digests import digest_of, hash_values, row_hashes
from pipeline.data.page_sums import whole_table
from pipeline.output.run_record import RUN, RunRecord
from tests.pipeline.answer import Answer
from tests.tables import write_shards

pytestmark = pytest.mark.xdist_group("diff")  # for the fixtures of this module

FIT = ("--features=f0,f1", "--keys=id", "--k=3", "--max_iterations=3")


@pytest.fixture(scope="module")
def one(fit, three_blobs, tmp_path_factory):
    return fit(three_blobs.folder, tmp_path_factory.mktemp("one") / "out", *FIT)


@pytest.fixture
def diff(run, capsys):
    """diff(a, b) -> the exit code and the lines that were written."""

    def differ(*folders):
        ran = run("diff", *folders)
        return ran.code, [*capsys.readouterr().out.splitlines(), *ran.stderr.splitlines()]

    return differ


def test_the_digests_are_those_of_what_is_in_the_files(one):
    table, run = one.table, one.run
    hashes = row_hashes([hash_values(table["id"]), hash_values(table["label"])])
    assert run.digests.labels == f"{digest_of(hashes):032x}"
    assert len({run.digests.prototypes, run.digests.history, run.digests.labels}) == 3


def test_an_output_and_its_copy_are_the_same(diff, one, tmp_path):
    copy = shutil.copytree(one.folder, tmp_path / "copy")
    assert diff(one.folder, copy) == (0, ["the answers are the same"])


def test_other_files_order_and_threads_are_told_and_the_answer_is_the_same(
    diff, fit, one, three_blobs, tmp_path
):
    """The digest of the labels does not tell the order of the rows."""
    write_shards(
        *(tmp_path / "in", three_blobs.points),
        **{"shards": 7, "keys": {"id": np.arange(600)}, "row_group_size": 11, "shuffle_seed": 3},
    )
    other = fit(tmp_path / "in", tmp_path / "out", *FIT, "--threads=1")
    assert not other.table.equals(one.table)
    assert other.run.digests == one.run.digests
    code, lines = diff(one.folder, other.folder)
    assert code == 0
    assert lines[-1] == "the answers are the same"
    assert "configuration: the input: other files, or files that were rewritten" in lines
    assert (
        f"configuration: input is {str(three_blobs.folder)!r} and {str(tmp_path / 'in')!r}" in lines
    )
    assert any(line.startswith("configuration: threads is ") for line in lines[:-1])
    assert {line.partition(":")[0] for line in lines[:-1]} == {"configuration"}


def test_another_training_is_told_by_prototypes_and_labels(diff, fit, one, three_blobs, tmp_path):
    start = np.concatenate([one.centres[:2], one.centres[1:2] + 0.5])
    pq.write_table(
        pa.table({"label": [0, 1, 7], "f0": start[:, 0], "f1": start[:, 1]}), tmp_path / "s.parquet"
    )
    options = ("--features=f0,f1", "--keys=id", f"--init={tmp_path / 's.parquet'}")
    other = fit(three_blobs.folder, tmp_path / "out", *options, "--max_iterations=0")
    moved = np.count_nonzero(other.labels != one.labels)
    assert 0 < moved < 600
    code, lines = diff(one.folder, other.folder)
    assert code == 1
    assert "configuration: max_iterations is 3 and 0" in lines
    assert lines[-4:] == [
        "prototypes: 1 only in the first",
        "prototypes: 1 only in the second",
        f"labels: {moved} of 600 rows have another label",
        "the answers differ",
    ]


@pytest.mark.parametrize("at_a_time", [1 << 22, 50], ids=["at once", "in buckets"])
def test_rows_that_only_one_has_are_counted(
    diff, fit, one, three_blobs, tmp_path, monkeypatch, at_a_time
):
    """Two keys are missing, three are new, and one appears once more."""
    monkeypatch.setattr("pipeline.nights.diff._BUCKET_ROWS", at_a_time)
    ids = np.r_[np.arange(2, 600), [1000, 1001, 1002, 5]]
    points = three_blobs.points[np.r_[np.arange(2, 600), [9, 9, 9, 5]]]
    write_shards(tmp_path / "in", points, keys={"id": ids})
    model = f"--model={one.folder}"
    other = fit(tmp_path / "in", tmp_path / "out", model, "--keys=id", command="label")
    code, lines = diff(one.folder, other.folder)
    assert code == 1
    assert "configuration: one is of fit, the other of label" in lines
    assert lines[-5:] == [
        "rows: 600 and 602 rows",
        "rows: 600.0 and 602.0 weight",
        "labels: 2 rows are only in the first",
        "labels: 4 rows are only in the second",
        "the answers differ",
    ]
    with pytest.MonkeyPatch.context() as patch:  # the labels of those in both are the same
        patch.setattr("pipeline.nights.diff.Outputs._rows", lambda _: iter(()))
        assert "another label" not in " ".join(diff(one.folder, other.folder)[1])


def test_labelling_again_gives_the_digests_of_the_training(diff, fit, one, three_blobs, tmp_path):
    options = (f"--model={one.folder}", "--keys=id")
    again = fit(three_blobs.folder, tmp_path / "out", *options, command="label")
    assert again.run.digests.labels == one.run.digests.labels
    assert again.run.digests.prototypes == one.run.digests.prototypes
    assert diff(one.folder, again.folder)[0] == 0


def test_rows_without_keys_are_known_by_their_places(fit, three_blobs, tmp_path):
    answer = fit(three_blobs.folder, tmp_path / "out", "--features=f0,f1", "--max_iterations=0")
    columns = [hash_values(answer.table[name]) for name in ("file", "row", "label")]
    assert answer.run.digests.labels == f"{digest_of(row_hashes(columns)):032x}"


def test_outputs_of_before_there_were_digests_are_compared_by_their_files(
    diff, one, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.nights.diff._BUCKET_ROWS", 100)
    folder = shutil.copytree(one.folder, tmp_path / "old")
    without_digests(folder)
    assert RunRecord.parse((folder / RUN).read_bytes()).digests is None
    assert diff(folder, one.folder) == (0, ["the answers are the same"])
    (part,) = (folder / "labels").iterdir()
    table = pq.read_table(part)
    labels = table["label"].to_numpy().copy()
    labels[:17] = 2 - labels[:17] % 2
    changed = np.count_nonzero(labels != Answer(one.folder).labels)
    pq.write_table(table.set_column(1, "label", pa.array(labels)), part)
    code, lines = diff(folder, one.folder)
    assert (code, lines[0]) == (1, f"labels: {changed} of 600 rows have another label")


def test_lists_of_other_lengths_are_other_features(diff, fit, tmp_path):
    folders = []
    for width in (2, 3):
        rows = np.arange(20.0 * width).reshape(20, width)
        write_shards(tmp_path / f"in-{width}", rows, layout="list")
        folders.append(tmp_path / f"out-{width}")
        fit(tmp_path / f"in-{width}", folders[-1], "--k=2", "--max_iterations=1")
    code, lines = diff(*folders)
    assert code == 1
    assert "prototypes: they have other features" in lines


def test_long_values_are_cut(diff, fit, one, three_blobs, tmp_path):
    names = [f"f{i}" for i in range(120)]
    write_shards(tmp_path / "in", np.arange(2400.0).reshape(20, 120), names=names)
    other = fit(tmp_path / "in", tmp_path / "out", "--k=2", f"--features={','.join(names)}")
    code, lines = diff(one.folder, other.folder)
    assert code == 1
    assert any(line.startswith("configuration: features is ") for line in lines)
    assert max(map(len, lines)) < 500


def test_whoever_reads_it_may_have_seen_enough(one, tmp_path):
    copy = shutil.copytree(one.folder, tmp_path / "copy")
    record = json.loads((copy / RUN).read_text())
    record["versions"]["python"] = "2.7"
    del record["checksum"]
    (copy / RUN).write_text(json.dumps(record))
    command = [sys.executable, "-m", "pipeline", "diff", one.folder, copy]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (0, b"")


def without_digests(folder):
    """Its record is as an earlier version wrote it."""
    record = json.loads((folder / RUN).read_text())
    del record["digests"], record["checksum"]
    (folder / RUN).write_text(json.dumps(record))


def no_labels(folder):
    shutil.rmtree(folder / "labels")
    without_digests(folder)
    return "no labels there"


def damaged_labels(folder):
    (part,) = (folder / "labels").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    without_digests(folder)
    return str(part)


def no_output(folder):
    (folder / RUN).unlink()
    return f"not an output of this job: {folder / RUN} is not there"


def damaged_prototypes(folder):
    (folder / "prototypes.parquet").write_bytes(b"PAR1, no more")
    return f"{folder / 'prototypes.parquet'} cannot be read"


def other_types(folder):
    table = pq.read_table(folder / "prototypes.parquet")
    path = folder / "prototypes.parquet"
    pq.write_table(table.set_column(4, "f0", pa.array(["a", "b", "c"])), path)
    without_digests(folder)
    return "files are not what this job wrote: "


def damaged_record(folder):
    (folder / RUN).write_text((folder / RUN).read_text()[:-100])
    return f"{folder / RUN} cannot be read"


@pytest.mark.parametrize("name", ["labels", "prototypes.parquet", "history.parquet"])
def test_no_bit_of_a_page_changes_unseen(one, name):
    """Of numbers that do not compress, so that no other check would find it."""
    path = one.folder / name
    data = (next(path.iterdir()) if path.is_dir() else path).read_bytes()
    table, random, refused = whole_table(data), np.random.default_rng(2), 0
    for place in random.integers(4, len(data), 60):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << random.integers(8)
        try:
            assert whole_table(bytes(spoilt)).equals(table), place
        except (pa.ArrowException, OSError, ValueError):
            refused += 1
    assert refused


@pytest.mark.parametrize(
    "spoil",
    [no_labels, damaged_labels, no_output, damaged_prototypes, other_types, damaged_record],
)
def test_what_is_no_output_is_trouble(diff, one, tmp_path, spoil):
    folder = shutil.copytree(one.folder, tmp_path / "out")
    words = spoil(folder)
    for folders in ((folder, one.folder), (one.folder, folder)):
        code, (*_, last) = diff(*folders)
        assert code == 2
        assert last.startswith("kmeans-tf: error: diff ")
        assert f"{folder}" in last
        assert words in last
