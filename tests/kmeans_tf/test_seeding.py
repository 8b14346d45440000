import numpy as np
import pytest
from sklearn.cluster import kmeans_plusplus

from kmeans_tf import get_metric
from kmeans_tf.seeding import (
    PointCosts,
    farthest_points,
    initial_prototypes,
    k_means_plus_plus,
    random_points,
)
from tests import reference
from tests.tables import blobs, overlapping

SQEUCLIDEAN = get_metric("sqeuclidean")
METRICS = ["sqeuclidean", "cosine", "l1", "tests.user_metrics:pseudo_huber"]


def start(points, weights, k, seed, metric="sqeuclidean", first=None, init="k-means++"):
    return initial_prototypes(init, get_metric(metric), points, weights, k, seed, first)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("k", [3, 10, 40])
def test_it_is_as_good_as_scikit_learns(k, weighted):
    points = overlapping()
    weights = np.random.default_rng(0).exponential(1.0, 2000) if weighted else np.ones(2000)
    ours, theirs = [], []
    for seed in range(31):
        ours.append(reference.cost(points, start(points, weights, k, seed), weights))
        chosen = kmeans_plusplus(points, k, sample_weight=weights, random_state=seed)[0]
        theirs.append(reference.cost(points, chosen, weights))
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.1)


def test_it_is_far_better_than_random():
    points, _ = blobs(2000, 3, 20, 0)
    points, weights = points.astype(np.float64), np.ones(2000)
    costs = {
        init: np.median(
            [reference.cost(points, start(points, weights, 20, s, init=init)) for s in range(11)]
        )
        for init in ("k-means++", "random")
    }
    assert costs["k-means++"] < 0.2 * costs["random"]


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("metric", METRICS)
def test_starts_are_distinct_points_and_repeat(metric, init):
    points, weights = overlapping(300), np.ones(300)
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    prototypes = start(points, weights, 12, 5, metric, init=init)
    assert len(np.unique(prototypes, axis=0)) == 12
    assert (prototypes[:, None] == points[None]).all(2).any(1).all()
    assert np.array_equal(prototypes, start(points, weights, 12, 5, metric, init=init))
    assert not np.array_equal(prototypes, start(points, weights, 12, 6, metric, init=init))


def test_any_integer_is_a_seed():
    points, weights = overlapping(50), np.ones(50)
    for seed in (-1, 2**32, 2**70):
        assert start(points, weights, 3, seed).shape == (3, 4)


def test_prototypes_to_start_from_come_first():
    points, weights = overlapping(), np.ones(2000)
    first = points[:3] + 0.25
    prototypes = start(points, weights, 8, 0, first=first)
    assert np.array_equal(prototypes[:3], first)
    assert (prototypes[3:, None] == points[None]).all(2).any(1).all()
    assert np.array_equal(start(points, weights, 3, 0, first=first), first)
    # What is filled up knows of what comes first: nothing is chosen where a prototype is.
    apart = np.array([[0.0], [0.0], [10.0]])
    filled = start(apart, np.ones(3), 2, 0, first=np.array([[10.0]]))
    assert filled.tolist() == [[10.0], [0.0]]


@pytest.mark.parametrize("k", [3, 4])
def test_every_distinct_point_can_be_chosen_but_no_more(k):
    points = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0], [5.0, 5.0], [2.0, 1.0]])
    if k == 3:
        prototypes = start(points, np.ones(5), 3, 0)
        assert np.array_equal(np.unique(prototypes, axis=0), np.unique(points, axis=0))
    else:
        with pytest.raises(ValueError, match="k = 4, but there are only 3 distinct points"):
            start(points, np.ones(5), 4, 0)


def test_more_to_start_from_than_wanted_is_an_error():
    with pytest.raises(ValueError, match="3 prototypes to start from, more than k = 2"):
        start(overlapping(50), np.ones(50), 2, 0, first=np.zeros((3, 4)))


def test_fewer_points_than_wanted_is_an_error():
    with pytest.raises(ValueError, match="k = 5, but there are only 4 distinct points"):
        start(np.arange(4.0)[:, None], np.ones(4), 5, 0, init="random")


def test_weights_are_chances():
    points = np.arange(4.0)[:, None] * 100
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    for draw in (
        lambda random: k_means_plus_plus(SQEUCLIDEAN, points, weights, 1, random),
        lambda random: random_points(points, weights, 1, random),
    ):
        random = np.random.RandomState(0)
        chosen = [int(draw(random)[0, 0]) // 100 for _ in range(2000)]
        shares = np.bincount(chosen, minlength=4) / 2000
        np.testing.assert_allclose(shares, weights / 10, atol=0.04)


def test_the_second_is_drawn_in_proportion_to_weight_times_cost():
    """With k = 2 there are two candidates, of which the better stays."""
    points, weights = np.array([[0.0], [1.0], [3.0]]), np.array([1e-9, 8.0, 1.0])
    first = points[:1]
    chances = weights * points[:, 0] ** 2
    chances /= chances.sum()
    costs = [reference.cost(points, np.array([[0.0], p]), weights) for p in points[1:]]
    better = 1 + int(np.argmin(costs))
    random = np.random.RandomState(1)
    hits = [
        k_means_plus_plus(SQEUCLIDEAN, points, weights, 2, random, first)[1, 0] == points[better, 0]
        for _ in range(2000)
    ]
    assert np.mean(hits) == pytest.approx(1 - (1 - chances[better]) ** 2, abs=0.03)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "l1"])
def test_point_costs_are_the_references(metric):
    points = overlapping(200)
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    prototypes = np.concatenate([points[:5], overlapping(5, seed=9) + 1])
    costs = PointCosts(get_metric(metric), points)(prototypes)
    expected = reference.distances(points, prototypes, metric).T
    np.testing.assert_allclose(costs, expected, rtol=1e-9, atol=1e-12)
    assert (costs >= 0).all()
    assert not costs[np.arange(5), np.arange(5)].any()


def many_clusters(n=4000, d=4, k=400):
    return overlapping(n, d, k) * 3


def test_many_are_as_good_as_scikit_learns():
    """Beyond 256, several are chosen from one draw."""
    points, k = many_clusters(), 500
    weights = np.random.default_rng(0).exponential(1.0, len(points))
    ours, theirs = [], []
    for seed in range(5):
        prototypes = start(points, weights, k, seed)
        assert len(np.unique(prototypes, axis=0)) == k
        ours.append(weights @ nearest_costs(points, prototypes))
        chosen = kmeans_plusplus(points, k, sample_weight=weights, random_state=seed)[0]
        theirs.append(weights @ nearest_costs(points, chosen))
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.1)
    assert np.array_equal(prototypes, start(points, weights, k, seed))
    assert (prototypes[:, None, 0] == points[None, :, 0]).any(1).all()


def nearest_costs(points, prototypes):
    """(n,): by the definition, a few prototypes at a time."""
    parts = np.array_split(prototypes, -(-len(prototypes) // 50))
    distances = [reference.distances(points, part, "sqeuclidean").min(1) for part in parts]
    return np.min(distances, 0)


def test_many_leave_no_distinct_point_out():
    points = np.repeat(overlapping(700, 3, 30), 3, axis=0)
    prototypes = start(points, np.ones(len(points)), 700, 0)
    assert np.array_equal(np.unique(prototypes, axis=0), np.unique(points, axis=0))
    with pytest.raises(ValueError, match="k = 701, but there are only 700 distinct points"):
        start(points, np.ones(len(points)), 701, 0)


def test_the_second_of_one_draw_is_as_if_drawn_now():
    """900 prototypes at the origin come first: then two are chosen from a draw, of two candidates.

    A candidate for the second stands with the odds of what the cost is now, so two, one or none
    are left; none leaves the choice to a draw of its own.
    """
    points = np.array([[1.0, 0.0], [1.2, 0.3], [0.0, 1.5], [-1.0, 0.5], [-0.5, -1.0]])
    weights = np.array([3.0, 1.0, 1.0, 2.0, 4.0])
    first = np.zeros((900, 2))

    def chances(nearest, alone):
        """(5,): of each to be chosen with the costs (5,), if there is one candidate or two."""
        drawn = weights * nearest / (weights @ nearest)
        costs = [weights @ np.minimum(nearest, ((points - p) ** 2).sum(1)) for p in points]
        worse = np.greater_equal.outer(costs, costs)  # [i, j]: j is better than i, or i
        both = np.array([drawn[worse[:, j]].sum() ** 2 for j in range(5)])
        both -= [drawn[worse[:, j] & (np.arange(5) != j)].sum() ** 2 for j in range(5)]
        return alone * drawn + (1 - alone) * both

    at_draw = (points**2).sum(1)
    expected = np.zeros((5, 5))
    for i, chance in enumerate(chances(at_draw, 0.0)):
        now = np.minimum(at_draw, ((points - points[i]) ** 2).sum(1))
        stands = (weights @ now) / (weights @ at_draw)
        alone = 2 * stands * (1 - stands)
        expected[i] = chance * chances(now, alone)
    assert expected.sum() == pytest.approx(1.0)

    counts, times = np.zeros((5, 5)), 1500
    random = np.random.RandomState(0)
    for _ in range(times):
        chosen = k_means_plus_plus(SQEUCLIDEAN, points, weights, 902, random, first)[900:]
        i, j = (int((points == p).all(1).argmax()) for p in chosen)
        counts[i, j] += 1
    possible = expected > 0
    assert not counts[~possible].any()
    chi_squared = ((counts - times * expected)[possible] ** 2 / (times * expected)[possible]).sum()
    freedom = possible.sum() - 1
    assert chi_squared < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("metric", ["sqeuclidean", "l1"])
def test_farthest_points_one_after_the_other(metric):
    points = overlapping(400)
    prototypes = points[:2] + 0.1
    chosen = list(prototypes)
    for _ in range(4):
        nearest = reference.distances(points, np.array(chosen), metric).min(1)
        chosen.append(points[nearest.argmax()])
    farthest = farthest_points(get_metric(metric), points, prototypes, 4)
    assert np.array_equal(farthest, chosen[2:])


def test_farthest_points_are_no_prototypes():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    farthest = farthest_points(SQEUCLIDEAN, points, np.array([[1.0, 1.0]]), 3)
    assert farthest.tolist() == [[2.0, 2.0]]
    assert farthest_points(SQEUCLIDEAN, points, points, 1).shape == (0, 2)


@pytest.mark.parametrize("apart", [1e-6, 1e-9, 1e-12])
def test_structure_far_finer_than_the_points_are_long_is_seen(apart):
    places = np.array([[-1.0], [-1.0 + apart], [1.0], [1.0 + apart]])
    points = places.repeat(50, axis=0) + np.random.default_rng(0).uniform(0, 1e-3 * apart, (200, 1))
    prototypes = start(points, np.ones(200), 4, 0)
    assert sorted(np.abs(points - prototypes.T).argmin(1)[::50]) == [0, 1, 2, 3]
    costs = PointCosts(SQEUCLIDEAN, points)(places)
    np.testing.assert_allclose(costs, (places - points.T) ** 2, rtol=1e-6, atol=1e-30)
