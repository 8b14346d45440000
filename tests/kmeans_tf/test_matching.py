"""Which cluster goes on from which, what number it gets, and how far it went."""

from itertools import permutations

import numpy as np
import pytest

from kmeans_tf import Model
from kmeans_tf.matching import NEW, free_numbers, match, moves, numbered

TOP = 2**31 - 1


def model_of(prototypes, metric="sqeuclidean", scale=None):
    prototypes = np.array(prototypes, np.float64)
    k, d = prototypes.shape
    scale = np.ones(d) if scale is None else np.array(scale)
    return Model(metric, prototypes, np.arange(k, dtype=np.int32), np.zeros(d), scale)


def distances_by_hand(metric, earlier, prototypes, scale):
    a, b = earlier * scale, prototypes * scale
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return ((b[:, None] - a) ** 2).sum(2) ** 0.5
    if metric == "l1":
        return np.abs(b[:, None] - a).sum(2)
    return ((b[:, None] - a) ** 2).sum(2) ** 0.5


@pytest.mark.parametrize("metric", ["sqeuclidean", "l1", "cosine"])
@pytest.mark.parametrize(("k0", "k"), [(5, 5), (3, 5), (5, 3), (1, 4), (4, 1)])
def test_no_other_pairing_is_nearer_in_total(metric, k0, k):
    random = np.random.default_rng(10 * k0 + k)
    scale = np.array([1.0, 100.0, 0.01])
    earlier, prototypes = random.normal(3, 1, (k0, 3)), random.normal(3, 1, (k, 3))
    matched = match(model_of(earlier, metric, scale), prototypes)
    pairs = [(i, j) for i, j in enumerate(matched.tolist()) if j != NEW]
    assert len(pairs) == min(k0, k) == len({j for _, j in pairs})
    distances = distances_by_hand(metric, earlier, prototypes, scale)
    if metric == "cosine":  # what the model measures
        distances = distances**2 / 2
    if k <= k0:
        totals = [sum(distances[i, j] for i, j in enumerate(p)) for p in permutations(range(k0), k)]
    else:
        totals = [sum(distances[i, j] for j, i in enumerate(p)) for p in permutations(range(k), k0)]
    assert sum(distances[i, j] for i, j in pairs) == pytest.approx(min(totals), rel=1e-9)


def test_the_earlier_scaling_decides():
    earlier, later = [[0.0, 0.0], [10.0, 1.0]], np.array([[0.0, 1.0], [10.0, 0.0]])
    assert match(model_of(earlier), later).tolist() == [0, 1]
    assert match(model_of(earlier, scale=[0.001, 1.0]), later).tolist() == [1, 0]


def test_places_beyond_all_numbers_are_far():
    earlier = [[-1e308, 0.0], [1e308, 0.0]]
    assert match(model_of(earlier), np.array([[1e308, 1.0], [-1e308, 1.0]])).tolist() == [1, 0]


def test_equal_prototypes_are_matched():
    assert sorted(match(model_of([[1.0], [1.0]]), np.array([[1.0], [1.0]]))) == [0, 1]


def test_new_ones_get_numbers_that_were_never_given():
    labels = numbered(np.array([1, NEW, 0, NEW]), np.array([7, 3], np.int32), 9)
    assert labels.dtype == np.int32
    assert labels.tolist() == [3, 10, 7, 11]


@pytest.mark.parametrize(
    ("taken", "highest", "count", "free"),
    [([6, 2], 6, 2, [7, 8]), ([6, 2], 8, 1, [9]), ([TOP, 0], TOP, 2, [1, 2]), ([0], TOP, 0, [])],
)
def test_free_numbers(taken, highest, count, free):
    assert free_numbers(np.array(taken), highest, count).tolist() == free


def test_a_move_is_in_units_of_the_spread():
    earlier = model_of([[0.0, 0.0], [9.0, 9.0], [1.0, 1.0]], scale=[1.0, 2.0])
    later = np.array([[9.0, 10.0], [3.0, 4.0], [1.0, 1.0]])
    far = moves(earlier, np.array([1, 0, 2]), later, np.array([4.0, 25.0, 0.0]))
    assert far[:2] == pytest.approx([2 / 2, (3**2 + 8**2) ** 0.5 / 5])
    assert np.isnan(far[2])


def test_a_move_of_l1_is_in_units_of_the_mean_distance():
    far = moves(
        model_of([[1.0, 1.0]], "l1"), np.array([0]), np.array([[2.0, 4.0]]), np.array([8.0])
    )
    assert far.tolist() == [0.5]
