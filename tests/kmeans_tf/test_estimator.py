"""The estimator beside scikit-learn: its checks, answers and pipelines; and in a process alone."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn import cluster
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import kmeans_tf
from kmeans_tf import KMeans, Model, TrainingOptions
from tests import reference
from tests.tables import blobs

SKIPPED = {
    "check_n_features_in_after_fitting": "asks for scikit-learn's words about the number of "
    "features; ours are held by test_rows_of_another_width",
    "check_array_api_input": "for arrays of other libraries, of which there are none here",
}
# Run by `check_estimator` only where the class inherits from scikit-learn's.
OF_CLUSTERERS = [
    estimator_checks.check_clusterer_compute_labels_predict,
    estimator_checks.check_clustering,
    estimator_checks.check_estimators_partial_fit_n_features,
]


def test_scikit_learns_checks_pass():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimator KMeans does not inherit", UserWarning)
        checks = estimator_checks.check_estimator(
            KMeans(n_clusters=2), expected_failed_checks=SKIPPED, on_skip=None
        )
    assert len(checks) > 45
    other = {check["check_name"] for check in checks if check["status"] != "passed"}
    assert other == SKIPPED.keys()


@pytest.mark.parametrize("check", OF_CLUSTERERS, ids=lambda check: check.__name__)
def test_scikit_learns_checks_of_clusterers_pass(check):
    check("KMeans", KMeans(n_clusters=2))


@pytest.fixture(scope="module")
def rows():
    return blobs(900, 3, 4, 5)[0].astype(np.float64)


@pytest.fixture(scope="module")
def fitted(rows):
    return KMeans(4).fit(rows)


def test_it_ends_where_scikit_learn_does(rows):
    weights = np.random.default_rng(0).uniform(0, 3, len(rows))
    start = rows[:4]
    theirs = cluster.KMeans(4, init=start, n_init=1, tol=0).fit(rows, sample_weight=weights)
    ours = KMeans(4, init=start, tol=0).fit(rows, sample_weight=weights)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_)
    some = rows[::7] + 1
    np.testing.assert_array_equal(ours.predict(some), theirs.predict(some))
    np.testing.assert_allclose(ours.transform(some), theirs.transform(some))
    assert ours.score(some) == pytest.approx(theirs.score(some))
    assert ours.n_features_in_ == 3


def test_it_is_the_training_in_memory(rows):
    options = TrainingOptions(tolerance=0.01, max_iterations=7)
    model, state = kmeans_tf.fit(
        rows, 5, seed=3, standard=True, options=options, precision="double"
    )
    estimator = KMeans(
        5, random_state=3, standard=True, tol=0.01, max_iter=7, precision="double", threads=2
    )
    labels = estimator.fit_predict(rows)
    assert np.array_equal(estimator.cluster_centers_, model.prototypes)
    assert np.array_equal(labels, model.label(rows)[0])
    assert estimator.n_iter_ == state.iteration


@pytest.mark.parametrize(
    ("metric", "cost"),
    [("sqeuclidean", np.square), ("cosine", np.asarray), ("l1", np.asarray)],
)
def test_inertia_is_the_cost_of_the_labels(rows, metric, cost):
    descent = {"optimizer": "adam", "learning_rate": 0.5, "max_iter": 4} if metric == "l1" else {}
    weights = np.arange(len(rows)) % 4.0
    estimator = KMeans(3, metric=metric, **descent).fit(rows + 1, sample_weight=weights)
    expected = reference.distances(rows + 1, estimator.cluster_centers_, metric)
    assert np.array_equal(estimator.labels_, expected.argmin(1))
    assert estimator.inertia_ == pytest.approx(weights @ expected.min(1))
    distances = estimator.transform(rows + 1)
    np.testing.assert_allclose(cost(distances), expected, rtol=1e-9, atol=1e-12)
    own, distance = estimator.model_.label(rows + 1)
    assert np.array_equal(distances[np.arange(len(rows)), own], distance)


def test_many_rows_in_parts_have_the_answer_of_each(fitted, monkeypatch):
    rows = np.random.default_rng(1).normal(0, 30, (1000, 3))
    alone = fitted.predict(rows), fitted.transform(rows), fitted.score(rows)
    monkeypatch.setattr("kmeans_tf.estimator.piece_rows", lambda features: 64)
    assert np.array_equal(fitted.predict(rows), alone[0])
    assert np.array_equal(fitted.transform(rows), alone[1])
    assert fitted.score(rows) == alone[2]


def test_no_rows_have_no_labels(fitted):
    assert fitted.predict(np.empty((0, 3))).shape == (0,)
    assert fitted.transform(np.empty((0, 3))).shape == (0, 4)


NAMES = ["orders", "basket", "age"]


@pytest.mark.parametrize(
    "table",
    [
        lambda rows: pd.DataFrame(rows, columns=NAMES, index=range(len(rows), 0, -1)),
        lambda rows: pl.DataFrame(rows, schema=NAMES),
        lambda rows: pa.table(list(rows.T), names=NAMES),
    ],
    ids=["pandas", "polars", "Arrow"],
)
def test_a_table_is_known_by_its_names(rows, fitted, table):
    estimator = KMeans(4).fit(table(rows))
    assert estimator.feature_names_in_.tolist() == NAMES
    assert np.array_equal(estimator.labels_, fitted.labels_)
    turned = pa.table({name: rows[:, NAMES.index(name)] for name in sorted(NAMES)})
    assert np.array_equal(estimator.predict(turned), fitted.labels_)
    assert np.array_equal(estimator.predict(rows), fitted.labels_)
    assert not hasattr(estimator.fit(rows), "feature_names_in_")


def test_messages_name_row_and_feature(rows, fitted):
    holed = rows.copy()
    holed[5, 1] = np.nan
    with pytest.raises(ValueError, match=r"^row 5, feature 1 is NaN$"):
        KMeans(2).fit(holed)
    with pytest.raises(ValueError, match=r"^row 5, feature 1 is NaN$"):
        fitted.predict(holed)
    named = KMeans(4).fit(pd.DataFrame(rows, columns=NAMES))
    for asked in (named.fit, named.predict, named.transform, named.score):
        with pytest.raises(ValueError, match=r"^row 5, feature 'basket' is NaN$"):
            asked(pl.DataFrame(holed, schema=NAMES))
    with pytest.raises(ValueError, match=r"^rows have no feature 'basket': they have 'orders'$"):
        named.predict(pd.DataFrame({"orders": [1.0]}))


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_rows_of_another_width(rows, method):
    with pytest.raises(ValueError, match=r"^rows have 1 feature, the model has 2$"):
        getattr(KMeans(2).fit(rows[:, :2]), method)(rows[:, :1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "k = 0: expected a whole number from 1"),
        ({"n_clusters": "two"}, "k = 'two': expected"),
        ({"n_clusters": 901}, "there are only 900 distinct points"),
        ({"random_state": None}, "random_state = None: expected a whole number"),
        ({"init": "kmeans"}, "unknown init 'kmeans'"),
        ({"metric": "l1"}, "use adam"),
        ({"optimizer": "sgd", "learning_rate": 1e300}, "not finite after .* learning_rate"),
    ],
)
def test_parameters_that_cannot_be_are_told_by_fit(rows, parameters, message):
    with pytest.raises(ValueError, match=message):
        KMeans(**parameters).fit(rows)


def test_a_cost_that_cannot_be_added_is_told(fitted):
    with pytest.raises(ValueError, match=r"^row 1 is too far from every centre"):
        fitted.score([[1, 2, 3], [1e200, 0, 0]])


def test_before_it_is_fitted_it_says_so():
    with pytest.raises(NotFittedError, match=r"call fit, or KMeans\.load"):
        KMeans().predict([[1.0]])
    assert not hasattr(KMeans(), "cluster_centers_")


def test_it_is_shown_in_a_line(fitted):
    assert repr(KMeans()) == "KMeans()"
    assert repr(KMeans(3, metric="cosine")) == "KMeans(n_clusters=3, metric='cosine')"
    assert len(repr(KMeans(init=np.random.default_rng(0).normal(size=(8, 40))))) < 60
    assert repr(fitted.model_) == "Model(metric='sqeuclidean', 4 prototypes of 3 features)"
    _, state = kmeans_tf.fit(np.arange(100.0)[:, None], 2)
    assert len(repr(state)) < 200
    assert "2 prototypes of 1 features" in repr(state)


def test_parameters_are_set_by_name():
    estimator = clone(KMeans(3, tol=0)).set_params(n_clusters=5)
    assert estimator.get_params() == KMeans(5, tol=0).get_params()
    with pytest.raises(ValueError, match="no parameter 'n_init': there are n_clusters, init"):
        estimator.set_params(n_init=4)


def test_it_is_a_step_of_a_pipeline(rows):
    together = make_pipeline(StandardScaler(), KMeans(4))
    labels = together.fit_predict(rows, kmeans__sample_weight=np.ones(len(rows)))
    scaled = StandardScaler().fit_transform(rows)
    assert np.array_equal(labels, KMeans(4).fit_predict(scaled))
    assert together.transform(rows).shape == (len(rows), 4)
    assert together.get_feature_names_out().tolist() == ["kmeans0", "kmeans1", "kmeans2", "kmeans3"]
    assert np.array_equal(pickle.loads(pickle.dumps(together)).predict(rows), labels)


def test_a_grid_search_finds_the_best_score(rows):
    steps = Pipeline([("scale", StandardScaler()), ("cluster", KMeans())])
    search = GridSearchCV(steps, {"cluster__n_clusters": [2, 4, 3]}, cv=3).fit(rows)
    assert search.best_params_ == {"cluster__n_clusters": 4}
    alone = [
        make_pipeline(StandardScaler(), KMeans(4)).fit(np.delete(rows, part, 0)).score(rows[part])
        for part in np.array_split(np.arange(len(rows)), 3)
    ]
    assert search.best_score_ == pytest.approx(np.mean(alone))


def test_a_saved_model_is_loaded_again(rows, tmp_path):
    frame = pd.DataFrame(rows, columns=NAMES)
    estimator = KMeans(4, standard=True).fit(frame)
    estimator.to_saved_model(tmp_path / "model")
    for folder in (tmp_path / "model", str(tmp_path)):  # that of an output has it in `model`
        loaded = KMeans.load(folder)
        assert repr(loaded) == "KMeans(n_clusters=4, standard=True)"
        assert np.array_equal(loaded.predict(frame), estimator.labels_)
        assert np.array_equal(loaded.transform(rows), estimator.transform(rows))
        assert loaded.score(rows) == -estimator.inertia_
        assert loaded.feature_names_in_.tolist() == NAMES
    assert not hasattr(loaded, "labels_")
    assert np.array_equal(loaded.fit(rows).labels_, estimator.labels_)
    with pytest.raises(ValueError, match="holds no model of this job"):
        KMeans.load(tmp_path / "nothing")


@pytest.mark.parametrize(("policy", "means"), [("null", None), ("impute", [5.0, 5.0])])
def test_bad_rows_are_what_they_were_to_the_job(tmp_path, policy, means):
    ends = np.array([[0.0, 0], [10, 10]])
    mean = None if means is None else np.array(means)
    numbers = np.array([3, 8], np.int32)
    model = Model("sqeuclidean", ends, numbers, np.zeros(2), np.ones(2), mean, ("a", "b"), policy)
    model.save(str(tmp_path))
    loaded = KMeans.load(tmp_path)
    bad = [[np.nan, 9.0], [1, 1]]
    assert loaded.predict(bad).tolist() == [-1 if mean is None else 8, 3]
    assert np.isnan(loaded.transform(bad)[0]).all() == (mean is None)
    assert loaded.score(bad) == (-2 if mean is None else -2 - 25 - 1)


ALONE = """
import sys
for name in ("sklearn", "pandas", "polars", "apache_beam", "pipeline"):
    sys.modules[name] = None
import numpy as np
import kmeans_tf
assert not {"pyarrow", "tensorflow"} & sys.modules.keys()
for k, d in ((2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4)):
    estimator = kmeans_tf.KMeans(k)
    labels = estimator.fit(np.random.default_rng(k).normal(size=(2000, d))).labels_
try:
    kmeans_tf.KMeans().predict([[1.0]])
except (ValueError, AttributeError) as error:
    print(estimator, type(labels).__name__, error)
"""


def test_it_needs_no_scikit_learn_and_nothing_else_is_said():
    speaking = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, env=speaking
    )
    assert done.stderr == ""
    assert done.stdout == (
        "KMeans() ndarray this KMeans is not fitted yet: call fit, or KMeans.load\n"
    )
