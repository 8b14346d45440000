import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans

from kmeans_tf import get_metric
from kmeans_tf.assign import runners_up
from kmeans_tf.figures import Figures, FigureSums, Trials
from kmeans_tf.state import CONVERGED, DIVERGED, Trial
from tests import reference
from tests.kmeans_tf.adversaries import ADVERSARIES, case_of
from tests.kmeans_tf.build import chunks_of, layout_of, raw_points
from tests.tables import blobs

SQEUCLIDEAN = get_metric("sqeuclidean")


def figures_of(rows, prototypes, weights=None, metric="sqeuclidean", size=100) -> Figures:
    """Of rows in chunks of some size."""
    metric = get_metric(metric)
    encoding = layout_of(rows, weights, metric.name).encoding
    chunks = chunks_of(layout_of(rows, weights, metric.name), rows, weights, size)
    places = encoding.encode_prototypes(prototypes)
    first, *others = (FigureSums.of(metric, chunk, places) for chunk in chunks)
    return Figures.of(metric, encoding, places, sum(others, first))


def silhouette(rows, prototypes, weights, metric="sqeuclidean"):
    """The simplified silhouette by its definition, every distance written out."""
    total = 0.0
    distances = reference.distances(rows, prototypes, metric)
    distances = np.sqrt(distances) if metric == "sqeuclidean" else distances
    labels = distances.argmin(1)
    for row, label, weight in zip(distances, labels, weights, strict=True):
        mine = labels == label
        if distances[mine, label].any() or weights[mine].sum() > 1:
            a, b = row[label], np.delete(row, label).min()
            total += weight * (b - a) / max(a, b)
    return total / weights.sum()


@pytest.fixture(scope="module")
def clustered():
    rows, _ = blobs(700, 3, 5, seed=3, offset=100.0)
    fitted = KMeans(6, n_init=1, random_state=0, tol=0.0).fit(rows)
    return rows.astype(np.float64), fitted.cluster_centers_.astype(np.float64), fitted.labels_


def test_scikit_learns_scores(clustered):
    rows, _, labels = clustered
    means = np.array([rows[labels == j].mean(0) for j in range(6)])
    figures = figures_of(rows, means)
    assert figures.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(rows, labels), 1e-5)
    expected = metrics.calinski_harabasz_score(rows, labels)
    assert figures.calinski_harabasz == pytest.approx(expected, 1e-5)
    assert figures.cost == pytest.approx(((rows - means[labels]) ** 2).sum(), rel=1e-5)
    assert figures.silhouette == pytest.approx(silhouette(rows, means, np.ones(700)), rel=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l1"])
def test_other_metrics_by_their_own_distance(clustered, metric):
    rows, prototypes, _ = clustered
    figures = figures_of(rows, prototypes, metric=metric)
    expected = silhouette(rows, prototypes, np.ones(700), metric)
    assert figures.silhouette == pytest.approx(expected, rel=1e-4)
    assert figures.davies_bouldin > 0
    assert figures.calinski_harabasz is None


def test_a_row_of_weight_two_is_two_rows(clustered):
    rows, prototypes, _ = clustered
    weights = np.arange(700) % 3.0 + 1
    repeated = figures_of(np.repeat(rows, weights.astype(int), 0), prototypes)
    assert figures_of(rows, prototypes, weights) == repeated
    assert repeated == figures_of(
        np.repeat(rows, weights.astype(int), 0)[::-1], prototypes, size=33
    )


def test_a_single_row_has_no_silhouette():
    rows = np.array([[0.0], [10.0], [12.0]])
    figures = figures_of(rows, np.array([[0.0], [11.0]]))
    assert figures.silhouette == pytest.approx((9 / 10 + 11 / 12) / 3)


@pytest.mark.parametrize("times", [2, 3, 7, 1000])
def test_rows_that_repeat_have_silhouettes_however_their_mean_is_rounded(times):
    two = np.array([[0.1, 0.7], [1 / 3, 0.2]])
    rows = np.repeat(two, times, axis=0)
    for means in (two, np.nextafter(two, 1)):
        assert figures_of(rows, means).silhouette == pytest.approx(1, abs=1e-6)
        assert figures_of(two, means, np.full(2, float(times))).silhouette == pytest.approx(
            1, abs=1e-6
        )


def test_clusters_without_rows_are_left_out(clustered):
    rows, prototypes, _ = clustered
    far = np.vstack([prototypes, [[1e3, 1e3, 1e3]]])
    assert figures_of(rows, far).davies_bouldin == figures_of(rows, prototypes).davies_bouldin
    assert figures_of(rows, far[-1:]) == Figures(figures_of(rows, far[-1:]).cost)


@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_runners_up_are_the_labels_without_the_own_prototype(make):
    points, prototypes = case_of(make, 17, 2)
    labels = reference.labels(points, prototypes, "sqeuclidean")
    found = runners_up(SQEUCLIDEAN, raw_points(points), prototypes, labels)
    for j in range(17):
        mine = labels == j
        others = np.delete(np.arange(17), j)
        expected = others[reference.labels(points[mine], prototypes[others], "sqeuclidean")]
        np.testing.assert_array_equal(found[mine], expected)


def test_the_best_is_the_first_that_is_best_and_did_not_diverge():
    def trials(choose, *figures, diverged=()):
        each = [
            Trial(np.zeros((2, 1)), np.arange(2), status=DIVERGED if i in diverged else CONVERGED)
            for i in range(len(figures))
        ]
        return Trials(tuple(each), figures, choose)

    one, two = Figures(5.0, 0.4, 1.0, 30.0), Figures(4.0, 0.3, 0.5, 40.0)
    same, none = Figures(4.0, 0.3, 0.5, 40.0), Figures(1.0)
    for choose, best in [
        ("cost", 3),
        ("silhouette", 0),
        ("davies_bouldin", 1),
        ("calinski_harabasz", 1),
    ]:
        assert trials(choose, one, two, same, none).chosen == best, choose
    assert trials("cost", one, two, same, none, diverged=[3]).chosen == 1
    assert trials("silhouette", none, one).chosen == 1
