"""The whole training in memory: the golden run, and scikit-learn's answers."""

import re

import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets
from sklearn.cluster import KMeans

import kmeans_tf
from kmeans_tf import TrainingOptions
from tests import reference
from tests.kmeans_tf.build import seed_cost
from tests.tables import blobs

# What the seed printed after iterations 0, 10, 20, ... in float32, and the same in float64.
SEED_TABLE = [21533.69140625, 950.78369140625, 940.453369140625, 940.4503784179688]
SEED_END = 940.450439453125
FLOAT64_TABLE = [21533.68954, 950.78372, 940.45337, 940.45032]


@pytest.fixture(scope="module")
def seed_rows():
    return datasets.make_blobs(500, random_state=1111)[0].astype(np.float32)


def test_the_golden_run(seed_rows):
    options = TrainingOptions(optimizer="sgd", learning_rate=0.001, tolerance=0, max_iterations=101)
    start = seed_rows[[162, 308, 381]]
    model, state = kmeans_tf.fit(seed_rows, 3, init=start, options=options)
    (trial,) = state.trials
    # The seed prints the cost after an update; the history holds that before it.
    costs = [trial.costs[i] for i in (1, 11, 21, 31)]
    np.testing.assert_allclose(costs, FLOAT64_TABLE, rtol=0, atol=1e-5)
    assert trial.status == "converged"
    assert len(set(trial.costs[-2:])) == 1
    assert trial.costs[-1] == pytest.approx(FLOAT64_TABLE[-1], abs=1e-5)
    assert np.array_equal(
        model.label(seed_rows)[0], reference.labels(seed_rows, model.prototypes, "sqeuclidean")
    )


def test_the_seeds_own_expression_gives_its_table(seed_rows):
    x, w = tf.constant(seed_rows), tf.Variable(seed_rows[[162, 308, 381]])

    @tf.function
    def descend():
        with tf.GradientTape() as tape:
            cost = seed_cost(x, w)
        w.assign_sub(0.001 * tape.gradient(cost, w))
        return seed_cost(x, w)

    printed = [descend().numpy() for _ in range(101)][::10]
    expected = SEED_TABLE + [SEED_END] * 7
    np.testing.assert_allclose(printed, expected, rtol=1e-7)


@pytest.mark.parametrize("init", ["auto", "random", "k-means-parallel"])
@pytest.mark.parametrize("standard", [False, True])
def test_float32_rows_are_clustered_as_their_numbers_are(init, standard):
    """Of which the sample has a part, whose quartiles float32 would round."""
    rows = (blobs(3000, 4, 6, seed=2)[0] * [1, 1e-3, 1e3, 7]).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmeans_tf.local.sample_capacity", lambda *_: 400)
        one, other = (
            kmeans_tf.fit(rows.astype(kind), 6, init=init, standard=standard)[0]
            for kind in (np.float32, np.float64)
        )
    assert one.prototypes.tobytes() == other.prototypes.tobytes()


REAL = {
    "iris": (datasets.load_iris, 3),
    "wine": (datasets.load_wine, 3),
    "breast_cancer": (datasets.load_breast_cancer, 2),
    "digits": (datasets.load_digits, 10),
}


def table(name):
    if name == "blobs at 1e4":
        return blobs(2000, 4, 6, 7, offset=1e4)[0].astype(np.float64), 6
    load, k = REAL[name]
    return load().data, k


def scikit_learn(rows, start, weights=None):
    estimator = KMeans(len(start), init=start, n_init=1, algorithm="lloyd", tol=0, max_iter=1000)
    return estimator.fit(rows, sample_weight=weights)


def distinct_start(rows, k, seed):
    distinct = np.unique(rows, axis=0)
    return distinct[np.random.default_rng(seed).choice(len(distinct), k, replace=False)]


# From some starts a row of whole numbers ties on the way, and scikit-learn's rounding decides.
@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("name", [*REAL, "blobs at 1e4"])
def test_it_ends_where_scikit_learn_does(name, seed):
    rows, k = table(name)
    start = distinct_start(rows, k, seed)
    theirs = scikit_learn(rows, start)
    options = TrainingOptions(tolerance=0, max_iterations=1000)
    model, state = kmeans_tf.fit(rows, k, init=start, options=options)
    labels, distances = model.label(rows)
    assert state.trials[0].status == "converged"
    assert not any(state.trials[0].relocated)  # the premise: nobody met an empty cluster
    assert np.array_equal(labels, theirs.labels_)
    assert state.trials[0].costs[-1] == pytest.approx(theirs.inertia_, rel=1e-6)
    assert (distances**2).sum() == pytest.approx(theirs.inertia_, rel=1e-6)
    np.testing.assert_allclose(model.prototypes, theirs.cluster_centers_, rtol=1e-6, atol=1e-6)


def test_weights_end_where_scikit_learn_does():
    rows, k = table("wine")
    weights = np.random.default_rng(0).random(len(rows)) * 10
    start = distinct_start(rows, k, 4)
    theirs = scikit_learn(rows, start, weights)
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, k, init=start, weights=weights, options=options)
    assert np.array_equal(model.label(rows)[0], theirs.labels_)
    assert state.trials[0].costs[-1] == pytest.approx(theirs.inertia_, rel=1e-6)


@pytest.mark.parametrize("seed", [2, 6])
def test_where_rows_tie_it_ends_where_the_reference_does(seed):
    rows, k = table("digits")
    start = distinct_start(rows, k, seed)
    expected = reference.fit(rows, start, tolerance=0)
    model, state = kmeans_tf.fit(rows, k, init=start, options=TrainingOptions(tolerance=0))
    assert np.array_equal(model.label(rows)[0], expected.labels)
    np.testing.assert_allclose(state.trials[0].costs, expected.history, rtol=1e-9)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "blobs at 1e4"])
def test_the_best_of_a_few_plain_calls_is_as_good_as_scikit_learns(name):
    rows, k = table(name)
    options = TrainingOptions(tolerance=0)
    ends = [
        kmeans_tf.fit(rows, k, seed=s, options=options)[1].trials[0].costs[-1] for s in range(5)
    ]
    theirs = KMeans(k, n_init=5, random_state=0, tol=0).fit(rows)
    assert min(ends) == pytest.approx(theirs.inertia_, rel=0.001)


@pytest.mark.parametrize("seed", range(3))
def test_one_heavy_point_does_not_spoil_the_start(seed):
    rows = blobs(5000, 2, 8, seed)[0].astype(np.float64)
    rows[:4500] = rows[0]
    rows = np.random.default_rng(seed).permutation(rows)
    _, state = kmeans_tf.fit(rows, 8, seed=seed, options=TrainingOptions(tolerance=0))
    theirs = KMeans(8, n_init=1, random_state=seed, tol=0).fit(rows)
    assert state.trials[0].costs[-1] <= 1.05 * theirs.inertia_


@pytest.mark.parametrize("optimizer", ["lloyd", "sgd", "adam"])
def test_the_order_of_the_rows_changes_no_bit(optimizer):
    rows = np.repeat(blobs(3000, 3, 5, 1)[0].astype(np.float64), 2, axis=0)
    rate = {"lloyd": 0.0, "sgd": 1e-5, "adam": 0.1}[optimizer]
    options = TrainingOptions(optimizer=optimizer, learning_rate=rate, max_iterations=15)
    order = np.random.default_rng(0).permutation(len(rows))
    model, state = kmeans_tf.fit(rows, 7, seed=3, options=options)
    shuffled, shuffled_state = kmeans_tf.fit(rows[order], 7, seed=3, options=options)
    assert state.trials[0].costs == shuffled_state.trials[0].costs
    assert np.array_equal(model.prototypes, shuffled.prototypes)
    assert np.array_equal(model.label(rows)[0][order], shuffled.label(rows[order])[0])


def test_no_iteration_leaves_the_start(seed_rows):
    start = seed_rows[:3].astype(np.float64)
    model, state = kmeans_tf.fit(
        seed_rows, 3, init=start, options=TrainingOptions(max_iterations=0)
    )
    assert state.iteration == 0
    assert state.trials[0].costs == ()
    np.testing.assert_allclose(model.prototypes, start, rtol=1e-12)
    assert np.array_equal(
        model.label(seed_rows)[0], reference.labels(seed_rows, start, "sqeuclidean")
    )


def test_too_few_prototypes_to_start_from_are_filled_up(seed_rows):
    start = seed_rows[:2].astype(np.float64)
    model, _ = kmeans_tf.fit(seed_rows, 5, init=start, options=TrainingOptions(max_iterations=0))
    assert model.prototypes.shape == (5, 2)
    np.testing.assert_allclose(model.prototypes[:2], start, rtol=1e-12)


@pytest.mark.parametrize("optimizer, default", [("lloyd", "auto"), ("adam", "k-means++")])
def test_the_start_is_a_trained_one_if_no_other_is_asked_for(seed_rows, optimizer, default):
    options = TrainingOptions(optimizer=optimizer, learning_rate=0.1, max_iterations=3)
    _, state = kmeans_tf.fit(seed_rows, 3, options=options)
    trials = {
        init: kmeans_tf.fit(seed_rows, 3, init=init, options=options)[1].trials[0]
        for init in ("auto", "k-means++", "random")
    }
    assert {init for init, t in trials.items() if t.costs == state.trials[0].costs} >= {default}
    assert trials["k-means++"].costs[0] > 1.1 * trials["auto"].costs[0] or optimizer == "adam"
    assert (state.trials[0].proof is not None) == (default == "auto")


def test_standard_scaling_is_training_on_z_scores():
    rows, k = table("wine")
    z, mean, deviation = reference.standardize(rows)
    start = distinct_start(rows, k, 0)
    expected = reference.fit(z, (start - mean) / deviation, tolerance=0)
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, k, init=start, standard=True, options=options)
    assert np.array_equal(model.label(rows)[0], expected.labels)
    np.testing.assert_allclose(state.trials[0].costs, expected.history, rtol=1e-6)
    np.testing.assert_allclose(model.prototypes, expected.prototypes * deviation + mean, rtol=1e-6)


UNKNOWN_INIT = re.escape(
    "unknown init 'kmeans': expected one of auto, k-means++, k-means-parallel, random"
)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": 0}, "k = 0: expected a whole number from 1"),
        ({"k": 4}, "k = 4, but there are only 3 distinct points"),
        ({"k": 4, "init": "random"}, "k = 4, but there are only 3 distinct points"),
        ({"init": "kmeans"}, UNKNOWN_INIT),
        ({"init": np.zeros((3, 2))}, "3 prototypes to start from, more than k = 2"),
        ({"rows": [[1.0, 2], [np.nan, 1]]}, "row 1, feature 0 is NaN$"),
        (
            {"rows": [[1.0, 2], [0, 0]], "options": TrainingOptions("cosine")},
            "row 1 is zero in all features: metric cosine compares directions",
        ),
        ({"k": 2.5}, "k = 2.5: expected a whole number from 1"),
        ({"rows": [[1.0, 2], [1, -np.inf]]}, "row 1, feature 1 is -inf$"),
        (
            {"rows": [[1.0, 2], [1, np.inf]], "features": ("a", "b")},
            "row 1, feature 'b' is inf$",
        ),
        ({"rows": np.ones((0, 2))}, "no rows, expected 2 distinct ones at least"),
        ({"rows": [1.0, 2.0]}, r"rows of shape \(2,\), expected \(rows, features\)"),
        ({"rows": np.ones((3, 0))}, "0 feature"),
        ({"rows": [[1.0, 2], [3, 1e130]]}, "feature 1 holds values from 2 to 1e.130, expected"),
        ({"rows": [[1.0, 0], [3, 1e-130]]}, "feature 1 holds values .* range above 1e-120"),
        (
            {"rows": [[1.0, 2], [3, 1e130]], "features": ("a", "b")},
            "feature 'b' holds values from 2",
        ),
        ({"weights": [1.0, 1e-60, 1]}, "weights up to 1 .* too far apart to be added exactly"),
        ({"weights": [1e300, 1, 1]}, "too far apart to be added exactly"),
        ({"weights": [1.0, -1, 1]}, "weights are finite numbers from 0, not -1 as of row 1"),
        ({"weights": [1.0, np.nan, 1]}, "weights are finite numbers from 0, not nan as of row 1"),
        ({"weights": [0.0, 0, 0]}, "weights are zero for all rows"),
        ({"weights": [1.0, 1]}, r"weights of shape \(2,\), expected \(3,\)"),
        ({"weights": [1.0, 0, 0]}, "k = 2, but there are only 1 distinct points"),
    ],
)
def test_what_cannot_be_clustered_is_an_error(change, message):
    arguments = {"rows": [[1.0, 2], [3, 4], [5, 6]], "k": 2} | change
    rows = np.array(arguments.pop("rows"))
    with pytest.raises(ValueError, match=message):
        kmeans_tf.fit(rows, arguments.pop("k"), **arguments)


@pytest.mark.parametrize("threads", [2, 4])
def test_no_answer_depends_on_the_threads(monkeypatch, threads):
    """The table is read and gone through in many chunks."""
    monkeypatch.setattr("kmeans_tf.local.chunk_rows", lambda features: 1 << 10)
    monkeypatch.setattr("kmeans_tf.local.scan_rows", lambda features: 1 << 10)
    points, _ = blobs(20_000, 3, 9, seed=4)
    weights = np.random.default_rng(4).lognormal(0, 2, len(points))
    (one, alone), (other, state) = (
        kmeans_tf.fit(points, 9, weights=weights, threads=count) for count in (1, threads)
    )
    assert other.prototypes.tobytes() == one.prototypes.tobytes()
    assert state.trials[0].costs == alone.trials[0].costs
