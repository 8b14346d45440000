import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

import kmeans_tf
from kmeans_tf import TrainingOptions, TrainingState, Trial
from kmeans_tf.state import CONVERGED, DIVERGED, MAX_ITERATIONS, RUNNING
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.update import update
from tests import reference
from tests.kmeans_tf.build import chunks_of, fractions, layout_of, train
from tests.tables import blobs

N, K, D = 500, 5, 3


def rows_of(seed=0):
    """Blobs on a lattice of 1/64: points hold them without rounding."""
    return np.rint(blobs(N, D, K, seed)[0].astype(np.float64) * 64) / 64


def weights_of(kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "whole":
        return rng.integers(0, 9, N).astype(float)
    return rng.random(N) * 3 if kind == "fractional" else None


OPTIMIZERS = {
    "lloyd": {"optimizer": "lloyd"},
    "sgd sum": {"optimizer": "sgd", "learning_rate": 0.002},
    "sgd mean": {"optimizer": "sgd", "learning_rate": 0.9, "reduction": "mean"},
    "adam": {"optimizer": "adam", "learning_rate": 0.3},
    "adam mean": {"optimizer": "adam", "learning_rate": 0.3, "reduction": "mean"},
}


def both(rows, start, weights=None, metric="sqeuclidean", **options):
    """The product's state and layout, and the reference's result."""
    layout = layout_of(rows, weights, metric)
    settings = TrainingOptions(metric, **options)
    sample = layout.encoding.encode(rows).astype(np.float64)
    chunks = chunks_of(layout, rows, weights, 99)
    state = train(layout, settings, [layout.encoding.encode_prototypes(start)], chunks, sample)
    rate = options.pop("learning_rate", None)
    expected = reference.fit(
        rows, start, weights=weights, metric=metric, learning_rate=rate, **options
    )
    return state.trials[0], layout, expected


@pytest.mark.parametrize("weights", ["none", "whole", "fractional"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_iteration_is_the_references(name, weights):
    rows = rows_of()
    start = rows[[0, 1, 2, 3, 4]] + 0.3
    for iterations in (1, 2, 3, 10):
        options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": iterations}
        trial, layout, expected = both(rows, start, weights_of(weights), **options)
        tight = 1e-7 if weights == "fractional" else 1e-11
        np.testing.assert_allclose(trial.costs, expected.history, rtol=tight)
        prototypes = layout.encoding.decode(trial.prototypes)
        np.testing.assert_allclose(prototypes, expected.prototypes, rtol=tight, atol=tight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_cosine_iteration_is_the_references(name):
    rows = rows_of(1) + 5
    start = rows[:K] + 0.3
    options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": 8}
    trial, layout, expected = both(rows, start, weights_of("whole"), "cosine", **options)
    np.testing.assert_allclose(trial.costs, expected.history, rtol=1e-5)
    prototypes = layout.encoding.decode(trial.prototypes)
    np.testing.assert_allclose(prototypes, expected.prototypes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd sum", "sgd mean", "adam", "adam mean"])
def test_every_l1_iteration_is_the_references(name):
    rows = rows_of(2)
    start = rows[:K] + 1 / 7
    options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": 8}
    trial, layout, expected = both(rows, start, weights_of("whole"), "l1", **options)
    np.testing.assert_allclose(trial.costs, expected.history, rtol=1e-9)
    prototypes = layout.encoding.decode(trial.prototypes)
    np.testing.assert_allclose(prototypes, expected.prototypes, rtol=1e-9, atol=1e-9)


def pseudo_huber(points, prototypes):
    return np.sum(np.sqrt(1.0 + (points - prototypes) ** 2) - 1.0, axis=1)


@pytest.mark.parametrize(
    ("metric", "optimizer", "reduction", "rate"),
    [
        ("sqeuclidean", "lloyd", "sum", None),
        ("sqeuclidean", "sgd", "sum", 0.001),
        ("sqeuclidean", "sgd", "mean", 0.3),
        ("sqeuclidean", "adam", "sum", 0.2),
        ("sqeuclidean", "adam", "mean", 0.2),
        ("cosine", "lloyd", "sum", None),
        ("cosine", "sgd", "sum", 0.02),
        ("l1", "adam", "sum", 0.2),
        ("l1", "sgd", "sum", 0.001),
        ("tests.user_metrics:pseudo_huber", "adam", "sum", 0.2),
    ],
)
def test_a_whole_training_is_the_references(metric, optimizer, reduction, rate):
    points, truth = blobs(300, D, 3, seed=5, offset=8.0)
    start = np.array([points[truth == label][0] for label in range(3)], np.float64)
    options = {"optimizer": optimizer, "reduction": reduction, "max_iterations": 4}
    model, state = kmeans_tf.fit(
        points, 3, init=start, options=TrainingOptions(metric, learning_rate=rate or 0.0, **options)
    )
    same = pseudo_huber if ":" in metric else metric
    expected = reference.fit(points, start, metric=same, learning_rate=rate, **options)
    (trial,) = state.trials
    assert trial.iterations == expected.iterations
    assert trial.status == (CONVERGED if expected.converged else MAX_ITERATIONS)
    np.testing.assert_allclose(trial.costs, expected.history, rtol=1e-6)
    centres = expected.prototypes
    if metric == "cosine":  # only directions count
        centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    tight = {"rtol": 1e-6, "atol": 1e-6}
    loose = {"rtol": 1e-4}  # the reference differentiates by steps
    tolerance = loose if callable(same) else tight
    np.testing.assert_allclose(model.prototypes, centres, **tolerance)
    labels, distances = model.label(points)
    np.testing.assert_array_equal(labels, expected.labels)
    nearest = reference.distances(points, model.prototypes, same).min(1)
    costs = distances**2 if metric == "sqeuclidean" else distances
    np.testing.assert_allclose(costs, nearest, rtol=1e-6, atol=1e-9)
    assert costs.sum() == pytest.approx(expected.cost, rel=1e-6)


@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-4, 1e-8, 0])
@pytest.mark.parametrize("name", ["lloyd", "sgd mean"])
def test_it_stops_when_the_reference_does(name, tolerance):
    rows = blobs(N, D, 3, 5)[0] * 0.2  # overlapping: many iterations
    rows = np.rint(rows.astype(np.float64) * 64) / 64
    options = OPTIMIZERS[name] | {"tolerance": tolerance, "max_iterations": 60}
    trial, _, expected = both(rows, rows[:K] + 1 / 7, **options)
    assert trial.iterations == expected.iterations
    assert trial.status == (CONVERGED if expected.converged else MAX_ITERATIONS)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_it_stops_at_max_iterations(iterations):
    rows = rows_of()
    options = {"optimizer": "adam", "learning_rate": 1e-3, "tolerance": 0}
    trial, _, _ = both(rows, rows[:K], **options, max_iterations=iterations)
    assert trial.status == MAX_ITERATIONS
    assert trial.iterations == iterations


def test_tolerance_zero_means_the_same_bits():
    rows = rows_of()
    trial, _, _ = both(rows, rows[:K], tolerance=0)
    assert trial.status == CONVERGED
    layout = layout_of(rows)
    again = train(layout, TrainingOptions(tolerance=0), [trial.prototypes], chunks_of(layout, rows))
    assert again.trials[0].prototypes.tobytes() == trial.prototypes.tobytes()
    assert again.trials[0].iterations == 1


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_prototypes_that_run_away_are_seen(k):
    rows = rows_of()
    options = TrainingOptions(optimizer="sgd", learning_rate=1.0, tolerance=0, max_iterations=2000)
    layout = layout_of(rows)
    state = train(
        layout, options, [layout.encoding.encode_prototypes(rows[:k])], chunks_of(layout, rows)
    )
    assert state.trials[0].status == DIVERGED
    assert state.trials[0].costs[-1] == np.inf
    assert np.isfinite(state.trials[0].costs[:-1]).all()


def advance(layout, options, start, rows, weights=None, sample=None):
    """One iteration from (k, d) prototypes in the layout."""
    state = TrainingState((Trial.start(start),))
    stats = (step(layout, options.metric, state, c) for c in chunks_of(layout, rows, weights, 100))
    return update(layout, options, state, sum(stats, IterationStats.zero()), lambda: sample)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("empty", [[3], [0, 4], [1, 2, 3]], ids=str)
def test_an_empty_cluster_takes_the_farthest_row(metric, empty):
    rows = rows_of() + 40.0
    layout = layout_of(rows, metric=metric)
    sample = layout.encoding.encode(rows).astype(np.float64)
    start = sample[:K].copy()
    away = -sample.mean(0) - 10 if metric == "cosine" else np.full(D, 1e3)
    start[empty] = away
    after = advance(layout, TrainingOptions(metric), start, rows, sample=sample).trials[0]
    assert after.relocated == (len(empty),)

    # By brute force: the means of the others, then one farthest row after the other.
    labels = reference.labels(sample, start, metric)
    assert not np.isin(empty, labels).any()  # the premise
    means = reference.lloyd_step(sample, start, metric=metric)
    kept = [means[k] for k in range(K) if k not in empty]
    for place in empty:
        nearest = reference.distances(sample, np.array(kept), metric).min(1)
        kept.append(sample[nearest.argmax()])
        np.testing.assert_allclose(after.prototypes[place], kept[-1], rtol=1e-12)
    others = [k for k in range(K) if k not in empty]
    np.testing.assert_allclose(after.prototypes[others], means[others], rtol=1e-6)


def test_a_relocation_is_no_convergence():
    rows = np.array([[0.0], [0.0], [1.0], [5.0]])
    layout = layout_of(rows)
    sample = layout.encoding.encode(rows).astype(np.float64)
    start = layout.encoding.encode_prototypes(np.array([[0.0], [1e6]]))
    options = TrainingOptions(tolerance=1.0)
    (chunk,) = chunks_of(layout, rows)
    # As if the iteration before had had nearly this cost.
    trial = dataclasses.replace(Trial.start(start), costs=(26.5,), relocated=(0,))
    state = TrainingState((trial,), 1)
    stats = step(layout, "sqeuclidean", state, chunk)
    moved = update(layout, options, state, stats, lambda: sample).trials[0]
    assert moved.costs == (26.5, 26.0)
    assert moved.relocated == (0, 1)
    assert moved.status == RUNNING

    end = train(layout, TrainingOptions(tolerance=0), [start], [chunk], sample).trials[0]
    ends = sorted(layout.encoding.decode(end.prototypes)[:, 0])
    np.testing.assert_allclose(ends, [1 / 3, 5.0])


@pytest.mark.parametrize("seed", range(3))
def test_a_mean_under_weights_of_15_orders_is_the_exact_one(seed):
    rows = rows_of(seed)
    rng = np.random.default_rng(seed)
    weights = 10.0 ** rng.uniform(-9, 6, N)
    layout = layout_of(rows, weights)
    start = layout.encoding.encode_prototypes(rows[:K] + 1 / 7)
    trial = advance(layout, TrainingOptions(), start, rows, weights).trials[0]
    labels = reference.labels(layout.encoding.encode(rows), start, "sqeuclidean")
    points, exactly = fractions(layout.encoding.encode(rows)), fractions(weights)
    for k in range(K):
        mine = labels == k
        mean = (points[mine] * exactly[mine][:, None]).sum(0) / exactly[mine].sum()
        np.testing.assert_allclose(trial.prototypes[k], mean.astype(np.float64), rtol=1e-12)
    assert trial.relocated == (0,)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_light_rows_beside_a_heavy_one_are_a_cluster(metric):
    """Their weights are 15 orders of magnitude below: the cluster is neither empty nor blurred."""
    rows = np.array([[3.0, 1.0], [-2.0, 8.0], [-2.25, 8.5], [-3.0, 8.75]])
    weights = np.array([1e6, 1e-9, 3e-9, 0.7e-9])
    layout = layout_of(rows, weights, metric)
    points = layout.encoding.encode(rows).astype(np.float64)
    trial = advance(layout, TrainingOptions(metric), points[:2], rows, weights).trials[0]
    assert trial.relocated == (0,)
    exactly = fractions(weights)
    sums = (fractions(points[1:]) * exactly[1:, None]).sum(0)
    expected = (sums / exactly[1:].sum()).astype(np.float64)
    if metric == "cosine":
        expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(trial.prototypes[1], expected, rtol=1e-12)
    np.testing.assert_allclose(trial.prototypes[0], points[0], rtol=1e-7)
    # ... and 12 orders below the least of them they are still there.
    weights[1:] *= 1e-12
    layout = layout_of(rows, weights, metric)
    again = advance(layout, TrainingOptions(metric), points[:2], rows, weights).trials[0]
    np.testing.assert_allclose(again.prototypes[1], expected, rtol=1e-12)


def test_ties_of_the_farthest_go_to_the_first_of_the_sample():
    rows = np.array([[0.0, 0], [3, 0], [-3, 0], [0, 3], [0, -3]])
    layout = layout_of(rows)
    start = layout.encoding.encode_prototypes(np.array([[0.0, 0], [50, 50]]))
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        sample = layout.encoding.encode(rows[order]).astype(np.float64)
        after = advance(layout, TrainingOptions(), start, rows, sample=sample).trials[0]
        first = next(i for i in order if i != 0)
        assert np.array_equal(layout.encoding.decode(after.prototypes)[1], rows[first])


def test_no_more_rows_than_there_are_stand_in_for_empty_clusters():
    rows = np.array([[0.0], [0.0], [4.0]])
    layout = layout_of(rows)
    sample = layout.encoding.encode(rows).astype(np.float64)
    start = layout.encoding.encode_prototypes(np.array([[0.0], [90.0], [91.0], [92.0]]))
    options = TrainingOptions(tolerance=0)
    trial = train(layout, options, [start], chunks_of(layout, rows), sample).trials[0]
    assert trial.relocated[0] == 2  # 4.0 and 0.0 are left; the mean was between them
    assert trial.status in (CONVERGED, MAX_ITERATIONS)


def test_the_sample_is_asked_for_only_when_needed():
    rows = rows_of()
    layout = layout_of(rows)
    start = layout.encoding.encode_prototypes(rows[:K])
    state = TrainingState((Trial.start(start),))
    stats = step(layout, "sqeuclidean", state, chunks_of(layout, rows)[0])
    update(layout, TrainingOptions(), state, stats, lambda: pytest.fail("asked for the sample"))


@pytest.mark.parametrize("name", ["lloyd", "adam"])
def test_trials_do_not_know_of_each_other(name):
    rows = rows_of()
    layout = layout_of(rows)
    options = TrainingOptions(**OPTIMIZERS[name], tolerance=1e-6, max_iterations=30)
    starts = [
        layout.encoding.encode_prototypes(rows[:3]),
        layout.encoding.encode_prototypes(rows[7:14]),
    ]
    sample = layout.encoding.encode(rows).astype(np.float64)
    chunks = chunks_of(layout, rows, None, 99)
    together = train(layout, options, starts, chunks, sample)
    lengths = set()
    for start, trial in zip(starts, together.trials, strict=True):
        (alone,) = train(layout, options, [start], chunks, sample).trials
        assert alone.prototypes.tobytes() == trial.prototypes.tobytes()
        assert (alone.costs, alone.status) == (trial.costs, trial.status)
        lengths.add(trial.iterations)
    assert together.iteration == max(lengths)


def test_a_trial_that_is_done_is_passed_on():
    rows = rows_of()
    layout = layout_of(rows)
    (chunk,) = chunks_of(layout, rows)
    done = dataclasses.replace(
        Trial.start(layout.encoding.encode_prototypes(rows[:3])), status=CONVERGED
    )
    state = TrainingState((done, Trial.start(layout.encoding.encode_prototypes(rows[:4]))))
    after = update(
        layout, TrainingOptions(), state, step(layout, "sqeuclidean", state, chunk), None
    )
    assert after.trials[0] is done
    assert after.trials[1].iterations == after.iteration == 1


@pytest.mark.parametrize("kind", ["none", "whole", "fractional"])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_the_cost_is_correctly_rounded(offset, kind):
    rows = rows_of(3)[:60] + offset
    weights = weights_of(kind)
    weights = None if weights is None else weights[:60]
    layout = layout_of(rows, weights)
    start = layout.encoding.encode_prototypes(rows[:4] + 1 / 3)
    trial = advance(layout, TrainingOptions(), start, rows, weights).trials[0]
    points, prototypes = fractions(layout.encoding.encode(rows)), fractions(start)
    exactly = fractions(np.ones(60) if weights is None else weights)
    nearest = ((points[:, None] - prototypes[None]) ** 2).sum(2).min(1)
    expected = (nearest * exactly).sum() / Fraction(layout.encoding.unit) ** 2
    assert trial.costs == (float(expected),)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e12])
def test_a_cost_is_never_negative(offset):
    rows = rows_of()[:6] + offset
    repeated = np.repeat(rows, 50, axis=0)
    layout = layout_of(repeated)
    exactly = layout.encoding.encode(rows).astype(np.float64)
    options = TrainingOptions(tolerance=0)
    trial = advance(layout, options, exactly, repeated).trials[0]
    assert trial.costs == (0.0,)
    nearly = np.nextafter(exactly, 9)
    trial = advance(layout, options, nearly, repeated).trials[0]
    assert 0 < trial.costs[0] < 1e-25 / layout.encoding.unit**2


def test_a_zero_sum_of_directions_leaves_the_prototype():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    layout = layout_of(rows, metric="cosine")
    start = np.array([[0.0, 1.0], [0.0, -1.0]])
    after = advance(layout, TrainingOptions("cosine"), start, rows).trials[0]
    assert np.array_equal(after.prototypes, start)
    assert after.relocated == (0,)


def test_the_state_crosses_workers_small():
    rows = rows_of()
    layout = layout_of(rows)
    state = TrainingState((Trial.start(layout.encoding.encode_prototypes(rows[:K])),))
    (chunk,) = chunks_of(layout, rows)
    stats = step(layout, "sqeuclidean", state, chunk)
    copied = update(
        layout,
        TrainingOptions(),
        pickle.loads(pickle.dumps(state)),
        pickle.loads(pickle.dumps(stats)),
        None,
    )
    expected = update(layout, TrainingOptions(), state, stats, None)
    assert pickle.dumps(copied) == pickle.dumps(expected)
    assert len(pickle.dumps(stats)) < 3000
