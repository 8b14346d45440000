import pickle

import numpy as np
import pytest

import kmeans_tf
from kmeans_tf import TrainingOptions, get_metric
from kmeans_tf.fixed_point import WeightError
from kmeans_tf.layout import SumLayout
from kmeans_tf.step import cluster_stats
from tests import reference
from tests.kmeans_tf.build import chunks_of, counted, fractions, layout_of, weighted_sums
from tests.tables import blobs

N, K = 600, 4
SQEUCLIDEAN = get_metric("sqeuclidean")


def blob_rows(seed=0, offset=0.0):
    return blobs(N, 3, K, seed)[0].astype(np.float64) + offset


def with_outlier(value=1e9):
    rows = blob_rows()
    rows[17, 1] = value
    return rows


def with_constant():
    rows = blob_rows()
    rows[:, 2] = 0.1
    return rows


def mixed_scales():
    return blob_rows() * [1e-12, 1.0, 1e12] + [0.0, 1e8, -1e13]


TABLES = {
    "plain": blob_rows,
    "offset 1e4": lambda: blob_rows(offset=1e4),
    "offset 1e8": lambda: blob_rows(offset=1e8),
    "huge": lambda: blob_rows() * 1e30,
    "tiny": lambda: blob_rows() * 1e-30,
    "outlier": with_outlier,
    "constant column": with_constant,
    "mixed scales": mixed_scales,
    "one row": lambda: np.array([[1.0, -2.0, 3e7]]),
    "all equal": lambda: np.full((9, 3), 0.1),
}
tables = pytest.mark.parametrize("rows", [f() for f in TABLES.values()], ids=TABLES)
scaled = pytest.mark.parametrize("standard", [False, True], ids=["as it is", "standard"])


def stats_of(layout, rows, prototypes, weights=None, size=1 << 12):
    """The summed stats of all chunks, as plain lists."""
    parts = [
        cluster_stats(layout, SQEUCLIDEAN, chunk, prototypes)
        for chunk in chunks_of(layout, rows, weights, size)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@tables
@scaled
def test_points_are_float32_and_multiples_of_the_quantum(rows, standard):
    layout = layout_of(rows, standard=standard)
    points = layout.encoding.encode(rows)
    assert points.dtype == np.float32
    multiples = points.astype(np.float64) / layout.encoding.quantum
    assert (multiples == np.rint(multiples)).all()
    # Every point's limbs have the width that their sums have room for.
    limbs = layout.limbs.split(points.astype(np.float64)) / layout.limbs.quantum
    assert np.abs(limbs).max() <= 2.0**layout.bits
    assert (layout.limbs.round(points) == points).all()


@tables
def test_points_keep_what_float32_can_of_a_row(rows):
    layout = layout_of(rows)
    back = layout.encoding.decode(layout.encoding.encode(rows).astype(np.float64))
    away = np.abs(rows - layout.encoding.centre)
    quantum = layout.encoding.quantum / np.abs(layout.encoding.factor)
    allowed = 2.0**-24 * away + quantum / 2 + 2.0**-52 * np.abs(rows)
    assert (np.abs(back - rows) <= 1.001 * allowed).all()
    # ... and the quantum is fine even beside an outlier: 2**-20 of a column's spread.
    spread = np.subtract(*np.percentile(rows, [75, 25], axis=0))
    assert (quantum[spread > 0] <= 2.0**-20 * spread[spread > 0]).all()


@tables
def test_no_square_overflows(rows):
    layout = layout_of(rows)
    points = layout.encoding.encode(rows)
    assert np.isfinite((points * points).sum(1)).all()
    assert 0.25 <= np.abs(points).max() <= 1 or not (rows != rows[0]).any()
    assert np.frexp(layout.encoding.unit)[0] == 0.5


def test_a_constant_column_has_quantum_one_and_keeps_its_value():
    layout = layout_of(with_constant())
    points = layout.encoding.encode(with_constant())
    assert layout.encoding.quantum[2] == 1.0
    assert not points[:, 2].any()
    assert (layout.encoding.decode(points)[:, 2] == 0.1).all()


@pytest.mark.parametrize("shards", [1, 3, 17])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", ["plain", "offset 1e8", "outlier", "mixed scales"])
def test_sums_are_exact_in_any_order_and_split(name, weighted, shards):
    rows = TABLES[name]()
    rng = np.random.default_rng(shards)
    weights = rng.random(N) * 5 if weighted else None
    layout = layout_of(rows, weights)
    prototypes = layout.encoding.encode(rows[:K]).astype(np.float64)

    order = rng.permutation(N)
    shuffled = None if weights is None else weights[order]
    size = -(-N // shards)
    stats = stats_of(layout, rows[order], prototypes, shuffled, size)

    points = layout.encoding.encode(rows)
    labels = reference.labels(points, prototypes, "sqeuclidean")
    exactly = fractions(np.ones(N) if weights is None else weights)
    assert stats.rows.tolist() == np.bincount(labels, minlength=K).tolist()
    weight, sums = counted(layout.weights, stats.weight)[:, 0], weighted_sums(layout, stats)
    for k in range(K):
        mine = labels == k
        assert weight[k] == exactly[mine].sum()
        assert (sums[k] == (fractions(points[mine]) * exactly[mine][:, None]).sum(0)).all()


@scaled
@pytest.mark.parametrize("seed", range(3))
def test_a_weight_stands_for_equal_rows(seed, standard):
    rows = blob_rows(seed) + 0.1
    rows[:, 1] = 0.1
    times = np.random.default_rng(seed).integers(0, 8, N)
    repeated = np.repeat(rows, times, axis=0)
    start = rows[times > 0][:K]
    options = TrainingOptions(tolerance=0)
    arguments = {"init": start, "standard": standard, "options": options}
    model, state = kmeans_tf.fit(rows, K, weights=times.astype(float), **arguments)
    expected_model, expected = kmeans_tf.fit(repeated, K, **arguments)
    for name in ("offset", "scale", "prototypes"):
        assert np.array_equal(getattr(model, name), getattr(expected_model, name))
    assert state.trials[0].costs == expected.trials[0].costs
    assert np.array_equal(model.prototypes, expected_model.prototypes)


def test_an_outlier_costs_no_label_and_no_digit():
    rows = with_outlier()
    start = rows[[0, 1, 2, 3, 4, 5]]
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, 6, init=start, options=options)
    expected = reference.fit(rows, start, tolerance=0)
    assert len(layout_of(rows).limbs.column) > 3  # the premise: one limb is not enough
    assert expected.converged
    labels, _ = model.label(rows)
    assert np.array_equal(labels, expected.labels)
    assert (expected.labels == expected.labels[17]).sum() == 1
    np.testing.assert_allclose(model.prototypes, expected.prototypes, rtol=1e-6)
    np.testing.assert_allclose(state.trials[0].costs, expected.history, rtol=1e-6)


@pytest.mark.parametrize("offset", [1e4, 1e8], ids=["1e4", "1e8"])
def test_an_offset_costs_no_label_and_no_digit(offset):
    rows = blob_rows(offset=offset)
    start = rows[:6]
    model, _ = kmeans_tf.fit(rows, 6, init=start, options=TrainingOptions(tolerance=0))
    expected = reference.fit(rows - offset, start - offset, tolerance=0)
    assert np.array_equal(model.label(rows)[0], expected.labels)
    np.testing.assert_allclose(
        model.prototypes - offset, expected.prototypes, atol=offset * 1e-15 + 1e-6
    )


@pytest.mark.parametrize("power", [-100, -40, 40, 100])
def test_a_power_of_two_changes_no_bit(power):
    rows, scale = blob_rows(), 2.0**power
    options = TrainingOptions(tolerance=0)
    model, state = kmeans_tf.fit(rows, 5, options=options, init=rows[:5])
    other, scaled_state = kmeans_tf.fit(rows * scale, 5, options=options, init=rows[:5] * scale)
    assert np.array_equal(other.prototypes, model.prototypes * scale)
    costs = np.array(state.trials[0].costs) * scale * scale
    assert scaled_state.trials[0].costs == tuple(costs)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_rows_are_clustered_as_any(scale):
    rows = blob_rows()
    start = rows[:5]
    expected = reference.fit(rows, start, tolerance=0)
    model, state = kmeans_tf.fit(
        rows * scale, 5, init=start * scale, options=TrainingOptions(tolerance=0)
    )
    labels, distances = model.label(rows * scale)
    assert np.array_equal(labels, expected.labels)
    np.testing.assert_allclose(model.prototypes, expected.prototypes * scale, rtol=1e-5)
    np.testing.assert_allclose(state.trials[0].costs, np.array(expected.history) * scale**2, 1e-6)
    assert np.isfinite(distances).all()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("rows", [blob_rows(), with_constant(), mixed_scales()])
def test_standard_scaling_is_the_references(rows, weighted):
    weights = np.random.default_rng(1).random(N) if weighted else None
    if weighted:
        weights[::5] = 0
    layout = layout_of(rows, weights, standard=True)
    z, mean, deviation = reference.standardize(rows, weights)
    np.testing.assert_allclose(layout.encoding.centre, mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(layout.encoding.factor, layout.encoding.unit / deviation, rtol=1e-9)
    np.testing.assert_allclose(
        layout.encoding.encode(rows) / layout.encoding.unit, z, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_constant_column_is_constant_whatever_the_weights(seed):
    rng = np.random.default_rng(seed)
    rows = np.column_stack([np.full(N, rng.standard_normal()), rng.standard_normal(N)])
    layout = layout_of(rows, rng.random(N), standard=True)
    assert layout.encoding.centre[0] == rows[0, 0]
    assert layout.encoding.factor[0] == layout.encoding.unit


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_cosine_points_are_the_rows_over_their_lengths(scale):
    rows = blob_rows() * scale
    layout = layout_of(rows, metric="cosine")
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(layout.encoding.encode(rows), expected, rtol=1e-7, atol=1e-9)
    assert not layout.encoding.centre.any()


def test_a_cosine_row_at_the_mean_stays_finite_under_standard_scaling():
    rows = np.array([[1.0, 2], [-1, -2], [0, 0], [3, -1], [-3, 1]]) + 5
    points = layout_of(rows, metric="cosine", standard=True).encoding.encode(rows)
    assert np.isfinite(points).all()
    assert not points[2].any()


def test_only_translation_invariant_metrics_are_centred():
    rows = blob_rows(offset=100)
    assert layout_of(rows, metric="l1").encoding.centre.all()
    assert not layout_of(rows, metric="tests.user_metrics:pseudo_huber").encoding.centre.any()


def test_means_for_bad_features_are_those_of_the_finite_ones():
    rows, weights = blob_rows(), np.random.default_rng(0).random(N)
    bad = rows.copy()
    bad[::7, 0], bad[::11, 2] = np.nan, np.inf
    means = layout_of(bad, weights, impute=True).encoding.means
    imputed = reference.impute(bad, weights)
    np.testing.assert_allclose(means, [imputed[0, 0], means[1], imputed[0, 2]], 1e-14)
    np.testing.assert_allclose(means[1], np.average(rows[:, 1], weights=weights), 1e-14)
    assert layout_of(rows).encoding.means is None


@pytest.mark.parametrize(
    "weights, limbs",
    [
        ([1.0, 3.0, 0.0, 7.0], 1),
        ([2.0**20, 1.0, 5.0, 12345.0], 1),
        ([0.5, 0.25, 3.0, 0.0], 1),
        ([2.0**30, 1.0, 5.0, 12345.0], 2),
        ([0.1, 0.7, 1e-3, 2.5], 4),
        ([1e-20, 3e-20, 0.0, 2e-20], 3),
        ([1e12, 3e12 + 1, 1.0, 7.0], 3),
        ([1e16, 1.0, 0.1, 7.0], 6),
        ([1e15, 1e-15, 0.0, 1.0], 8),
    ],
)
def test_limbs_of_weights_add_up_to_them(weights, limbs):
    weights = np.array(weights)
    cut = layout_of(blob_rows()[:4], weights).weights
    counts = cut.split(weights[:, None]) / cut.quantum
    assert cut.quantum.shape == (limbs,)
    assert (counts == np.rint(counts)).all() and np.abs(counts).max() <= 2.0**20
    assert (counted(cut, counts)[:, 0] == fractions(weights)).all()


@pytest.mark.parametrize("weights", ["fractions", "whole", "15 orders"])
def test_a_layout_for_other_weights_adds_them_exactly(weights):
    rng = np.random.default_rng(0)
    rows = blob_rows()
    weights = {
        "fractions": rng.random(N),
        "whole": rng.integers(0, 9, N).astype(float),
        "15 orders": 10.0 ** rng.uniform(-9, 6, N),
    }[weights]
    first = layout_of(rows, np.full(N, 3.0))
    layout = first.with_weights(weights)
    assert layout.encoding is first.encoding
    assert layout.total_weight == float(fractions(weights).sum())
    prototypes = layout.encoding.encode(rows[:K]).astype(np.float64)
    stats = stats_of(layout, rows, prototypes, weights, 100)
    labels = reference.labels(layout.encoding.encode(rows), prototypes, "sqeuclidean")
    points, exactly = fractions(layout.encoding.encode(rows)), fractions(weights)
    weight, sums = counted(layout.weights, stats.weight)[:, 0], weighted_sums(layout, stats)
    for k in range(K):
        mine = labels == k
        assert weight[k] == exactly[mine].sum()
        assert (sums[k] == (points[mine] * exactly[mine][:, None]).sum(0)).all()


@pytest.mark.parametrize("weights", [[1e300, 1.0], [1e20, 1e-20], [1e-70, 1e-70], [3e70, 1e70]])
def test_weights_that_cannot_be_added_exactly_are_refused(weights):
    with pytest.raises(WeightError, match="too far apart to be added exactly"):
        layout_of(blob_rows()[:2], np.array(weights))


@pytest.mark.parametrize("copies", [10, 20, 33])
@pytest.mark.parametrize("weight", [1.0, 0.3, 1000.0, 1e9])
def test_many_heavy_rows_still_have_room(weight, copies):
    rows = blob_rows()
    good = np.ones(N, bool)
    options = {"seed": 0, "capacity": 1 << 16}
    summary = kmeans_tf.summary.Summary.of(rows, np.full(N, weight), good, **options)
    for _ in range(copies):
        summary = summary + summary
    layout = SumLayout.fit(summary, SQEUCLIDEAN, standard=False, impute=False)
    limbs = layout.weights.split(np.array([[weight]])) / layout.weights.quantum
    assert counted(layout.weights, limbs)[0, 0] == fractions([weight])[0]
    heaviest = int(np.abs(limbs).max())
    assert heaviest * (N << copies) * 2**layout.bits < 2**63
    assert heaviest * 4096 * 2**layout.bits <= 2**53


def test_prototypes_go_there_and_back():
    rows = blob_rows(offset=1e4)
    layout = layout_of(rows, standard=True)
    np.testing.assert_allclose(
        layout.encoding.decode(layout.encoding.encode_prototypes(rows)), rows, rtol=1e-15
    )


def test_it_crosses_workers():
    layout = layout_of(with_outlier(), impute=True)
    copied = pickle.loads(pickle.dumps(layout))
    rows = blob_rows(5)
    assert np.array_equal(copied.encoding.encode(rows), layout.encoding.encode(rows))
    assert len(pickle.dumps(layout)) < 2000
