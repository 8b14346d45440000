"""Prototypes as many chunks are compared with them: what is found once."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kmeans_tf.projected import Projected


def prototypes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((30, 4))


def test_a_drift_is_found_once_for_where_they_came_from():
    here, before = Projected(prototypes(0)), prototypes(1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: here.drift_from(before), range(40)))
    assert len(set(map(id, found))) == 1
    exact = np.linalg.norm((here.values - before).astype(np.longdouble), axis=1)
    assert (found[0].moved >= exact).all()
    assert (found[0].moved <= exact * (1 + 1e-6)).all()
    assert (np.diff(found[0].ordered) <= 0).all()
    assert np.array_equal(found[0].ordered, found[0].moved[found[0].order])


def test_a_drift_from_elsewhere_is_another():
    here = Projected(prototypes(0))
    first = here.drift_from(prototypes(1))
    second = here.drift_from(prototypes(2))
    assert not np.array_equal(first.moved, second.moved)
    np.testing.assert_allclose(here.drift_from(here.values.copy()).moved, 0, atol=1e-30)


def test_what_is_kept_does_not_travel():
    here = Projected(prototypes(0))
    here.drift_from(prototypes(1))
    there = pickle.loads(pickle.dumps(here))
    assert np.array_equal(there.values, here.values)
    assert len(pickle.dumps(here)) == len(pickle.dumps(there))
    np.testing.assert_allclose(there.squares, (here.values**2).sum(1))
