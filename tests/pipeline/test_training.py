"""What the job finds, held to the brute-force reference and to scikit-learn."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn import cluster, datasets

import kmeans_tf
from kmeans_tf import TrainingOptions
from pipeline.output.run_record import Result
from tests import reference
from tests.pipeline.answer import Answer
from tests.tables import blobs, write_shards

FEATURES = "--features=f0,f1"
# Points are float32 where the reference has float64.
ROUNDED = {"rtol": 1e-6, "atol": 1e-6}


def assert_as_reference(answer, expected, **tolerance):
    centres = expected.prototypes
    if answer.run.configuration["metric"] == "cosine":  # only directions count
        centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_allclose(answer.costs, expected.history, rtol=1e-6)
    np.testing.assert_allclose(answer.centres, centres, **tolerance or ROUNDED)
    np.testing.assert_array_equal(answer.labels, expected.labels)
    assert answer.run.result.cost == pytest.approx(expected.cost, rel=1e-6)
    assert answer.run.result.iterations == expected.iterations
    status = "converged" if expected.converged else "max_iterations"
    assert answer.run.result.status == status


# Optimizers and metrics


# One case for every way that the code takes; tests/kmeans_tf/test_update.py has the others.
@pytest.mark.parametrize(
    ("metric", "optimizer", "reduction", "rate"),
    [
        ("sqeuclidean", "lloyd", "sum", None),
        ("sqeuclidean", "sgd", "mean", 0.3),
        ("l1", "adam", "sum", 0.2),
        ("cosine", "lloyd", "sum", None),
    ],
)
def test_it_trains_as_the_reference_does(fit, tmp_path, metric, optimizer, reduction, rate):
    points, truth = blobs(300, 3, 3, seed=5, offset=8.0)
    start = np.array([points[truth == label][0] for label in range(3)], np.float64)
    write_shards(tmp_path / "in", points, shards=2)
    np.save(tmp_path / "start.npy", start)
    args = [f"--metric={metric}", f"--optimizer={optimizer}", f"--reduction={reduction}"]
    args += [f"--learning_rate={rate}"] if rate else []
    init = f"--init={tmp_path / 'start.npy'}"
    answer = fit(tmp_path / "in", tmp_path / "out", init, *args, "--max_iterations=4")
    expected = reference.fit(
        points,
        start,
        metric=metric,
        optimizer=optimizer,
        learning_rate=rate,
        reduction=reduction,
        max_iterations=4,
    )
    assert_as_reference(answer, expected)
    nearest = reference.distances(points, answer.centres, metric).min(1)
    nearest = np.sqrt(nearest) if metric == "sqeuclidean" else nearest
    np.testing.assert_allclose(answer.distances, nearest, rtol=1e-4, atol=1e-6)


def test_the_answer_keeps_to_the_metric_when_it_labels_again(fit, run, tmp_path):
    points, _ = blobs(300, 3, 3, seed=5, offset=8.0)
    write_shards(tmp_path / "in", points)
    args = ("--metric=tests.user_metrics:pseudo_huber", "--optimizer=adam")
    args += ("--learning_rate=0.2", "--k=3", "--max_iterations=1")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    named = (f"--model={answer.folder}", args[0])
    again = fit(tmp_path / "in", tmp_path / "again", *named, command="label")
    assert again.table.equals(answer.table)
    saved = tf.saved_model.load(str(answer.folder / "model"))
    served = saved.label(points.astype(np.float64))
    np.testing.assert_array_equal(served["label"], answer.labels)


def test_weights(fit, three_blobs, tmp_path):
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.1, 3.0, 600) * rng.integers(0, 2, 600)
    write_shards(tmp_path / "in", three_blobs.points, shards=2, weights=weights)
    args = ("--weight=weight", f"--init={three_blobs.start_file}", "--max_iterations=3")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    expected = reference.fit(
        three_blobs.points, three_blobs.start, weights=weights, max_iterations=3
    )
    assert_as_reference(answer, expected)
    by_label = np.bincount(expected.labels, weights, 3)
    np.testing.assert_allclose(answer.prototypes["weight"], by_label, rtol=1e-8)
    assert answer.run.counts.weight == pytest.approx(weights.sum(), rel=1e-12)


def test_standard_scaling(fit, tmp_path):
    points, truth = blobs(300, 3, 3, seed=2)
    points = points * np.float32([1.0, 1000.0, 0.0]) + np.float32([0.0, 5e4, 7.0])
    weights = np.random.default_rng(3).uniform(0.5, 2.0, 300)
    write_shards(tmp_path / "in", points, shards=2, weights=weights)
    scaled, mean, deviation = reference.standardize(points, weights)
    start = np.array([scaled[truth == label][0] for label in range(3)])
    np.save(tmp_path / "start.npy", start * deviation + mean)
    args = ("--scale=standard", "--weight=weight", f"--init={tmp_path / 'start.npy'}")
    answer = fit(tmp_path / "in", tmp_path / "out", *args, "--max_iterations=3")
    expected = reference.fit(scaled, start, weights=weights, max_iterations=3)
    np.testing.assert_allclose(answer.costs, expected.history, rtol=1e-6)
    np.testing.assert_allclose(
        answer.centres, expected.prototypes * deviation + mean, rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(answer.labels, expected.labels)
    saved = tf.saved_model.load(str(answer.folder / "model"))
    served = saved.label(points.astype(np.float64))
    np.testing.assert_array_equal(served["label"], answer.labels)


# Starts


def test_the_start_is_that_of_the_same_seed_in_memory(fit, tmp_path):
    points = np.random.default_rng(0).uniform(size=(500, 2))
    write_shards(tmp_path / "in", points)
    starts = set()
    for init, seed in [("k-means++", 4), ("k-means++", 5), ("random", 4)]:
        args = (f"--init={init}", f"--seed={seed}", "--k=5", "--max_iterations=0")
        answer = fit(tmp_path / "in", tmp_path / f"{init} {seed}", *args)
        options = TrainingOptions(max_iterations=0)
        model, _ = kmeans_tf.fit(points, 5, init=init, seed=seed, options=options)
        assert answer.centres.tobytes() == model.prototypes.tobytes()
        distances = reference.distances(points, answer.centres, "sqeuclidean")
        assert distances.min(0).max() < 1e-12, "the start is five of the rows"
        assert answer.run.result.status == "given"
        starts.add(answer.centres.tobytes())
    assert len(starts) == 3


def test_k_means_plus_plus_finds_blobs(fit, tmp_path):
    points, truth = blobs(800, 2, 8, seed=4)
    write_shards(tmp_path / "in", points)
    answer = fit(tmp_path / "in", tmp_path / "out", "--max_iterations=1")
    assert answer.run.result.k == 8, "the default"
    pairs = set(zip(answer.labels.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == 8


def test_a_start_from_an_earlier_output_keeps_the_label_numbers(fit, three_blobs, tmp_path):
    order = [2, 0, 1]
    named = {"label": [30, 10, 20]}
    for j in range(2):
        named[f"f{j}"] = three_blobs.start[order, j]
    pq.write_table(pa.table(named), tmp_path / "start.parquet")
    args = (FEATURES, "--max_iterations=1")
    first = fit(
        three_blobs.folder, tmp_path / "first", f"--init={tmp_path / 'start.parquet'}", *args
    )
    numbers = np.array([10, 20, 30])
    np.testing.assert_array_equal(first.labels, numbers[three_blobs.truth])
    second = fit(three_blobs.folder, tmp_path / "2", f"--init={tmp_path / 'first'}", *args)
    assert second.prototypes["label"].to_pylist() == [30, 10, 20]
    np.testing.assert_array_equal(second.labels, first.labels)

    filled = fit(three_blobs.folder, tmp_path / "3", f"--init={tmp_path / 'first'}", "--k=5", *args)
    assert filled.prototypes["label"].to_pylist() == [30, 10, 20, 31, 32]
    assert min(filled.prototypes["rows"].to_pylist()) > 0
    kept = np.isin(filled.labels, numbers)
    np.testing.assert_array_equal(filled.labels[kept], first.labels[kept])


def test_no_iteration_labels_with_the_prototypes_given(fit, three_blobs, tmp_path):
    init = f"--init={three_blobs.start_file}"
    answer = fit(three_blobs.folder, tmp_path / "out", FEATURES, init, "--max_iterations=0")
    np.testing.assert_allclose(answer.centres, three_blobs.start, rtol=1e-15)
    np.testing.assert_array_equal(answer.labels, three_blobs.truth)
    assert answer.history.num_rows == 0
    cost = reference.cost(three_blobs.points, three_blobs.start)
    variance = len(three_blobs.points) * three_blobs.points.astype(np.float64).var(0).sum()
    assert answer.run.result == Result(
        k=3,
        iterations=0,
        status="given",
        cost=pytest.approx(cost, rel=1e-6),
        relocated=0,
        precision="single",
        explained=pytest.approx(1 - cost / variance, rel=1e-6),
        cost_unit="squared distance in the units of the input",
    )


# Endings


def test_tolerance_stops_where_the_reference_does(fit, tmp_path):
    points = np.random.default_rng(0).uniform(size=(500, 2)).astype(np.float32)
    write_shards(tmp_path / "in", points)
    np.save(tmp_path / "start.npy", points[:4].astype(np.float64))
    init = f"--init={tmp_path / 'start.npy'}"
    args = ("--tolerance=0.05", "--iterations_per_job=5")
    answer = fit(tmp_path / "in", tmp_path / "out", init, *args)
    expected = reference.fit(points, points[:4], tolerance=0.05)
    assert 1 < expected.iterations < 10
    assert_as_reference(answer, expected)


def test_an_empty_cluster_takes_the_farthest_row_and_the_history_says_so(fit, tmp_path):
    points, _ = blobs(400, 2, 4, seed=6)
    write_shards(tmp_path / "in", points)
    start = np.array([points[0], points[1], [900.0, 900.0], [-900.0, 900.0]], np.float64)
    np.save(tmp_path / "start.npy", start)
    args = (f"--init={tmp_path / 'start.npy'}", "--max_iterations=3")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    relocated = answer.history["relocated"].to_pylist()
    assert relocated[0] == 2
    assert answer.run.result.relocated == sum(relocated)
    assert min(answer.prototypes["rows"].to_pylist()) > 0


# Against others


def test_from_equal_starts_scikit_learn_ends_at_the_same_labels(fit, tmp_path):
    points = datasets.load_wine().data
    start = points[np.random.default_rng(1).choice(len(points), 4, replace=False)]
    write_shards(tmp_path / "in", points, shards=2, layout="list", names=["v"])
    np.save(tmp_path / "start.npy", start)
    args = ("--features=v", f"--init={tmp_path / 'start.npy'}", "--tolerance=0")
    answer = fit(tmp_path / "in", tmp_path / "out", *args, "--iterations_per_job=6")
    assert answer.run.result.iterations > 6, "more than one round"
    theirs = cluster.KMeans(4, init=start, n_init=1, algorithm="lloyd", tol=0).fit(points)
    np.testing.assert_array_equal(answer.labels, theirs.labels_)
    assert answer.run.result.cost == pytest.approx(theirs.inertia_, rel=1e-6)
    assert answer.run.result.status == "converged"


def test_a_sample_that_is_too_small_for_k_is_told(run, three_blobs, tmp_path, monkeypatch):
    """All its rows are prototypes: training them on it would change nothing."""
    monkeypatch.setattr("pipeline.driver.fit.sample_capacity", lambda d, k: k)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", "--k=7")
    assert ran.code == 0, ran.stderr
    assert "start: 7 random rows, untrained: the sample holds only 7" in ran.stderr
    assert Answer(tmp_path / "out").run.result.start is None
