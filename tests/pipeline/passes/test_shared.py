"""Values that every process reads once from the work folder."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.data.store import Store
from pipeline.errors import RunError
from pipeline.passes import shared
from pipeline.passes.shared import fetch, remember, share


@dataclass(frozen=True)
class Value:
    numbers: np.ndarray


@pytest.fixture
def another_process(monkeypatch):
    """Lets the next `fetch` begin without anything in memory."""
    return lambda: monkeypatch.setattr(shared, "_MEMO", shared._Memo())


def numbers(store, place) -> list:
    return fetch(store, place, [Value]).numbers.tolist()


def test_it_is_read_where_it_was_not_written(tmp_path, another_process):
    store, path = Store(), str(tmp_path / "value")
    place = share(store, path, Value(np.arange(3)))
    another_process()
    assert numbers(store, pickle.loads(pickle.dumps(place))) == [0, 1, 2]
    (tmp_path / "value").unlink()
    assert numbers(store, place) == [0, 1, 2]  # from memory now


def test_what_is_sent_is_small(tmp_path):
    place = share(Store(), str(tmp_path / "value"), Value(np.zeros(1_000_000)))
    assert len(pickle.dumps(place)) < 500


def test_the_latest_takes_the_place_of_those_before(tmp_path, another_process):
    store = Store()
    first = share(store, str(tmp_path / "1"), Value(np.array([1])), slot="state")
    share(store, str(tmp_path / "2"), Value(np.array([2])), slot="state")
    (tmp_path / "1").unlink()
    with pytest.raises(RunError, match=rf"^{tmp_path}/1 cannot be read here: .*--output"):
        fetch(store, first, [Value])


def test_a_file_is_known_by_what_is_in_it(tmp_path, another_process):
    store, path = Store(), str(tmp_path / "value")
    place = share(store, path, Value(np.array([1])))
    assert remember(path, store.read(path), Value(np.array([1]))) == place
    another = share(store, path, Value(np.array([2])))
    another_process()
    assert numbers(store, another) == [2]
    with pytest.raises(RunError, match="is not what this job wrote"):
        fetch(store, place, [Value])
