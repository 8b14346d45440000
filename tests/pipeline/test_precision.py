"""Rows as they are: structure finer than float32, fractional weights, gaps that are filled."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import reference
from tests.tables import write_shards


def two_ports():
    """Metres along a coast: two ports 400 km apart, two quays 20 cm apart in each."""
    random = np.random.default_rng(3)
    truth = np.arange(400) % 4
    places = np.array([0.0, 0.2, 4e5, 4e5 + 0.2])
    return (places[truth] + random.normal(0, 0.01, 400))[:, None], truth, places[:, None]


def test_auto_keeps_what_float32_would_lose(fit, run, tmp_path):
    rows, truth, places = two_ports()
    write_shards(tmp_path / "in", rows, shards=2)
    np.save(tmp_path / "start.npy", places + 0.02)
    args = (f"--init={tmp_path / 'start.npy'}", "--tolerance=0", "--iterations_per_job=3")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert answer.run.result.precision == "double"
    assert np.array_equal(answer.labels, truth)
    means = np.array([rows[truth == j].mean() for j in range(4)])
    np.testing.assert_allclose(answer.centres[:, 0], means, rtol=1e-12, atol=1e-9)
    cost = sum(((rows[truth == j] - means[j]) ** 2).sum() for j in range(4))
    assert answer.run.result.cost == pytest.approx(cost, rel=1e-9)
    assert answer.prototypes["cost"].to_numpy().sum() == pytest.approx(cost, rel=1e-9)
    away = np.abs(rows[:, 0] - answer.centres[answer.labels, 0])
    np.testing.assert_allclose(answer.distances, away, rtol=1e-6)


def test_columns_that_no_points_are_fine_enough_for_are_named(run, tmp_path):
    random = np.random.default_rng(5)
    rows = random.normal(size=(300, 3))
    rows[:, 1] *= 1e-280
    rows[::50, 1] = 1e30
    for layout, features, column in (
        ("scalars", "f0,f1,f2", "'f1'"),
        ("list", "embedding", "'embedding[1]'"),
    ):
        write_shards(tmp_path / layout, rows, layout=layout)
        places = (f"--input={tmp_path / layout}", f"--output={tmp_path / 'out'}")
        ran = run("fit", *places, f"--features={features}", "--k=2")
        assert ran.code == 3, ran.stderr
        assert f"error: column {column}: some values are too near each other" in ran.stderr
        assert ran.stderr.splitlines()[-1].endswith("leave the far ones out, or cluster them apart")


def test_whole_numbers_beside_large_ones_are_clustered(fit, tmp_path):
    """Float32 would leave two distinct points."""
    random = np.random.default_rng(6)
    rows = np.r_[random.integers(0, 99, 150), random.integers(2**53 - 99, 2**53, 60)]
    write_shards(tmp_path / "in", rows[:, None], dtype="int64")
    answer = fit(tmp_path / "in", tmp_path / "out", "--k=4", "--tolerance=0")
    assert answer.run.result.precision == "double"
    for label, centre in enumerate(answer.centres[:, 0]):
        own = [int(x) for x in rows[answer.labels == label]]
        assert centre == pytest.approx(float(Fraction(sum(own), len(own))), rel=1e-15)


def test_given_prototypes_label_as_float64_does(fit, tmp_path):
    random = np.random.default_rng(4)
    far = random.random(5000) < 0.4
    rows = np.where(far, 3e9, 0.0) + random.normal(size=5000)
    places = np.array([0.0, 3e9 - 1, 3e9, 3e9 + 1])
    write_shards(tmp_path / "in", rows[:, None], shards=3)
    np.save(tmp_path / "start.npy", places[:, None])
    args = (f"--init={tmp_path / 'start.npy'}", "--max_iterations=0")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    distances = np.abs(rows[:, None] - places)
    assert np.array_equal(answer.labels, distances.argmin(1))
    np.testing.assert_allclose(answer.distances, distances.min(1), rtol=1e-6)


@pytest.mark.parametrize("precision", ["single", "double"])
def test_fractional_weights_on_rows_that_repeat_give_one_clustering(fit, tmp_path, precision):
    """A balanced design, where an ulp in the weight of a row decides which is drawn."""
    random = np.random.default_rng(5)
    grid = np.array([[x, y] for x in range(6) for y in range(6)], float)
    rows = grid[random.integers(0, 36, 3000)]
    weights = random.choice([0.1, 0.2, 0.3, 0.7], 3000)
    answers = []
    for shards, seed in ((1, 0), (7, 1), (40, 2)):
        folder = tmp_path / f"{shards}"
        write_shards(folder / "in", rows, weights=weights, shards=shards, shuffle_seed=seed)
        args = ("--k=7", "--weight=weight", f"--precision={precision}", "--max_iterations=3")
        answers.append(fit(folder / "in", folder / "out", *args))
    first = answers[0]
    for other in answers[1:]:
        assert other.centres.tobytes() == first.centres.tobytes()
        assert other.costs.tobytes() == first.costs.tobytes()


def test_a_start_where_every_row_lacks_something(fit, tmp_path):
    random = np.random.default_rng(6)
    truth = np.arange(300) % 3
    rows = np.array([[0.0], [30.0], [60.0]])[truth] + random.normal(size=(300, 40))
    rows[np.arange(300), random.integers(0, 40, 300)] = np.nan
    write_shards(tmp_path / "in", rows, shards=2)
    answer = fit(tmp_path / "in", tmp_path / "out", "--k=3", "--on_bad_row=impute")
    groups = [set(answer.labels[truth == j].tolist()) for j in range(3)]
    assert sorted(map(len, groups)) == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    complete = reference.impute(rows, np.ones(300))
    means = np.array([complete[truth == j].mean(0) for j in range(3)])
    order = [int(next(iter(group))) for group in groups]
    np.testing.assert_allclose(answer.centres[order], means, rtol=1e-6)


def test_a_column_without_a_value_has_no_mean(run, tmp_path):
    table = pa.table({"a": [1.0, 2.0, 5.0], "empty": pa.array([None] * 3, pa.float64())})
    pq.write_table(table, tmp_path / "in.parquet")
    places = (f"--input={tmp_path / 'in.parquet'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", "--on_bad_row=impute")
    assert ran.code == 3, ran.stderr
    assert "column 'empty' has no value to take a mean of" in ran.stderr


def test_a_column_whose_values_weigh_nothing_has_no_mean(run, tmp_path):
    table = {"a": [1.0, 2.0, 5.0], "light": [None, 3.0, None], "w": [1.0, 0.0, 2.0]}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    places = (f"--input={tmp_path / 'in.parquet'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", "--on_bad_row=impute", "--weight=w")
    assert ran.code == 3, ran.stderr
    assert "column 'light' has no value with a weight above 0 to take a mean of" in ran.stderr


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("size", "kind"), [(1.0, "float"), (1e40, "double"), (1e-40, "double"), (1e-110, "double")]
)
def test_distances_of_any_size_are_there(fit, tmp_path, size, kind):
    random = np.random.default_rng(7)
    rows = np.repeat([[0.0, 30.0], [50.0, 0.0]], 100, axis=0) + random.normal(size=(200, 2))
    rows *= size
    write_shards(tmp_path / "in", rows)
    answer = fit(tmp_path / "in", tmp_path / "out", "--k=2")
    assert str(answer.table.schema.field("distance").type) == kind
    units = reference.distances(rows / size, answer.centres / size, "sqeuclidean").min(1)
    np.testing.assert_allclose(answer.distances / size, np.sqrt(units), rtol=1e-6)


def test_a_distance_that_the_column_cannot_hold_is_refused(fit, run, tmp_path):
    write_shards(tmp_path / "in", np.arange(20.0)[:, None])
    fit(tmp_path / "in", tmp_path / "out", "--k=2")
    write_shards(tmp_path / "far", np.array([[1.0], [1e60]]))
    places = (f"--input={tmp_path / 'far'}", f"--output={tmp_path / 'labels'}")
    ran = run("label", *places, f"--model={tmp_path / 'out'}")
    assert ran.code == 3
    assert "row 1 is too far from every prototype" in ran.stderr


def label_only(fit, folder, prototypes, rows):
    """Rows (n,) labelled by prototypes (k,)."""
    write_shards(folder / "in", np.array(rows)[:, None])
    np.save(folder / "start.npy", np.array(prototypes)[:, None])
    args = (f"--init={folder / 'start.npy'}", "--max_iterations=0")
    return fit(folder / "in", folder / "out", *args)


@pytest.mark.parametrize(
    ("prototypes", "rows"),
    [
        ([0.0, 1.0], [1e-60, 2e-300, 0.0, 1.0, 0.75]),  # nearer to 0 than float32 tells
        ([0.0, 1e-200, 1.0], [1e-200, 0.9e-200, 0.1e-200, 1.0, 0.0]),  # as squares are
        ([2.0, 1.0], [1.25, 1.0, 1e45]),  # the scan knows of the far row
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_distances_that_float32_lacks_are_told(fit, tmp_path, prototypes, rows):
    answer = label_only(fit, tmp_path, prototypes, rows)
    away = [[abs(Fraction(x) - Fraction(w)) for w in prototypes] for x in rows]
    assert answer.labels.tolist() == [one.index(min(one)) for one in away]
    nearest = [float(min(one)) for one in away]
    np.testing.assert_allclose(answer.distances, nearest, rtol=1e-15)


def test_a_far_row_that_weighs_little_is_told(fit, tmp_path):
    """Its cluster's mean is no larger than others', its distance is."""
    rows, weights = np.r_[np.arange(500.0) % 7, 1e45], np.r_[np.ones(500), 1e-25]
    write_shards(tmp_path / "in", rows[:, None], weights=weights)
    args = ("--features=f0", "--weight=weight", "--k=1")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert answer.distances[-1] == pytest.approx(1e45)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (1e39, "too far from every prototype for its distance to be a number"),
        ([3.0, 1e-60], "too near to its prototype for its distance to be a float32 number"),
    ],
)
def test_a_row_to_label_whose_distance_float32_lacks_is_refused(fit, run, tmp_path, row, reason):
    write_shards(tmp_path / "in", np.array([[3.0, 0.0], [0.0, 4.0]]))
    fit(tmp_path / "in", tmp_path / "out", "--k=2", "--max_iterations=0")
    write_shards(tmp_path / "new", np.array([[3.0, 0.5], np.broadcast_to(row, 2)]))
    places = (f"--input={tmp_path / 'new'}", f"--output={tmp_path / 'labels'}")
    ran = run("label", *places, f"--model={tmp_path / 'out'}")
    assert ran.code == 3, ran.stderr
    (path,) = (tmp_path / "new").iterdir()
    assert f"{path}: row 1 is {reason}: rescale the columns" in ran.stderr


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("row", "weight"), [(5e153, 1.0), (1e200, 1.0), (1e29, 1e300)])
def test_a_cost_that_cannot_be_added_is_refused(fit, run, tmp_path, row, weight):
    write_shards(tmp_path / "in", np.array([[1e29], [4e30]]))
    fit(tmp_path / "in", tmp_path / "out", "--k=2", "--max_iterations=0")
    write_shards(tmp_path / "new", np.array([[1e29], [row]]), weights=[1.0, weight])
    places = (f"--input={tmp_path / 'new'}", f"--output={tmp_path / 'labels'}", "--weight=weight")
    ran = run("label", *places, f"--model={tmp_path / 'out'}")
    assert ran.code == 3, ran.stderr
    assert "row 1 is too far from every prototype, or too heavy, for its cost" in ran.stderr


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("far", "weight"), [(1e120, 2e58), (3e119, 1e60)])
def test_weighted_costs_too_large_to_add_are_refused_before_training(run, tmp_path, far, weight):
    rows = np.array([[0.0, 1.0], [far, 2.0], [far / 2, 3.0]])
    write_shards(tmp_path / "in", rows, weights=[weight, weight, weight / 3])
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--features=f0,f1")
    ran = run("fit", *places, "--k=2", "--weight=weight")
    assert ran.code == 3, ran.stderr
    assert f"--weight weight: weights up to {weight:g} of rows" in ran.stderr
    assert "divide all weights by one number" in ran.stderr
    assert "seed:" not in ran.stderr
    scaled = run("fit", *places, "--k=2", "--weight=weight", "--scale=standard")
    assert scaled.code == 0, scaled.stderr


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("scale", ["none", "standard"])
def test_magnitudes_that_cannot_be_squared_are_named(run, tmp_path, scale):
    write_shards(tmp_path / "in", np.array([[1.0, 2.0], [3.0, 1e170], [4.0, 5.0]]))
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", f"--scale={scale}")
    assert ran.code == 3
    assert "column 'f1' holds values from 2 to 1e+170" in ran.stderr


@pytest.mark.parametrize("weight", [1e80, 1e-80])
def test_weights_that_cannot_be_added_exactly_are_named(run, tmp_path, weight):
    write_shards(tmp_path / "in", np.arange(6.0)[:, None], weights=np.array([1.0] * 5 + [weight]))
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--features=f0")
    ran = run("fit", *places, "--k=2", "--weight=weight")
    assert ran.code == 3
    assert "--weight weight: weights up to" in ran.stderr


def test_a_light_cluster_beside_a_heavy_row_is_none_that_is_empty(fit, tmp_path):
    random = np.random.default_rng(8)
    rows = np.repeat([0.0, 40.0, 900.0], 50) + random.normal(size=150)
    weights = np.repeat([1e-7, 1.0, 3e-4], 50) * random.uniform(1, 2, 150)
    weights[60] = 1e8
    write_shards(tmp_path / "in", rows[:, None], weights=weights, shards=3)
    np.save(tmp_path / "start.npy", np.array([[5.0], [45.0], [905.0]]))
    args = ("--features=f0", f"--init={tmp_path / 'start.npy'}", "--weight=weight", "--tolerance=0")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    truth = np.repeat([0, 1, 2], 50)
    means = [np.average(rows[truth == j], weights=weights[truth == j]) for j in range(3)]
    np.testing.assert_allclose(np.sort(answer.centres[:, 0]), means, rtol=1e-11)
    assert answer.run.result.relocated == 0
