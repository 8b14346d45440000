from decimal import Decimal, localcontext

import numpy as np
import pytest
import tensorflow as tf

from kmeans_tf import METRICS, TrainingOptions, get_metric, min_distance_cost
from kmeans_tf.metrics import (
    DEFAULT_GRADIENT_BOUND,
    check_metric,
    good_rows,
    pairwise_costs,
    unit_rows,
    zero_rows,
)
from kmeans_tf.step import cluster_stats
from kmeans_tf.update import cost_gradient
from tests import reference, user_metrics
from tests.kmeans_tf.build import autodiff, chunks_of, layout_of, seed_cost, train
from tests.tables import blobs

HUBER = "tests.user_metrics:pseudo_huber"
names = pytest.mark.parametrize("name", ["sqeuclidean", "cosine", "l1", HUBER])
weighted = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def literal_cosine(x, w):
    cosines = tf.matmul(tf.math.l2_normalize(x, 1), tf.math.l2_normalize(w, 1), transpose_b=True)
    return tf.reduce_sum(tf.reduce_min(1.0 - cosines, 1))


def literal_l1(x, w):
    return tf.reduce_sum(tf.reduce_min(tf.reduce_sum(tf.abs(x[:, None] - w[None]), 2), 1))


def literal_huber(x, w):
    terms = tf.sqrt(1.0 + tf.square(x[:, None] - w[None])) - 1.0
    return tf.reduce_sum(tf.reduce_min(tf.reduce_sum(terms, 2), 1))


def numpy_huber(x, w):
    return (np.sqrt(1.0 + (x - w) ** 2) - 1.0).sum(1)


LITERAL = {
    "sqeuclidean": seed_cost,
    "cosine": literal_cosine,
    "l1": literal_l1,
    HUBER: literal_huber,
}
ORACLE = {HUBER: numpy_huber}


def rows_and_prototypes():
    """400 float32 rows, off the origin, and 5 prototypes that are none of them."""
    rows = blobs(400, 3, 5, 1)[0].astype(np.float64) + np.array([3.0, -2.0, 0.5])
    rng = np.random.default_rng(2)
    return rows, rows[:5] + rng.standard_normal((5, 3)) * 0.3


def product_gradient(name, rows, prototypes, weights=None):
    """(k, d): what the job would follow, in the rows' units."""
    metric = get_metric(name)
    layout = layout_of(rows, weights, metric=name)
    inside = layout.encoding.encode_prototypes(prototypes)
    parts = [
        cluster_stats(layout, metric, chunk, inside)
        for chunk in chunks_of(layout, rows, weights, 99)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return cost_gradient(metric, layout, inside, total) / layout.encoding.unit


@names
def test_the_products_gradient_is_autodiffs_of_the_literal_expression(name):
    rows, prototypes = rows_and_prototypes()
    expected = autodiff(LITERAL[name], rows, prototypes)
    gradient = product_gradient(name, rows, prototypes)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@weighted
@names
def test_the_products_gradient_is_the_references(name, weighted):
    rows, prototypes = rows_and_prototypes()
    weights = np.random.default_rng(3).random(400) * 4 if weighted else None
    gradient = product_gradient(name, rows, prototypes, weights)
    step = reference.numerical_gradient(rows, prototypes, weights, ORACLE.get(name, name))
    np.testing.assert_allclose(gradient, step, rtol=1e-5, atol=1e-5 * np.abs(step).max())
    if name in METRICS:
        expected = reference.gradient(rows, prototypes, weights, name)
        np.testing.assert_allclose(
            gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max()
        )


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@names
def test_min_distance_cost_and_its_gradient_are_the_literal_expressions(name, graph):
    rows, prototypes = rows_and_prototypes()
    metric = name if name in METRICS else get_metric(name)

    def cost(x, w):
        return 3.0 * min_distance_cost(x, w, metric)

    gradient = autodiff(tf.function(cost) if graph else cost, rows, prototypes)
    np.testing.assert_allclose(
        gradient, 3 * autodiff(LITERAL[name], rows, prototypes), rtol=1e-10, atol=1e-10
    )
    total = min_distance_cost(tf.constant(rows), tf.constant(prototypes), metric).numpy()
    expected = reference.cost(rows, prototypes, metric=ORACLE.get(name, name))
    np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_min_distance_cost_takes_float32():
    rows, prototypes = (a.astype(np.float32) for a in rows_and_prototypes())
    w = tf.Variable(prototypes)
    with tf.GradientTape() as tape:
        cost = min_distance_cost(tf.constant(rows), w)
    gradient = tape.gradient(cost, w)
    assert cost.dtype == gradient.dtype == tf.float32
    expected = reference.gradient(rows, prototypes)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_prototype_without_rows_has_no_gradient():
    rows, prototypes = rows_and_prototypes()
    prototypes[2] = 1e4
    for name in ("sqeuclidean", "l1", HUBER):
        assert not product_gradient(name, rows, prototypes)[2].any()


@names
def test_pairwise_costs_are_the_references(name):
    rows, prototypes = rows_and_prototypes()
    costs = pairwise_costs(get_metric(name), rows, prototypes)
    expected = reference.distances(rows, prototypes, ORACLE.get(name, name))
    np.testing.assert_allclose(costs, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["sqeuclidean", "cosine"])
def test_the_linear_form_is_the_cost(name):
    rows, prototypes = rows_and_prototypes()
    metric = get_metric(name)
    points = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric.normalize else rows
    squares = ((points[:, None] - metric.project(prototypes)[None]) ** 2).sum(2)
    expected = reference.distances(rows, prototypes, name)
    np.testing.assert_allclose(metric.scale * squares, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["sqeuclidean", "cosine"])
def test_the_minimizer_has_no_gradient(name):
    rows, _ = rows_and_prototypes()
    metric = get_metric(name)
    points = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric.normalize else rows
    weight, sums = np.array([400]), points.sum(0, keepdims=True)
    best = metric.minimizer(sums, weight)
    np.testing.assert_allclose(metric.gradient(best, weight, sums), 0, atol=1e-9)


def test_a_users_metric_trains():
    rows, start = rows_and_prototypes()
    options = TrainingOptions(HUBER, "adam", learning_rate=0.1, tolerance=0, max_iterations=20)
    layout = layout_of(rows, metric=HUBER)
    state = train(
        layout, options, [layout.encoding.encode_prototypes(start)], chunks_of(layout, rows)
    )
    expected = reference.fit(
        rows,
        start,
        metric=numpy_huber,
        optimizer="adam",
        learning_rate=0.1,
        tolerance=0,
        max_iterations=20,
    )
    np.testing.assert_allclose(state.trials[0].costs, expected.history, rtol=1e-6)
    np.testing.assert_allclose(state.trials[0].prototypes, expected.prototypes, rtol=1e-4)


def test_a_users_metric_states_its_bound():
    assert get_metric(HUBER).gradient_bound == 1.0
    assert get_metric(HUBER).cost is user_metrics.pseudo_huber
    assert get_metric("tests.user_metrics:undefined").gradient_bound == DEFAULT_GRADIENT_BOUND


@pytest.mark.parametrize(
    "name, message",
    [
        ("euclidian", r"unknown metric 'euclidian': expected one of sqeuclidean, cosine, l1, or"),
        ("", "unknown metric ''"),
        ("module:", "unknown metric 'module:'"),
        (":function", "unknown metric ':function'"),
        ("no_such_module:f", "'no_such_module:f' cannot be imported: .*: No module named"),
        ("tests.user_metrics:absent", "cannot be imported: .* no attribute 'absent'"),
        ("tests.user_metrics:not_a_function", "is a int, not a function"),
        ("tests.user_metrics:boundless", "a gradient_bound of 'none': expected a positive number"),
    ],
)
def test_what_is_no_metric_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        get_metric(name)


CALLABLES = ("partial_power", "lambda_power", "closed_power", "graph_power", "called_power")


@pytest.mark.parametrize("name", [*CALLABLES, "method_power", "called_power.cost"])
def test_a_metric_may_be_any_callable(name):
    rows, prototypes = rows_and_prototypes()
    metric = get_metric(f"tests.user_metrics:{name}")
    check_metric(metric)
    expected = (np.abs(rows[:, None] - prototypes[None]) ** 1.75).sum(2)
    np.testing.assert_allclose(pairwise_costs(metric, rows, prototypes), expected, rtol=1e-12)


def test_an_object_without_a_hash_has_a_gradient_and_its_own_bound():
    rows, prototypes = rows_and_prototypes()
    name = "tests.user_metrics:weighted_l1"
    assert get_metric(name).gradient_bound == 2.0
    expected = 1.5 * product_gradient("l1", rows, prototypes)
    np.testing.assert_allclose(product_gradient(name, rows, prototypes), expected, rtol=1e-6)


@pytest.mark.parametrize("error", [AssertionError, SystemExit, GeneratorExit])
def test_a_metric_that_fails_without_a_word_or_a_name_is_an_error(monkeypatch, error):
    monkeypatch.setattr("tests.user_metrics.Silent.error", error)
    metric = get_metric("tests.user_metrics:silent")
    with pytest.raises(ValueError, match=rf"silent' fails on two rows: {error.__name__} \("):
        check_metric(metric)


def test_a_module_that_fails_is_an_error_of_one_line(tmp_path, monkeypatch):
    (tmp_path / "half_a_metric.py").write_text("cost = (\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'half_a_metric:cost' cannot be imported: SyntaxError: "):
        get_metric("half_a_metric:cost")


# Directions


def exact_units(rows):
    """Rows over their lengths, by decimal arithmetic that neither overflows nor vanishes."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -9999, 9999
        exact = [[Decimal(float(v)) for v in row] for row in rows]
        lengths = [sum(v * v for v in row).sqrt() for row in exact]
        return [[float(v / a) for v in row] for row, a in zip(exact, lengths, strict=True)]


@pytest.mark.parametrize(
    "place", [5e-324, 1e-310, 1e-200, 1e-160, 1e-140, 1.0, 1e150, 1e200, 1e307]
)
def test_directions_are_right_wherever_float64_numbers_are(place):
    rows = np.random.default_rng(3).uniform(-9, 9, (40, 3)) * place
    rows = rows[rows.any(1)]
    assert len(rows) > 20  # the premise
    for units in (unit_rows(rows), get_metric("cosine").project(rows)):
        np.testing.assert_allclose(units, exact_units(rows), rtol=1e-15, atol=1e-300)


def test_only_a_row_of_zeros_has_no_direction():
    rows = np.array([[0.0, -0.0], [5e-324, 0.0], [1e-162, 1.2e-162], [1e308, 1e308]])
    assert zero_rows(rows).tolist() == [True, False, False, False]
    assert good_rows(get_metric("cosine"), rows).tolist() == [False, True, True, True]
    assert not unit_rows(rows)[0].any()
