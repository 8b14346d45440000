"""Points in files are the points that were put there."""

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kmeans_tf.encoding import DOUBLE, SINGLE, Encoding
from kmeans_tf.points import Points
from pipeline.passes.stage import Stage

D = 3


def points(n, precision=SINGLE, weights=None) -> Points:
    rows = np.random.default_rng(0).normal(size=(n, D))
    ones = np.ones(D)
    encoding = Encoding(0 * ones, ones, 1.0, False, 2.0**-60 * ones, precision=precision)
    return Points.encode(encoding, rows, weights)


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025])
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_loaded_is_what_was_kept(tmp_path, n, precision, weighted):
    given = points(n, precision, np.arange(n) / 3 if weighted else None)
    loaded = Stage(tmp_path / "new").keep("3-0", given).load()
    assert loaded.rows == n
    for name in ("values", "norms"):
        one, other = (np.asarray(getattr(p, name)) for p in (given, loaded))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(given.array, loaded.array)
    assert (loaded.weights is None) == (not weighted)
    if weighted:
        np.testing.assert_array_equal(given.weights, loaded.weights)


def test_who_stages_again_leaves_one_file_and_takes_none_away(tmp_path):
    stage, given = Stage(tmp_path), points(10)
    first = stage.keep("3-0", given).load()
    stage.keep("3-0", points(10))
    assert [path.name for path in tmp_path.iterdir()] == ["3-0"]
    np.testing.assert_array_equal(first.array, given.array)


def test_what_a_full_disk_takes_half_of_is_given_back(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        Stage(tmp_path).keep("3-0", points(10))
    assert not [*tmp_path.iterdir()]


def test_a_file_that_is_gone_is_lost(tmp_path):
    staged = Stage(tmp_path).keep("3-0", points(10))
    assert not staged.is_lost
    staged.path.unlink()
    assert staged.is_lost


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("nowhere", False), ("auto", True), ("nearly full", False), ("nearly full, always", True)],
)
def test_a_tenth_of_the_disk_stays_free(tmp_path, monkeypatch, stage, expected):
    free = 150 if "nearly" in stage else 250
    disk = SimpleNamespace(f_bavail=free, f_blocks=1000, f_frsize=4096)
    monkeypatch.setattr("os.statvfs", lambda path: disk)
    folder = None if stage == "nowhere" else tmp_path
    assert Stage(folder, "always" in stage).has_room(100 * 4096) == expected
