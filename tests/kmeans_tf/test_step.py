from fractions import Fraction
from operator import mul

import numpy as np
import pytest

from kmeans_tf import TrainingState, Trial, get_metric
from kmeans_tf.fixed_point import CHUNK_BITS
from kmeans_tf.layout import GRADIENT_BITS
from kmeans_tf.points import Points
from kmeans_tf.step import cluster_stats, step
from tests import reference
from tests.kmeans_tf.build import chunks_of, counted, fractions, layout_of, weighted_sums
from tests.tables import blobs

CHUNK = 1 << CHUNK_BITS


@pytest.mark.parametrize("heaviest", [1.0, 2.0**10 - 1, 2.0**30 - 1, 2.0**30], ids=str)
def test_a_full_chunk_of_the_largest_values_adds_exactly(heaviest):
    """All rows as large as the range allows, odd in their last bit, as heavy as can be."""
    top = 1.0 - 2.0**-24  # all bits of a float32
    rows = np.full((CHUNK, 2), top)
    rows[0], rows[1] = -top, 0.0
    weights = np.full(CHUNK, heaviest)
    weights[::2] = max(1.0, heaviest - 1)
    layout = layout_of(rows, weights)
    (points,) = chunks_of(layout, rows, weights, size=CHUNK)
    stats = cluster_stats(layout, get_metric("sqeuclidean"), points, np.zeros((1, 2)))
    scale, whole = 1 << 60, list(map(int, weights))
    for j, column in enumerate(points.array.T.astype(np.float64) * scale):
        expected = Fraction(sum(map(mul, map(int, column.tolist()), whole)), scale)
        assert weighted_sums(layout, stats)[0, j] == expected
    assert counted(layout.weights, stats.weight)[0, 0] == sum(whole)


def test_fractional_weights_of_many_rows_add_exactly():
    rng = np.random.default_rng(0)
    rows, weights = blobs(5000, 3, 2, 0)[0].astype(np.float64), rng.random(5000)
    layout = layout_of(rows, weights)
    (points,) = chunks_of(layout, rows, weights, size=5000)
    stats = cluster_stats(layout, get_metric("sqeuclidean"), points, np.zeros((1, 3)))
    expected = (fractions(points.array) * fractions(points.weights)[:, None]).sum(0)
    assert (weighted_sums(layout, stats)[0] == expected).all()


@pytest.mark.parametrize("n", [0, 1, 40])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_fewer_rows_than_prototypes_add_exactly(n, weighted):
    """Behind others, of which sums are kept that these have no part in."""
    rng = np.random.default_rng(n)
    rows = rng.standard_normal((300, 3)) * [1e-9, 1.0, 1e9]
    weights = rng.random(300) if weighted else None
    layout, metric = layout_of(rows, weights), get_metric("sqeuclidean")
    prototypes = layout.encoding.encode_prototypes(rows[:90])
    parts = slice(n, None), slice(n)
    total = None
    for part in parts:
        some = None if weights is None else weights[part]
        points = Points.encode(layout.encoding, rows[part], some)
        total = cluster_stats(layout, metric, points, prototypes, total=total)
    (whole,) = chunks_of(layout, rows, weights)
    labels = reference.labels(whole.array, prototypes, "sqeuclidean")
    expected = np.full((90, 3), Fraction(0))
    exact = fractions(np.ones(300) if weights is None else weights)
    np.add.at(expected, labels, fractions(whole.array) * exact[:, None])
    assert (weighted_sums(layout, total) == expected).all()
    assert total.rows.tolist() == np.bincount(labels, minlength=90).tolist()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_squares_are_exact_and_asked_for_once(weighted):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((500, 3)) * [1e-9, 1.0, 1e9]
    weights = rng.random(500) if weighted else None
    layout = layout_of(rows, weights)
    (points,) = chunks_of(layout, rows, weights)
    state = TrainingState((Trial.start(np.zeros((2, 3))),))
    squares = step(layout, "sqeuclidean", state, points).squares
    whole = fractions(np.ones(500) if weights is None else points.weights)
    expected = ((fractions(points.array) ** 2).sum(1) * whole).sum()
    assert fractions([1.0])[0] * squares / (1 << 1126) == expected
    known = TrainingState(state.trials, 1, squares)
    assert step(layout, "sqeuclidean", known, points).squares == 0


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", ["l1", "tests.user_metrics:pseudo_huber"])
def test_row_gradients_add_to_the_same_bits_in_any_split(name, weighted):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((1000, 3))
    weights = rng.random(1000) * 3 if weighted else None
    metric = get_metric(name)
    layout = layout_of(rows, weights, metric=name)
    prototypes = rng.standard_normal((4, 3))

    def total(order, size):
        shuffled = None if weights is None else weights[order]
        parts = [
            cluster_stats(layout, metric, chunk, prototypes)
            for chunk in chunks_of(layout, rows[order], shuffled, size)
        ]
        result = parts[0]
        for part in parts[1:]:
            result = result + part
        return result.rows.tolist(), result.weight.tolist(), result.sums.tolist(), result.cost

    whole = total(np.arange(1000), 1000)
    assert whole == total(rng.permutation(1000), 1000)
    assert whole == total(rng.permutation(1000), 77)


def test_gradient_limbs_hold_the_bound():
    metric = get_metric("tests.user_metrics:pseudo_huber")
    layout = layout_of(np.eye(3), metric=metric.name)
    limbs = layout.gradient_limbs(metric)
    values = np.array([[1.0, -1.0, 0.1], [2.0**-GRADIENT_BITS, 1 / 3, -1 + 2.0**-53]])
    assert np.array_equal(limbs.join(limbs.count(limbs.split(limbs.round(values)))), values)


@pytest.mark.parametrize(
    "name, message",
    [
        ("tests.user_metrics:steep", "row gradient of 3 beyond its gradient_bound of 2"),
        ("tests.user_metrics:undefined", "a cost that is not finite"),
    ],
)
def test_a_metric_that_breaks_its_word_is_an_error(name, message):
    rows = np.random.default_rng(0).standard_normal((10, 2))
    metric = get_metric(name)
    layout = layout_of(rows, metric=name)
    (points,) = chunks_of(layout, rows)
    with pytest.raises(ValueError, match=message) as error:
        cluster_stats(layout, metric, points, rows[:2] + 0.1)
    assert name in str(error.value)


def test_only_trials_that_run_are_worked_on():
    rows = np.random.default_rng(0).standard_normal((10, 2))
    layout = layout_of(rows)
    (points,) = chunks_of(layout, rows)
    done = Trial(rows[:2], np.arange(2, dtype=np.int32), status="converged")
    state = TrainingState((done, Trial.start(rows[:3])))
    stats = step(layout, "sqeuclidean", state, points)
    assert set(stats.clusters) == {1}
    assert step(layout, "sqeuclidean", TrainingState((done,), 3, 5), points).clusters == {}
