import threading

import numpy as np
import pytest

from kmeans_tf import scoring
from kmeans_tf.bounds import Bounded, Drift
from kmeans_tf.points import CAPACITIES, Points
from kmeans_tf.projected import Projected
from kmeans_tf.scoring import comparisons, compile_ahead, score
from tests import reference
from tests.kmeans_tf.adversaries import ADVERSARIES, SIZES, N, case_of
from tests.kmeans_tf.build import chunks_of, layout_of, raw_points
from tests.tables import blobs

sizes = pytest.mark.parametrize("k, d", SIZES, ids=lambda v: str(v))


@sizes
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_label_that_is_certified_is_right(k, d):
    if k == 1:
        pytest.skip("one prototype needs no scores")
    for make in ADVERSARIES:
        points, prototypes = case_of(make, k, d)
        with np.errstate(all="ignore"):
            scored = score(raw_points(points), Projected(prototypes))
        sure = np.setdiff1d(np.arange(N), scored.unsure)
        expected = reference.labels(points, prototypes, "sqeuclidean")
        assert np.array_equal(scored.labels[sure], expected[sure]), make.__name__


@sizes
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_bounds_hold(k, d):
    if k == 1:
        pytest.skip("one prototype needs no scores")
    for make in ADVERSARIES:
        points, prototypes = case_of(make, k, d)
        with np.errstate(all="ignore"):
            scored = score(raw_points(points), Projected(prototypes))
        proven = np.flatnonzero(np.isfinite(scored.upper))
        distances = exact_distances(points, prototypes)[proven]
        place = np.arange(len(proven)), scored.labels[proven]
        own = distances[place]
        distances[place] = np.inf
        assert (scored.upper[proven] >= own).all(), make.__name__
        assert (scored.lower[proven] <= distances.min(1)).all(), make.__name__


def exact_distances(points, prototypes):
    """(n, k), to the rounding of long double numbers, which have range enough to square."""
    x, w = points.astype(np.longdouble), prototypes.astype(np.longdouble)
    squares = np.zeros((len(x), len(w)), np.longdouble)
    for j in range(x.shape[1]):
        squares += (x[:, j : j + 1] - w[None, :, j]) ** 2
    return np.sqrt(squares)


def test_bounds_are_tight_on_blobs():
    rows, _ = blobs(4096, 16, 8, seed=1)
    layout = layout_of(rows.astype(np.float64))
    (points,) = chunks_of(layout, rows.astype(np.float64), size=4096)
    prototypes = layout.encoding.encode_prototypes(rows[:8].astype(np.float64))
    scored = score(points, Projected(prototypes))
    distances = exact_distances(points.array, prototypes)
    own = distances[np.arange(4096), scored.labels]
    far = own > own.max() / 100
    assert (scored.upper[far] <= own[far] * 1.01)[np.isfinite(scored.upper[far])].all()


@pytest.mark.parametrize("k", [20, 600])
@pytest.mark.parametrize("stale", [0, 0.3])
def test_points_in_doubt(k, stale):
    """Bounds that were found with a part of the prototypes hold for all."""
    rng = np.random.default_rng(3)
    points = raw_points(rng.standard_normal((5000, 6)).astype(np.float32))
    start = rng.standard_normal((k, 6))
    scored = score(points, Projected(start))
    before = Bounded(start, scored.labels, scored.upper + stale, scored.lower - stale)
    for share in (0.0, 0.02, 0.3):
        some = rng.random((k, 1)) < share
        prototypes = start + np.where(some, 0.5, 0.0005) * rng.standard_normal((k, 6))
        _, doubt = before.moved(prototypes, Drift.between(start, prototypes))
        found = score(points, Projected(prototypes), doubt)
        distances = exact_distances(points.array, prototypes)[doubt.places]
        sure = np.flatnonzero(np.isfinite(found.upper))
        assert len(sure) > 0.9 * len(doubt.places) > 20
        assert np.array_equal(found.labels[sure], distances.argmin(1)[sure])
        own = np.arange(len(distances)), found.labels
        assert (found.upper >= distances[own]).all()
        distances[own] = np.inf
        assert (found.lower <= distances.min(1))[sure].all()
        if k == 600 and not stale and share == 0.02:
            assert comparisons(doubt).mean() < 0.5 * k


@pytest.mark.parametrize("k, d", [(3, 2), (16, 16), (64, 16), (256, 32)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_fast_path_decides_nearly_all(k, d, offset):
    rows = blobs(5000, d, k, 3, offset)[0].astype(np.float64)
    layout = layout_of(rows)
    (points,) = chunks_of(layout, rows, size=5000)
    prototypes = layout.encoding.encode_prototypes(rows[:k])
    unsure = score(points, Projected(prototypes)).unsure
    assert len(unsure) < 0.05 * len(rows)


@pytest.mark.parametrize("k", [16, 100, 1000])
def test_one_far_prototype_does_not_make_the_others_unsure(k):
    rng = np.random.default_rng(k)
    points = raw_points(rng.standard_normal((4096, 8)).astype(np.float32))
    prototypes = rng.standard_normal((k, 8))
    before = score(points, Projected(prototypes)).unsure
    prototypes[k // 2] = 1e6
    after = score(points, Projected(prototypes)).unsure
    assert len(before) < 0.05 * 4096
    assert len(after) <= len(before) + 5


def test_what_is_compiled_ahead_is_not_made_again():
    compile_ahead(CAPACITIES[0], 3, [1, 29])
    for thread in threading.enumerate():
        if thread.name == "compile_scores":
            thread.join()
    made = scoring._made.cache_info().misses
    rows = np.random.default_rng(0).standard_normal((300, 3))
    points = Points.of(rows)
    score(points, Projected(rows[:29]))
    before = Bounded(rows[:29], *(np.zeros(300, t) for t in (np.int32, np.float32, np.float32)))
    drift = Drift.between(rows[:29], rows[1:30])
    score(points, Projected(rows[1:30]), before.moved(rows[1:30], drift)[1])
    assert scoring._made.cache_info().misses == made
    score(points, Projected(rows[:28]))
    assert scoring._made.cache_info().misses == made + 1
