"""What a training remembers of points labels their rows as comparing the rows does."""

import numpy as np
import pytest

from kmeans_tf import Model, assign, get_metric
from kmeans_tf.encoding import DOUBLE, SINGLE
from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.points import Points
from kmeans_tf.step import cluster_stats
from tests.kmeans_tf.adversaries import ADVERSARIES, case_of
from tests.kmeans_tf.build import summary_of
from tests.kmeans_tf.test_rows_by_definition import TABLES

K = 9


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(assign, "_FEW", 0)


def of_table(name):
    rows, prototypes = TABLES[name]()
    return rows, np.unique(np.r_[prototypes, rows[:2]], axis=0)


def blobs(offset=0.0, d=4):
    random = np.random.default_rng(8)
    rows = random.normal(size=(K, d)).repeat(200, 0) * 9 + random.normal(size=(K * 200, d))
    return rows + offset, rows[::200] + offset


CASES = {
    **{name: lambda name=name: of_table(name) for name in TABLES},
    **{make.__name__: lambda make=make: case_of(make, 17, 2) for make in ADVERSARIES},
    "blobs": blobs,
    "blobs far away": lambda: blobs(1e6),
}


def remembered(rows, start, metric, *, standard=False, precision=SINGLE, share=1e-6):
    """A model near a start, its encoding, and what a step from the start leaves of (n, d) rows.

    Its prototypes have moved by about a share of themselves.
    """
    layout = SumLayout.fit(
        summary_of(rows, moments=standard),
        get_metric(metric),
        standard=standard,
        impute=False,
        precision=precision,
    )
    points, memo = Points.encode(layout.encoding, rows), Memo()
    start = layout.encoding.encode_prototypes(start)
    cluster_stats(layout, get_metric(metric), points, start, memo=memo)
    random = np.random.default_rng(len(rows))
    moved = start * (1 + random.normal(size=start.shape) * share)
    model = Model.trained(layout.encoding, metric, moved, np.arange(len(moved), dtype=np.int32))
    return model, layout.encoding, memo.bounded(0)


def labels_as_without(rows, *remembering, **how):
    model, encoding, bounded = remembered(rows, *remembering, **how)
    known = model.known(encoding, bounded)
    for with_memo, without in zip(model.nearest(rows, known), model.nearest(rows), strict=True):
        np.testing.assert_array_equal(with_memo, without)


@pytest.mark.parametrize("share", [1e-6, 0.1])
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_labels_and_distances_are_the_same(name, precision, share):
    rows, start = CASES[name]()
    rows = np.asarray(rows, np.float64)
    labels_as_without(rows, start, "sqeuclidean", precision=precision, share=share)


@pytest.mark.parametrize("share", [1e-6, 0.3])
@pytest.mark.parametrize("metric, standard", [("sqeuclidean", True), ("cosine", False)])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_scaled_rows_and_directions(metric, standard, offset, share):
    rows, start = (array * [1, 10, 100, 1e-3] for array in blobs(offset))
    labels_as_without(rows, start, metric, standard=standard, share=share)


def test_rows_that_are_one_point_are_compared():
    """Whatever is known of the point: they lie within a quantum, and prototypes between them."""
    few = np.linspace(-1.4e-11, 1.4e-11, 99)
    rows = np.r_[np.random.default_rng(1).uniform(-1, 1, 4000), few][:, None]
    start = np.array([[-0.5], [-9e-12], [2e-12], [1.1e-11], [0.5]])
    model, encoding, bounded = remembered(rows, start, "sqeuclidean", share=0.0)
    labels, *_ = model.nearest(rows)
    assert (bounded.labels != labels).any(), "the point is nearer to another"
    index, *_ = model.nearest(rows, model.known(encoding, bounded))
    np.testing.assert_array_equal(index, labels)


def test_hardly_a_row_of_parted_groups_is_compared(monkeypatch):
    rows, start = blobs()
    model, encoding, bounded = remembered(rows, start, "sqeuclidean")
    known = model.known(encoding, bounded)
    encoded, encode = [], Points.encode

    def counting(encoding, rows, *args, **options):
        encoded.append(len(rows))
        return encode(encoding, rows, *args, **options)

    monkeypatch.setattr(assign, "_FEW_ONCE", 0)
    monkeypatch.setattr(Points, "encode", counting)
    index, *_ = model.nearest(rows, known)
    assert sum(encoded) < len(rows) / 20
    np.testing.assert_array_equal(index, np.arange(K).repeat(200))
