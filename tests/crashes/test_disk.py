"""A disk that is full, or takes nothing any more, at every write that the job makes."""

import errno
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.store import Store
from tests.pipeline.answer import Answer, assert_same_answer, contents
from tests.tables import write_shards

FIT = ("--features=f0,f1", "--keys=id", "--k=3", "--max_iterations=3", "--iterations_per_job=2")
CODES = {
    errno.ENOSPC: "free some space there; run the same command",
    errno.EROFS: "that can be written|that every worker can write",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "in"
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 2)) + np.repeat([[0], [30], [90]], 100, 0)
    write_shards(folder, points, shards=2, keys={"id": np.arange(300)})
    return folder


@pytest.fixture(scope="module")
def whole(fit, source, tmp_path_factory):
    return fit(source, tmp_path_factory.mktemp("whole") / "out", *FIT)


class Disk:
    """Counts the changes that a store makes, and refuses those from one on."""

    def __init__(self, monkeypatch, code: int):
        self.changes, self.refused_from, self.code = 0, None, code
        for name in ("create", "move", "local_folder"):
            self._watch(monkeypatch, name)

    def _watch(self, monkeypatch, name):
        original = getattr(Store, name)

        def watched(store, *args):
            self.changes += 1
            if self.refused_from is not None and self.changes >= self.refused_from:
                raise OSError(self.code, os.strerror(self.code))
            return original(store, *args)

        monkeypatch.setattr(Store, name, watched)


@pytest.mark.parametrize("code", CODES, ids=[errno.errorcode[code] for code in CODES])
def test_every_write_that_fails_ends_the_job_and_it_resumes(
    run, source, whole, tmp_path, monkeypatch, code
):
    disk = Disk(monkeypatch, code)
    args = ("fit", f"--input={source}")
    assert run(*args, f"--output={tmp_path / 'counted'}", *FIT).code == 0
    changes = disk.changes
    assert changes > 15, "the premise"
    # The same writes fail by either code: of the second some will do.
    for number in range(1, changes + 1, 1 if code == errno.ENOSPC else 3):
        output = tmp_path / f"{number}"
        disk.changes, disk.refused_from = 0, number
        ran = run(*args, f"--output={output}", *FIT)
        disk.refused_from = None
        told = ran.stderr.splitlines()[-1]
        assert os.strerror(code) in told
        if number == 1 and code == errno.EROFS:
            assert ran.code == 2, "nothing was begun"
        else:
            assert ran.code == 5, ran.stderr
            assert re.search(CODES[code], told)
        assert not (output / "_SUCCESS").exists()
        again = run(*args, f"--output={output}", *FIT)
        assert again.code == 0, f"change {number}: {again.stderr}"
        assert_same_answer(Answer(output), whole)
        assert set(contents(output)) == set(contents(whole.folder))


def test_a_model_that_tensorflow_cannot_write_ends_the_job_and_it_resumes(
    run, source, whole, tmp_path, monkeypatch
):
    def refuse(*args, **named):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    args = ("fit", f"--input={source}", f"--output={tmp_path / 'out'}", *FIT)
    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", refuse)
        ran = run(*args)
    assert ran.code == 5, ran.stderr
    assert "No space left on device: free some space there; run the same command" in ran.stderr
    assert run(*args).code == 0
    assert_same_answer(Answer(tmp_path / "out"), whole)
