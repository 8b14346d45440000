import subprocess
import sys

import numpy as np
import pytest

import kmeans_tf
from kmeans_tf import Model, TrainingOptions, get_metric
from kmeans_tf.metrics import good_rows
from kmeans_tf.model import BAD_LABEL
from tests import reference
from tests.kmeans_tf.build import layout_of
from tests.kmeans_tf.test_metrics import HUBER, numpy_huber
from tests.tables import blobs

pytestmark = pytest.mark.xdist_group("model")  # for the fixtures of this module

NUMBERS = np.array([7, 3, 100, 5, 0], np.int32)


def clean_rows(offset=0.0):
    return blobs(700, 3, 5, 2)[0].astype(np.float64) + offset


def with_constant_and_scales():
    rows = clean_rows() * [1e-9, 1.0, 1e9] + [0.0, 1e6, 0.0]
    return np.column_stack([rows, np.full(len(rows), 0.1)])


def spoilt(rows):
    """Rows to label: those trained on, bad ones, and some far from all."""
    extra = rows[:9].copy()
    extra[0, 0] = np.nan
    extra[1, 1] = np.inf
    extra[2] = -np.inf
    extra[3] = np.nan
    extra[4] = 0.0
    extra[5] = -0.0
    extra[6] *= 1e25
    extra[7] = 1e200
    extra[8] = -1e-200
    near = [rows[:6] / np.abs(rows[:6]).max() * place for place in (1e300, 1e-160, 1e-290)]
    extra = np.concatenate([extra, *near])
    return np.concatenate([rows, extra])


def lattice_ties():
    """Prototypes at the corners of a square, rows on a lattice: many exact ties."""
    rows = np.array([[x, y] for x in range(-4, 5) for y in range(-4, 5)], np.float64)
    prototypes = np.array([[2.0, 2], [-2, 2], [2, -2], [-2, -2], [2, 2]])
    layout = layout_of(rows)
    return Model.trained(
        layout.encoding, "sqeuclidean", layout.encoding.encode_prototypes(prototypes), NUMBERS
    ), rows


def trained(rows, metric="sqeuclidean", standard=False, impute=False):
    """A model with label numbers of its own, and the rows to label."""
    if impute:
        rows = rows.copy()
        rows[::13, 0], rows[::17, 2] = np.nan, np.inf
    layout = layout_of(rows, None, metric, standard=standard, impute=impute)
    start = layout.encoding.encode_prototypes(clean_rows_like(rows)[:5])
    start += np.random.default_rng(0).standard_normal(start.shape) * np.abs(start).max() * 0.01
    policy = "impute" if impute else "null"
    names = tuple(f"column {j}" for j in range(rows.shape[1]))
    return Model.trained(layout.encoding, metric, start, NUMBERS, names, policy), spoilt(rows)


def clean_rows_like(rows):
    return rows[np.isfinite(rows).all(1)]


def near_directions():
    rows = clean_rows(1.0) % 7 + 1e7
    prototypes = np.add(rows[:5], [[0.25, 0.0, 0.5]])
    names = ("a", "b", "c")
    ones = np.ones(3)
    return Model("cosine", prototypes, NUMBERS, 0 * ones, ones, None, names, "null"), spoilt(rows)


def vanishing():
    """Prototypes whose distances' squares vanish, or overflow."""
    prototypes = np.array([[0.0], [1e-200], [1.0], [1e200], [3e200]])
    rows = np.array([0.1, 0.6, 2, 4])[:, None] * [1e-200, 1e-160, 1, 1e200, 1e307]
    names = ("a",)
    model = Model("sqeuclidean", prototypes, NUMBERS, np.zeros(1), np.ones(1), None, names, "null")
    return model, np.r_[rows.reshape(-1, 1), [[np.nan]], prototypes]


CASES = {
    "near directions": near_directions,
    "vanishing": vanishing,
    "sqeuclidean": lambda: trained(clean_rows()),
    "offset": lambda: trained(clean_rows(1e4)),
    "scales": lambda: trained(with_constant_and_scales()),
    "standard": lambda: trained(with_constant_and_scales(), standard=True),
    "impute": lambda: trained(clean_rows(1.0), impute=True),
    "impute and standard": lambda: trained(clean_rows(1.0), impute=True, standard=True),
    "cosine": lambda: trained(clean_rows(1.0), "cosine"),
    "cosine and impute": lambda: trained(clean_rows(1.0), "cosine", impute=True),
    "cosine and standard": lambda: trained(clean_rows(1.0), "cosine", standard=True),
    "l1": lambda: trained(clean_rows(), "l1"),
    "user's": lambda: trained(clean_rows(), HUBER),
    "ties": lattice_ties,
}

# Nothing of this project can be imported there, nor Beam or Arrow.
LOADER = """
import sys
for name in ("kmeans_tf", "pipeline", "tests", "apache_beam", "pyarrow", "sklearn"):
    sys.modules[name] = None
import pathlib
import numpy as np, tensorflow as tf
for folder in sorted(pathlib.Path().glob("case-*")):
    model = tf.saved_model.load(str(folder / "model"))
    rows = np.load(folder / "rows.npy")
    said = {k: v.numpy() for k, v in model.label(rows).items()}
    alone = [model.label(rows[i : i + 1]) for i in range(5)]
    assert [int(a["label"][0]) for a in alone] == said["label"][:5].tolist()
    served = model.signatures["serving_default"](rows=tf.constant(rows))
    assert np.array_equal(served["label"], said["label"])
    np.savez(folder / "said.npz", prototypes=model.prototypes.numpy(), **said)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """By case: the model, the rows, and what the SavedModel said of them in another process."""
    folder = tmp_path_factory.mktemp("models")
    cases = {name: make() for name, make in CASES.items()}
    for number, (model, rows) in enumerate(cases.values()):
        case = folder / f"case-{number:02d}"
        model.save(str(case / "model"))
        np.save(case / "rows.npy", rows)
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADER], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {
        name: (*case, folder / f"case-{number:02d}")
        for number, (name, case) in enumerate(cases.items())
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_a_saved_model_labels_without_this_project(loaded, name):
    model, rows, case = loaded[name]
    labels, distances = model.label(rows)
    served = np.load(case / "said.npz")
    assert served["label"].dtype == np.int32
    assert served["distance"].dtype == np.float64
    assert np.array_equal(served["label"], labels)
    if get_metric(model.metric).sums_suffice:
        assert np.array_equal(served["distance"], distances, equal_nan=True)
    np.testing.assert_allclose(served["distance"], distances, rtol=1e-14)
    assert np.array_equal(served["prototypes"], model.prototypes)
    assert (labels == BAD_LABEL).any() == (name not in ("impute", "impute and standard", "ties"))
    assert len(np.unique(labels)) > 3


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_a_model_that_is_loaded_is_the_one_that_was_saved(loaded, name):
    model, rows, case = loaded[name]
    copied = Model.load(str(case / "model"))
    for one, other in zip(model.label(rows), copied.label(rows), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert (copied.metric, copied.features) == (model.metric, model.features)
    assert copied.on_bad_row == model.on_bad_row
    assert np.array_equal(copied.prototypes, model.prototypes)
    for field in ("offset", "scale", "labels", "means"):
        assert np.array_equal(getattr(copied, field), getattr(model, field)), field


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "l1", HUBER])
def test_labels_and_distances_are_the_references(metric):
    model, rows = trained(clean_rows(1.0), metric)
    rows = rows[np.isfinite(rows).all(1) & (np.abs(rows).max(1) < 1e6)]
    rows = rows[rows.any(1) & (np.abs(rows).max(1) > 1e-9)]
    oracle = numpy_huber if metric == HUBER else metric
    expected = reference.distances(rows, model.prototypes, oracle)
    labels, distances = model.label(rows)
    assert np.array_equal(labels, NUMBERS[expected.argmin(1)])
    nearest = expected.min(1)
    nearest = np.sqrt(nearest) if metric == "sqeuclidean" else nearest
    np.testing.assert_allclose(distances, nearest, rtol=1e-5, atol=1e-7)


def test_standard_distances_are_between_z_scores():
    rows = with_constant_and_scales()
    model, _ = trained(rows, standard=True)
    z, mean, deviation = reference.standardize(rows)
    prototypes = (model.prototypes - mean) / deviation
    expected = reference.distances(z, prototypes, "sqeuclidean")
    labels, distances = model.label(rows)
    assert np.array_equal(labels, NUMBERS[expected.argmin(1)])
    np.testing.assert_allclose(distances, np.sqrt(expected.min(1)), rtol=1e-5, atol=1e-6)


def test_bad_rows_have_no_label_unless_imputed():
    model, _ = trained(clean_rows(1.0))
    rows = clean_rows(1.0)[:4]
    rows[1, 2], rows[3] = np.nan, np.inf
    labels, distances = model.label(rows)
    assert labels.tolist()[1::2] == [BAD_LABEL, BAD_LABEL]
    assert np.isnan(distances[1::2]).all()
    assert (labels[::2] != BAD_LABEL).all()

    model, _ = trained(clean_rows(1.0), impute=True)
    filled = np.where(np.isfinite(rows), rows, model.means)
    for one, other in zip(model.label(rows), model.label(filled), strict=True):
        assert np.array_equal(one, other)
    assert (model.label(rows)[0] != BAD_LABEL).all()


def test_a_zero_row_is_bad_only_under_cosine():
    rows = np.array([[0.0, -0.0], [1.0, 0.0], [np.nan, 0.0]])
    assert good_rows(get_metric("cosine"), rows).tolist() == [False, True, False]
    assert good_rows(get_metric("sqeuclidean"), rows).tolist() == [True, True, False]


def test_many_rows_are_labelled_in_chunks():
    model, _ = trained(clean_rows())
    rows = np.tile(clean_rows(), (100, 1))
    labels, distances = model.label(rows)
    one, other = model.label(clean_rows())
    assert np.array_equal(labels, np.tile(one, 100))
    assert np.array_equal(distances, np.tile(other, 100))
    for nothing in model.label(np.empty((0, 3))):
        assert nothing.shape == (0,)


def test_prototypes_are_in_the_rows_units():
    rows = clean_rows(1e4)
    start = rows[:5]
    for standard in (False, True):
        model, _ = kmeans_tf.fit(
            rows, 5, init=start, standard=standard, options=TrainingOptions(max_iterations=0)
        )
        np.testing.assert_allclose(model.prototypes, start, rtol=1e-14)
    model, _ = kmeans_tf.fit(
        rows, 5, init=start, options=TrainingOptions("cosine", max_iterations=0)
    )
    lengths = np.linalg.norm(model.prototypes, axis=1)
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-15)


@pytest.mark.parametrize("content", ["missing", "empty", "another"])
def test_what_is_no_model_is_an_error(tmp_path, content):
    import tensorflow as tf

    folder = tmp_path / "model"
    if content == "empty":
        folder.mkdir()
    if content == "another":
        tf.saved_model.save(tf.Module(), str(folder))
    with pytest.raises(ValueError, match="holds no model of this job"):
        Model.load(str(folder))
