"""Sums that travel themselves, or by the files that they lie in."""

import pickle
from dataclasses import replace
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kmeans_tf.stats import ClusterStats, IterationStats
from pipeline.errors import RunError
from pipeline.passes import parcels
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.parcels import INLINE_BYTES, Parcel, drop, receive, send

KINDS = (IterationStats, ClusterStats)


def stats(seed: int, k: int = 3) -> IterationStats:
    rng = np.random.default_rng(seed)
    rows, sums = rng.integers(0, 9, k), rng.integers(-(2**50), 2**50, (k, 2))
    return IterationStats({0: ClusterStats(rows, rows[:, None], sums, seed)}, seed**9)


def plain(total: IterationStats) -> tuple:
    (of_trial,) = total.clusters.values()
    return of_trial.rows.tolist(), of_trial.sums.tolist(), of_trial.cost, total.squares


@pytest.fixture
def work(tmp_path):
    return WorkFolder(str(tmp_path))


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(st.sampled_from([0, 1 << 20]), min_size=1, max_size=6))
def test_parts_add_up_wherever_they_lie(work, limits):
    sent = []
    for number, limit in enumerate(limits):
        with mock.patch.object(parcels, "INLINE_BYTES", limit):
            sent.append(send(work, work.sums, stats(number)))
    assert [bool(parcel.files) for parcel in sent] == [limit == 0 for limit in limits]
    total = Parcel()
    for parcel in sent:
        total += pickle.loads(pickle.dumps(parcel))
    expected = sum(map(stats, range(len(limits))), IterationStats.zero())
    assert plain(receive(work, total, KINDS)) == plain(expected)


def test_nothing_is_the_sum_of_no_parts(work):
    assert receive(work, Parcel() + Parcel(), KINDS) is None


def test_what_travels_is_small_whatever_it_stands_for(work):
    k = INLINE_BYTES // 32  # 8 bytes of rows, of weight, and twice of sums
    itself = send(work, work.sums, stats(0, k - 100))
    by_file = send(work, work.sums, stats(0, k))
    assert (len(itself.files), len(by_file.files)) == (0, 1)
    assert len(pickle.dumps(itself)) < 1.01 * INLINE_BYTES
    assert len(pickle.dumps(by_file)) < 1000


def test_a_lone_process_hands_large_sums_over_and_writes_no_file(work, tmp_path, monkeypatch):
    """Until they are let go: a bundle may come twice."""
    monkeypatch.setattr(parcels, "INLINE_BYTES", 0)
    alone = replace(work, alone=True)
    one, two = (pickle.loads(pickle.dumps(send(alone, work.sums, stats(i)))) for i in (1, 2))
    assert not list(tmp_path.rglob("*"))
    for _ in range(2):
        assert plain(receive(alone, one + two, KINDS)) == plain(stats(1) + stats(2))
    drop(alone, work.sums)
    with pytest.raises(RunError, match=f"a worker's sums for {one.files[0]} are gone"):
        receive(alone, one, KINDS)


@pytest.mark.parametrize("alone", [False, True])
def test_sums_are_let_go_by_their_folder(work, monkeypatch, alone):
    monkeypatch.setattr(parcels, "INLINE_BYTES", 0)
    work = replace(work, alone=alone)
    dropped, kept = send(work, work.sums_of(1), stats(1)), send(work, work.sums_of(11), stats(2))
    drop(work, work.sums_of(1))
    with pytest.raises(RunError, match=r"gone|cannot be read"):
        receive(work, dropped, KINDS)
    assert plain(receive(work, kept, KINDS)) == plain(stats(2))


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_file_that_is_not_whole_is_told(work, tmp_path, monkeypatch, harm):
    monkeypatch.setattr(parcels, "INLINE_BYTES", 0)
    parcel = send(work, work.sums, stats(1))
    (file,) = (tmp_path / "sums").iterdir()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RunError, match=f"a worker's sums in {file} cannot be read"):
        receive(work, parcel, KINDS)
