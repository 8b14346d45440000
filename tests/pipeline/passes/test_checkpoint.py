"""What the job writes down comes back to the bit, every field of it."""

import io
import json
import math
import os
from collections import Counter
from dataclasses import fields, is_dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmeans_tf import TrainingState, Trial
from kmeans_tf.state import Oversampling, Proof
from kmeans_tf.summary import Summary
from pipeline.errors import DamagedError, NoResumeError
from pipeline.passes.archive import sealed
from pipeline.passes.checkpoint import (
    WorkFolder,
    checkpoints,
    find_manifest,
    find_state,
    find_summary,
    latest_state,
    load_manifest,
    load_state,
    load_summary,
    save_manifest,
    save_state,
    save_summary,
    settle,
)
from pipeline.passes.totals import LabelTotals

any_float = st.floats(width=64)
A_ROW = (np.ones((1, 2)), np.ones(1), np.ones(1, bool))
matrix = hnp.arrays(np.float64, (3, 2), elements=any_float)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return WorkFolder(str(tmp_path_factory.mktemp("work")))


@st.composite
def trials(draw):
    return Trial(
        prototypes=draw(matrix),
        labels=np.array(draw(st.lists(st.integers(0, 99), min_size=3, max_size=3)), np.int32),
        optimizer_state=tuple(draw(st.lists(matrix, max_size=2))),
        status=draw(st.sampled_from(["running", "converged", "max_iterations", "diverged"])),
        costs=tuple(draw(st.lists(any_float, max_size=4))),
        relocated=tuple(draw(st.lists(st.integers(0, 9), max_size=4))),
    )


def plain(value):
    """What is equal where two values are of the same types and bits; a NaN is any NaN."""
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return type(value), {name: plain(content) for name, content in named.items()}
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value.hex()
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return type(value), value


def has_no_default(value) -> bool:
    """Whether no field is what it would be if it were not written down."""
    return all(
        getattr(value, field.name) != field.default
        for field in fields(value)
        if not isinstance(getattr(value, field.name), np.ndarray)
    )


@hypothesis.given(
    st.lists(trials(), min_size=1, max_size=3),
    st.integers(0, 999_999),
    st.none() | st.integers(0, 2**2000),
    st.sampled_from(["single", "double"]),
)
def test_a_state_comes_back_to_the_bit(work, parts, iteration, squares, precision):
    state = TrainingState(tuple(parts), iteration, squares, precision)
    save_state(work, state)
    assert plain(load_state(work, work.state(iteration))) == plain(state)


def test_every_field_of_a_state_comes_back(work):
    ones = np.ones((3, 2))
    trial = Trial(
        *(ones, np.array([4, 2, 0], np.int32), (ones,), "converged", (2.5,), (1,)),
        proof=Proof(5, 2.25, 2.5, 3, open=False),
        oversampling=Oversampling(6, 3, draws=2),
    )
    assert trial.proof and has_no_default(trial.proof)
    assert trial.oversampling and has_no_default(trial.oversampling)
    state = TrainingState((trial,), 7, 12, "double")
    assert has_no_default(trial)
    assert has_no_default(state)
    save_state(work, state)
    assert plain(load_state(work, work.state(7))) == plain(state)


def test_the_latest_state_is_that_of_the_most_iterations(tmp_path):
    work = WorkFolder(str(tmp_path))
    assert find_state(work) is None
    trial = Trial.start(np.zeros((2, 2)))
    for iteration in (0, 9, 10, 2):
        save_state(work, TrainingState((trial,), iteration))
    (tmp_path / "state" / ".000011.half-written").touch()
    assert latest_state(work).iteration == 10
    names = [path.rpartition("/")[2] for path in checkpoints(work)]
    assert names == ["000000", "000002", "000009", "000010"]


@pytest.mark.parametrize("moments", [False, True])
def test_a_summary_comes_back_to_the_bit(tmp_path, moments):
    rng = np.random.default_rng(0)
    rows, weights = rng.standard_normal((50, 3)), rng.uniform(size=50)
    rows[3, 1], rows[4, 2] = np.nan, np.inf
    good = np.isfinite(rows).all(1)
    bad = Counter({("a, ü.parquet", "x", "NaN"): 1, ("a, ü.parquet", "y", "infinite"): 1})
    summary = Summary.of(
        rows, weights, good, seed=1, capacity=20, moments=moments, used=good, bad=bad
    )
    work = WorkFolder(str(tmp_path))
    assert find_summary(work) is None
    save_summary(work, summary)
    loaded = load_summary(work)
    assert plain(loaded) == plain(summary)
    assert has_no_default(summary) == moments


def test_a_summary_that_came_back_adds_up_like_the_one_written(tmp_path):
    rows = np.random.default_rng(0).standard_normal((50, 3))
    ones, good = np.ones(50), np.ones(50, bool)
    summary = Summary.of(rows, ones, good, seed=1, capacity=20, moments=True)
    work = WorkFolder(str(tmp_path))
    save_summary(work, summary)
    loaded = load_summary(work)
    assert (loaded + summary).moments == (summary + summary).moments


def totals(part: str, rows: list[int]) -> LabelTotals:
    bad = Counter({(part, "x", "null"): 2})
    counts = np.array(rows)
    counted = (counts, (2**900, 5), (7, 2**1100), int(counts.sum()), 2, bad)
    return LabelTotals(*counted, {part: part}, rows[0] << 64 | rows[1])


def test_a_manifest_comes_back(tmp_path):
    work = WorkFolder(str(tmp_path))
    assert find_manifest(work) is None
    total = totals("a", [1, 2]) + totals("b", [3, 4])
    save_manifest(work, total)
    loaded = load_manifest(work)
    assert plain(loaded) == plain(total)
    assert has_no_default(total)
    assert (loaded.weight, loaded.cost) == ((2**901, 10), (14, 2**1101))


def test_totals_add_up_in_any_order():
    parts = [totals(name, [i, 2 * i]) for i, name in enumerate("abc")]
    zero = LabelTotals.zero(2, {})
    one = sum(parts, zero)
    other = zero + (parts[2] + (parts[1] + parts[0]))
    assert plain(one) == plain(other)


def test_nothing_in_a_checkpoint_is_pickled(work):
    save_state(work, TrainingState((Trial.start(np.zeros((2, 2))),), 77))
    with np.load(work.state(77), allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= {"f", "i", "u"}


# What cannot be read


def of_another_version(path):
    edit(path, lambda header: header.update(version=99))


def without_a_field(path):
    edit(path, lambda header: header["value"]["TrainingState"].pop("squares"))


def with_a_field_more(path):
    edit(path, lambda header: header["value"]["TrainingState"].update(mood=1))


def of_another_kind(path):
    edit(path, lambda header: header.update(value={"Summary": {}}))


def without_an_array(path):
    edit(path, lambda header: header["value"]["TrainingState"].update(squares={"array": "other"}))


def edit(path, change):
    """Writes a checkpoint anew, its header changed."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    change(header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    path.write_bytes(sealed(stream.getvalue(), str(path)))


def junk(path):
    path.write_bytes(b"neither NumPy nor zip")


def empty(path):
    path.write_bytes(b"")


def one_array(path):
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


def one_byte_wrong(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"TrainingState")] ^= 1
    path.write_bytes(data)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_an_unknown_compression(path):
    data = path.read_bytes()
    entry = data.rindex(b"PK\1\2")
    path.write_bytes(data[: entry + 10] + b"\x63" + data[entry + 11 :])


def of_another_job(path):
    other = WorkFolder(str(path.parents[1].with_name("other")))
    save_state(other, TrainingState((Trial.start(np.zeros((2, 2))),), 7))
    path.write_bytes(Path(other.state(7)).read_bytes())


def of_another_iteration(path):
    work = WorkFolder(str(path.parents[1]))
    save_state(work, TrainingState((Trial.start(np.zeros((2, 2))),), 3))
    Path(work.state(3)).replace(path)


def a_bit_wrong_in_an_array(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"array0.npy") + 200] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (of_another_version, "it is of version 99, expected 3"),
        (without_a_field, "its TrainingState has no field 'squares'"),
        (with_a_field_more, "its TrainingState has an unknown field 'mood'"),
        (
            of_another_kind,
            "it holds a Summary, expected TrainingState or Trial or Proof or Oversampling",
        ),
        (without_an_array, "KeyError: 'other'"),
    ],
)
def test_a_checkpoint_that_another_version_has_sealed_is_named_and_stays(tmp_path, spoil, reason):
    """No crash makes one, and whoever installs that version again can go on with it."""
    work = WorkFolder(str(tmp_path))
    for iteration in (6, 7):
        save_state(work, TrainingState((Trial.start(np.zeros((2, 2))),), iteration))
    path = work.state(7)
    spoil(Path(path))
    with pytest.raises(NoResumeError) as refused:
        latest_state(work)
    assert str(refused.value) == (
        f"checkpoint {path} cannot be read ({reason}): start again with --resume never"
    )
    assert checkpoints(work) == [work.state(6), path]


def told(path):
    return f"warning: checkpoint {path} is damaged, or something else: what led to it is done again"


DAMAGES = [
    *(junk, empty, one_array, one_byte_wrong, cut_off, of_an_unknown_compression),
    *(of_another_job, of_another_iteration, a_bit_wrong_in_an_array),
]


@pytest.mark.parametrize("spoil", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_taken_up_and_a_line_says_so(
    tmp_path, capsys, spoil
):
    work = WorkFolder(str(tmp_path / "mine"))
    for iteration in (4, 5, 6, 7):
        save_state(work, TrainingState((Trial.start(np.full((2, 2), iteration)),), iteration))
    for iteration in (6, 7):
        spoil(Path(work.state(iteration)))
    found = find_state(work)
    assert (found.iteration, found.trials[0].prototypes[0, 0]) == (5, 5)
    assert capsys.readouterr().err.splitlines() == [told(work.state(i)) for i in (7, 6)]
    assert checkpoints(work)[-2:] == [work.state(4), work.state(5)], "no damaged one is the newest"


def test_where_all_checkpoints_are_damaged_there_is_none(tmp_path, capsys):
    """As where the machine ended before the first round did."""
    work = WorkFolder(str(tmp_path))
    for iteration in (0, 1):
        save_state(work, TrainingState((Trial.start(np.zeros((2, 2))),), iteration))
        empty(Path(work.state(iteration)))
    assert find_state(work) is None
    assert capsys.readouterr().err.splitlines() == [told(work.state(i)) for i in (1, 0)]
    assert not checkpoints(work)
    assert find_state(work) is None and not capsys.readouterr().err


def test_what_a_pass_has_written_and_is_damaged_is_not_there(tmp_path, capsys):
    work = WorkFolder(str(tmp_path))
    save_manifest(work, totals("a", [1, 2]))
    cut_off(Path(work.file("manifest")))
    with pytest.raises(DamagedError, match=r"checkpoint .*manifest is damaged"):
        load_manifest(work)  # in the attempt that wrote it
    assert find_manifest(work) is None
    assert capsys.readouterr().err.splitlines() == [told(work.file("manifest"))]


def test_the_newest_checkpoint_outlives_the_end_of_the_machine(tmp_path, monkeypatch):
    work = WorkFolder(str(tmp_path))
    save_summary(work, Summary.of(*A_ROW, seed=0, capacity=1))
    for iteration in (1, 2):
        save_state(work, TrainingState((Trial.start(np.zeros((2, 2))),), iteration))
    inodes, fsync = set(), os.fsync

    def watched(descriptor):
        inodes.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    settle(work)
    named = (work.file("summary"), work.state(2), work.states, work.path)
    assert {Path(path).stat().st_ino for path in named} <= inodes
