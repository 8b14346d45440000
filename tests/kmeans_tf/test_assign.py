import numpy as np
import pytest

from kmeans_tf import get_metric
from kmeans_tf.assign import assign, assigned_costs, resolve
from kmeans_tf.definition import Parts, labels_by_definition
from kmeans_tf.projected import Projected
from tests import reference
from tests.kmeans_tf.adversaries import ADVERSARIES, SIZES, N, case_of, lattice
from tests.kmeans_tf.build import chunks_of, fractions, layout_of, raw_points

SQEUCLIDEAN = get_metric("sqeuclidean")
sizes = pytest.mark.parametrize("k, d", SIZES, ids=lambda v: str(v))


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
        resolved = resolve(points.astype(np.float64), Projected(prototypes))
        assert np.array_equal(resolved, expected), make.__name__


def test_ties_are_exact_ones():
    points, prototypes = case_of(lattice, 16, 2)
    x, w = fractions(points), fractions(prototypes)
    distances = ((x[:, None] - w[None]) ** 2).sum(2)
    tied = (distances == distances.min(1, keepdims=True)).sum(1) > 1
    assert tied.sum() > N / 10  # the premise
    labels = assign(SQEUCLIDEAN, raw_points(points), prototypes)
    assert np.array_equal(labels, [list(row).index(min(row)) for row in distances])


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
