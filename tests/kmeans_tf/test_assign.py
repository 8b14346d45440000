import numpy as np
import pytest

from kmeans_tf import get_metric
from kmeans_tf.assign import assign, assigned_costs, fast_labels, resolve
from kmeans_tf.definition import Parts, labels_by_definition
from tests import reference
from tests.kmeans_tf.build import chunks_of, fractions, layout_of, raw_points
from tests.tables import blobs

SQEUCLIDEAN = get_metric("sqeuclidean")
N = 200
SIZES = [
    (1, 2), (2, 1), (3, 2), (5, 7), (16, 16), (16, 1), (17, 2), (64, 16), (64, 32), (100, 7),
    (257, 2), (257, 16), (1000, 1), (1000, 32),
]  # fmt: skip
sizes = pytest.mark.parametrize("k, d", SIZES, ids=lambda v: str(v))


def lattice(rng, k, d):
    """Whole numbers: many exact ties."""
    return rng.integers(-2, 3, (N, d)), rng.integers(-2, 3, (k, d))


def halves(rng, k, d):
    """Points half way between two prototypes, and one float32 to either side."""
    prototypes = rng.standard_normal((k, d)).astype(np.float32).astype(np.float64)
    one, other = rng.integers(0, k, (2, N))
    points = ((prototypes[one] + prototypes[other]) / 2).astype(np.float32)
    points[::3] = np.nextafter(points[::3], np.float32(9))
    points[1::3] = np.nextafter(points[1::3], np.float32(-9))
    return points, prototypes


def duplicated(rng, k, d):
    """Every prototype twice or more, one bit apart at times."""
    prototypes = rng.standard_normal((k, d))[np.arange(k) // 2]
    prototypes[::4] = np.nextafter(prototypes[::4], 9)
    return rng.standard_normal((N, d)), prototypes


def coinciding(rng, k, d):
    """Every point is a prototype, among others."""
    prototypes = rng.standard_normal((k, d)).astype(np.float32)
    return prototypes[rng.integers(0, k, N)], prototypes


def close_together(rng, k, d):
    """Prototypes that differ in their last bits of float32, far from the origin."""
    centre = np.full(d, 100.0)
    noise = rng.standard_normal((k, d)) * 1e-5
    return centre + rng.standard_normal((N, d)), centre + noise


def off_centre(rng, k, d):
    """Unit blobs at 1000: squares cancel."""
    return 1000 + rng.standard_normal((N, d)), 1000 + rng.standard_normal((k, d))


def tiny(rng, k, d):
    """Squares near the end of float32."""
    return rng.standard_normal((N, d)) * 1e-20, rng.standard_normal((k, d)) * 1e-20


def subnormal(rng, k, d):
    """Points and prototypes that float32 can hardly tell apart."""
    return rng.integers(-9, 9, (N, d)) * 2.0**-149, rng.integers(-9, 9, (k, d)) * 2.0**-149


def huge(rng, k, d):
    """Squares beyond float32."""
    return rng.standard_normal((N, d)) * 1e20, rng.standard_normal((k, d)) * 1e20


def of_all_sizes(rng, k, d):
    """Rows and prototypes over forty orders of magnitude."""
    points = rng.standard_normal((N, d)) * 10.0 ** rng.integers(-30, 10, (N, 1))
    return points, rng.standard_normal((k, d)) * 10.0 ** rng.integers(-30, 10, (k, 1))


def at_the_floor(rng, k, d):
    """Points that are prototypes, of such a size that rounding makes their scores nearly zero."""
    prototypes = (rng.uniform(2.0**-32, 2.0**-28, (k, d)) / np.sqrt(d)).astype(np.float32)
    return prototypes[rng.integers(0, k, N)], prototypes


def constant(rng, k, d):
    """All rows are one; prototypes around it at nearly one distance."""
    prototypes = rng.standard_normal((k, d))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    return np.full((N, d), 0.5), 0.5 + prototypes


def far_prototype(rng, k, d):
    """One prototype at 1e6 beside unit blobs."""
    prototypes = rng.standard_normal((k, d))
    prototypes[k // 2] = 1e6
    return rng.standard_normal((N, d)), prototypes


def runaway_prototype(rng, k, d):
    """One prototype beyond float32."""
    prototypes = rng.standard_normal((k, d))
    prototypes[-1] = 1e300
    return rng.standard_normal((N, d)), prototypes


ADVERSARIES = [
    lattice, halves, duplicated, coinciding, close_together, off_centre, tiny, subnormal, huge,
    of_all_sizes, at_the_floor, constant, far_prototype, runaway_prototype,
]  # fmt: skip


def case_of(make, k, d):
    points, prototypes = make(np.random.default_rng([k, d]), k, d)
    return np.asarray(points, np.float32), np.asarray(prototypes, np.float64)


@sizes
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_labels_are_the_references_on_adversarial_points(k, d):
    for make in ADVERSARIES:
        points, prototypes = case_of(make, k, d)
        expected = reference.labels(points, prototypes, "sqeuclidean")
        labels = assign(SQEUCLIDEAN, raw_points(points), prototypes)
        assert labels.dtype == np.int32
        assert np.array_equal(labels, expected), make.__name__
        defined = labels_by_definition(Parts(points), Parts(prototypes))
        assert np.array_equal(defined, expected), make.__name__
        resolved = resolve(points.astype(np.float64), prototypes)
        assert np.array_equal(resolved, expected), make.__name__


@sizes
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_label_that_is_certified_is_right(k, d):
    if k == 1:
        pytest.skip("one prototype needs no scores")
    for make in ADVERSARIES:
        points, prototypes = case_of(make, k, d)
        with np.errstate(all="ignore"):
            labels, unsure = fast_labels(raw_points(points), prototypes)
        sure = np.setdiff1d(np.arange(N), unsure)
        expected = reference.labels(points, prototypes, "sqeuclidean")
        assert np.array_equal(labels[sure], expected[sure]), make.__name__


def test_ties_are_exact_ones():
    points, prototypes = case_of(lattice, 16, 2)
    x, w = fractions(points), fractions(prototypes)
    distances = ((x[:, None] - w[None]) ** 2).sum(2)
    tied = (distances == distances.min(1, keepdims=True)).sum(1) > 1
    assert tied.sum() > N / 10  # the premise
    labels = assign(SQEUCLIDEAN, raw_points(points), prototypes)
    assert np.array_equal(labels, [list(row).index(min(row)) for row in distances])


@pytest.mark.parametrize("k, d", [(3, 2), (16, 16), (64, 16), (256, 32)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_fast_path_decides_nearly_all(k, d, offset):
    rows = blobs(5000, d, k, 3, offset)[0].astype(np.float64)
    layout = layout_of(rows)
    (points,) = chunks_of(layout, rows, size=5000)
    prototypes = layout.encoding.encode_prototypes(rows[:k])
    _, unsure = fast_labels(points, prototypes)
    assert len(unsure) < 0.05 * len(rows)


@pytest.mark.parametrize("k", [16, 100, 1000])
def test_one_far_prototype_does_not_make_the_others_unsure(k):
    rng = np.random.default_rng(k)
    points = raw_points(rng.standard_normal((4096, 8)).astype(np.float32))
    prototypes = rng.standard_normal((k, 8))
    _, before = fast_labels(points, prototypes)
    prototypes[k // 2] = 1e6
    _, after = fast_labels(points, prototypes)
    assert len(before) < 0.05 * 4096
    assert len(after) <= len(before) + 5


@pytest.mark.parametrize("k, d", [(5, 3), (17, 2), (257, 4)])
def test_labels_do_not_depend_on_the_chunk(k, d):
    rng = np.random.default_rng(0)
    points = rng.integers(-8, 9, (5000, d)).astype(np.float32) / 4
    prototypes = rng.integers(-8, 9, (k, d)) / 4
    expected = reference.labels(points, prototypes, "sqeuclidean")
    for size in (1, 7, 512, 1025, 4096, 5000):
        starts = range(0, 5000, size) if size > 100 else range(0, 10 * size, size)
        parts = [assign(SQEUCLIDEAN, raw_points(points[a : a + size]), prototypes) for a in starts]
        labels = np.concatenate(parts)
        assert np.array_equal(labels, expected[: len(labels)])


@pytest.mark.parametrize("name", ["sqeuclidean", "cosine", "l1"])
def test_no_rows_have_no_labels(name):
    labels = assign(get_metric(name), raw_points(np.empty((0, 2), np.float32)), np.eye(2))
    assert labels.shape == (0,)
    assert labels.dtype == np.int32


@pytest.mark.parametrize("name", ["cosine", "l1", "tests.user_metrics:pseudo_huber"])
@pytest.mark.parametrize("k, d", [(1, 2), (3, 1), (5, 7), (64, 3)])
def test_labels_of_other_metrics_are_the_references(name, k, d):
    rng = np.random.default_rng([k, d])
    metric = get_metric(name)
    rows = rng.standard_normal((5000, d))
    layout = layout_of(rows, metric=name)
    (points,) = chunks_of(layout, rows, size=5000)
    prototypes = rng.standard_normal((k, d))
    named = name if name in ("cosine", "l1") else pseudo_huber
    distances = reference.distances(points.array, prototypes, named)
    labels = assign(metric, points, prototypes)
    chosen = distances[np.arange(5000), labels]
    np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-12, atol=1e-15)
    assert (labels == distances.argmin(1)).mean() > (0.99 if d > 1 or name != "cosine" else 0)


def pseudo_huber(x, w):
    return (np.sqrt(1 + (x - w) ** 2) - 1).sum(1)


def test_l1_ties_go_to_the_lowest():
    points, prototypes = case_of(lattice, 17, 2)
    labels = assign(get_metric("l1"), raw_points(points), prototypes)
    assert np.array_equal(labels, reference.labels(points, prototypes, "l1"))


@pytest.mark.parametrize("name", ["sqeuclidean", "cosine", "l1"])
def test_costs_are_the_references(name):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 4))
    points = layout_of(rows, metric=name).encoding.encode(rows)
    prototypes = rng.standard_normal((6, 4))
    distances = reference.distances(points, prototypes, name)
    labels = rng.integers(0, 6, 300).astype(np.int32)
    metric = get_metric(name)
    costs = assigned_costs(metric, points, metric.project(prototypes), labels)
    expected = distances[np.arange(300), labels]
    np.testing.assert_allclose(costs, expected, rtol=1e-6, atol=1e-7)
    if name == "sqeuclidean":
        assert np.array_equal(costs, expected)
