import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from kmeans_tf import get_metric
from kmeans_tf.search import exchanged, swapped
from kmeans_tf.seeding import initial_prototypes
from tests import reference
from tests.tables import overlapping

SQEUCLIDEAN = get_metric("sqeuclidean")


def stuck(d=64, seed=0):
    """Six groups; two prototypes share the first, and one has to do for the last two."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((6, d))
    centres[:, 0] = [0, 40, 80, 120, 160, 167]
    points = centres.repeat(200, axis=0) + rng.standard_normal((1200, d))
    first = points[:200]
    beyond = first[:, 1] > 0
    prototypes = np.vstack([first[beyond].mean(0), first[~beyond].mean(0), centres[1:5]])
    prototypes[-1, 0] = 163.5
    return points, prototypes


def cost(points, prototypes, weights=None, metric="sqeuclidean"):
    return reference.cost(points, prototypes, weights, metric)


def test_it_frees_what_neither_lloyd_nor_rows_as_candidates_can():
    points, prototypes = stuck()
    ended = KMeans(6, init=prototypes, n_init=1).fit(points)
    assert ended.inertia_ > 1.04 * points.size, "Lloyd's iterations are stuck"
    rows = [np.vstack([prototypes[1:], row]) for row in points]
    assert min(cost(points, each) for each in rows) > cost(points, prototypes)
    after, count = exchanged(SQEUCLIDEAN, points, np.ones(1200), prototypes, 2)
    assert count == 1
    assert cost(points, after) < 1.02 * points.size


def test_as_many_as_asked_for_and_none_twice():
    points, prototypes = stuck()
    far = np.r_[points, points + 1000]
    both, weights = np.r_[prototypes, prototypes + 1000], np.ones(2400)
    costs = []
    for most in range(4):
        after, count = exchanged(SQEUCLIDEAN, far, weights, both, most)
        assert count == min(most, 2)
        costs.append(cost(far, after))
    assert costs[0] == cost(far, both)
    assert costs[0] > costs[1] > costs[2] == costs[3]


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@hypothesis.given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12), weighted=st.booleans())
@hypothesis.settings(deadline=None, max_examples=40)
def test_an_exchange_of_means_lowers_the_cost(metric, seed, k, weighted):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((60, 3)) + 3 * rng.standard_normal((5, 3))[rng.integers(0, 5, 60)]
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    weights = rng.exponential(1.0, 60) if weighted else np.ones(60)
    before = points[rng.choice(60, k, replace=False)]
    after, count = exchanged(get_metric(metric), points, weights, before, k)
    assert after.shape == before.shape
    if count:
        assert cost(points, after, weights, metric) < cost(points, before, weights, metric)
    else:
        assert (after == before).all()


def test_a_prototype_without_points_is_the_first_to_go():
    points, prototypes = stuck()
    points, weights = points[200:], np.ones(1000)
    after, count = exchanged(SQEUCLIDEAN, points, weights, prototypes, 1)
    assert count == 1
    assert cost(points, after) < 1.02 * points.size
    moved = (after != prototypes).any(1)
    assert moved[5] and moved[:2].sum() == 1 and not moved[2:5].any()


def test_one_prototype_and_equal_points_are_left_alone():
    points = np.ones((50, 2))
    for prototypes in (np.zeros((1, 2)), np.ones((1, 2)), np.ones((3, 2))):
        after, count = exchanged(SQEUCLIDEAN, points, np.ones(50), prototypes, 3)
        assert not count
        assert (after == prototypes).all()


# Swaps


def at_random(points, weights, k, seed, metric="sqeuclidean"):
    return initial_prototypes("random", get_metric(metric), points, weights, k, seed)


TOGETHER = 8  # candidates are drawn


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "l1"])
@pytest.mark.parametrize("seed", range(3))
def test_a_swap_lowers_the_cost_or_is_not_made(metric, seed):
    points = overlapping(400, 3, 8, seed)
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    weights = np.random.default_rng(seed).exponential(1.0, 400)
    random = np.random.RandomState(seed)
    prototypes = at_random(points, weights, 8, seed, metric)
    costs, before = [reference.cost(points, prototypes, weights, metric)], prototypes
    for _ in range(5):
        after = swapped(get_metric(metric), points, weights, before, TOGETHER, random)
        costs.append(reference.cost(points, after, weights, metric))
        moved = (after != before).any(1)
        assert (after[moved][:, None] == points[None]).all(2).any(1).all()
        assert costs[-1] < costs[-2] if moved.any() else costs[-1] == costs[-2]
        before = after
    assert costs[-1] < 0.95 * costs[0]
    # All steps in one go keep their own account of the nearest and the second nearest.
    random = np.random.RandomState(seed)
    together = swapped(get_metric(metric), points, weights, prototypes, 5 * TOGETHER, random)
    assert np.array_equal(together, before)


def test_the_prototype_that_is_missed_least_makes_room():
    """By brute force: each candidate in each place."""
    points = overlapping(150, 2, 6)
    weights = np.random.default_rng(1).exponential(1.0, 150)
    for seed in range(20):
        before = at_random(points, weights, 5, seed)
        random = np.random.RandomState(seed)
        after = swapped(SQEUCLIDEAN, points, weights, before, 1, random)
        (places,) = np.nonzero((after != before).any(1))
        for place in places:
            costs = []
            for k in range(5):
                tried = before.copy()
                tried[k] = after[place]
                costs.append(reference.cost(points, tried, weights))
            assert place == np.argmin(costs)


def test_swaps_free_what_lloyd_is_stuck_in():
    """Two prototypes share one blob, and one has two blobs that are far apart."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    points = np.repeat(centres, 100, axis=0) + rng.standard_normal((300, 2))
    stuck = np.array([[-1.0, 0.0], [1.0, 0.0], [25.0, 25.0]])
    plain = reference.fit(points, stuck, tolerance=0)
    best = reference.fit(points, centres, tolerance=0)
    assert plain.cost > 100 * best.cost  # the premise
    for seed in range(5):
        random = np.random.RandomState(seed)
        better = swapped(SQEUCLIDEAN, points, np.ones(300), plain.prototypes, 6, random)
        end = reference.fit(points, better, tolerance=0)
        assert end.cost == pytest.approx(best.cost, rel=1e-12)


def test_swaps_leave_alone_what_cannot_be_better():
    points = np.array([[0.0], [0.0], [1.0], [4.0]])
    prototypes = np.array([[4.0], [0.0], [1.0]])
    random = np.random.RandomState(0)
    after = swapped(SQEUCLIDEAN, points, np.ones(4), prototypes, 5, random)
    assert np.array_equal(after, prototypes)
    before = np.array([[0.5], [0.6], [0.7]])
    after = swapped(SQEUCLIDEAN, points, np.ones(4), before, 5, random)
    assert before.tolist() == [[0.5], [0.6], [0.7]]
    assert not np.array_equal(after, before)
