import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

from kmeans_tf import TrainingOptions, TrainingState, Trial
from kmeans_tf.state import CONVERGED, DIVERGED, MAX_ITERATIONS, RUNNING
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.update import update
from tests import reference
from tests.kmeans_tf.build import chunks_of, fractions, frame_of, train
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
    """The product's state and frame, and what the reference found."""
    frame = frame_of(rows, weights, metric)
    given = TrainingOptions(metric, **options)
    sample = frame.encode(rows).astype(np.float64)
    chunks = chunks_of(frame, rows, weights, 99)
    state = train(frame, given, [frame.encode_prototypes(start)], chunks, sample)
    rate = options.pop("learning_rate", None)
    expected = reference.fit(
        rows, start, weights=weights, metric=metric, learning_rate=rate, **options
    )
    return state.trials[0], frame, expected


@pytest.mark.parametrize("weights", ["none", "whole", "fractional"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_iteration_is_the_references(name, weights):
    rows = rows_of()
    start = rows[[0, 1, 2, 3, 4]] + 0.3
    for iterations in (1, 2, 3, 10):
        options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": iterations}
        trial, frame, expected = both(rows, start, weights_of(weights), **options)
        tight = 1e-7 if weights == "fractional" else 1e-11
        np.testing.assert_allclose(trial.costs, expected.history, rtol=tight)
        found = frame.decode(trial.prototypes)
        np.testing.assert_allclose(found, expected.prototypes, rtol=tight, atol=tight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_cosine_iteration_is_the_references(name):
    rows = rows_of(1) + 5
    start = rows[:K] + 0.3
    options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": 8}
    trial, frame, expected = both(rows, start, weights_of("whole"), "cosine", **options)
    np.testing.assert_allclose(trial.costs, expected.history, rtol=1e-5)
    found = frame.decode(trial.prototypes)
    np.testing.assert_allclose(found, expected.prototypes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd sum", "sgd mean", "adam", "adam mean"])
def test_every_l1_iteration_is_the_references(name):
    rows = rows_of(2)
    start = rows[:K] + 1 / 7
    options = OPTIMIZERS[name] | {"tolerance": 0, "max_iterations": 8}
    trial, frame, expected = both(rows, start, weights_of("whole"), "l1", **options)
    np.testing.assert_allclose(trial.costs, expected.history, rtol=1e-9)
    found = frame.decode(trial.prototypes)
    np.testing.assert_allclose(found, expected.prototypes, rtol=1e-9, atol=1e-9)


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
    frame = frame_of(rows)
    again = train(frame, TrainingOptions(tolerance=0), [trial.prototypes], chunks_of(frame, rows))
    assert again.trials[0].prototypes.tobytes() == trial.prototypes.tobytes()
    assert again.trials[0].iterations == 1


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_prototypes_that_run_away_are_seen(k):
    rows = rows_of()
    options = TrainingOptions(optimizer="sgd", learning_rate=1.0, tolerance=0, max_iterations=2000)
    frame = frame_of(rows)
    state = train(frame, options, [frame.encode_prototypes(rows[:k])], chunks_of(frame, rows))
    assert state.trials[0].status == DIVERGED
    assert state.trials[0].costs[-1] == np.inf
    assert np.isfinite(state.trials[0].costs[:-1]).all()


def advance(frame, options, start, rows, weights=None, sample=None):
    """One iteration from (k, d) prototypes in the frame."""
    state = TrainingState((Trial.start(start),))
    stats = (step(frame, options.metric, state, c) for c in chunks_of(frame, rows, weights, 100))
    return update(frame, options, state, sum(stats, IterationStats.zero()), lambda: sample)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("empty", [[3], [0, 4], [1, 2, 3]], ids=str)
def test_an_empty_cluster_takes_the_farthest_row(metric, empty):
    rows = rows_of() + 40.0
    frame = frame_of(rows, metric=metric)
    sample = frame.encode(rows).astype(np.float64)
    start = sample[:K].copy()
    away = -sample.mean(0) - 10 if metric == "cosine" else np.full(D, 1e3)
    start[empty] = away
    after = advance(frame, TrainingOptions(metric), start, rows, sample=sample).trials[0]
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
    frame = frame_of(rows)
    sample = frame.encode(rows).astype(np.float64)
    start = frame.encode_prototypes(np.array([[0.0], [1e6]]))
    options = TrainingOptions(tolerance=1.0)
    (chunk,) = chunks_of(frame, rows)
    # As if the iteration before had had nearly this cost.
    trial = dataclasses.replace(Trial.start(start), costs=(26.5,), relocated=(0,))
    state = TrainingState((trial,), 1)
    stats = step(frame, "sqeuclidean", state, chunk)
    moved = update(frame, options, state, stats, lambda: sample).trials[0]
    assert moved.costs == (26.5, 26.0)
    assert moved.relocated == (0, 1)
    assert moved.status == RUNNING

    end = train(frame, TrainingOptions(tolerance=0), [start], [chunk], sample).trials[0]
    found = sorted(frame.decode(end.prototypes)[:, 0])
    np.testing.assert_allclose(found, [1 / 3, 5.0])


def test_ties_of_the_farthest_go_to_the_first_of_the_sample():
    rows = np.array([[0.0, 0], [3, 0], [-3, 0], [0, 3], [0, -3]])
    frame = frame_of(rows)
    start = frame.encode_prototypes(np.array([[0.0, 0], [50, 50]]))
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        sample = frame.encode(rows[order]).astype(np.float64)
        after = advance(frame, TrainingOptions(), start, rows, sample=sample).trials[0]
        first = next(i for i in order if i != 0)
        assert np.array_equal(frame.decode(after.prototypes)[1], rows[first])


def test_no_more_rows_than_there_are_stand_in_for_empty_clusters():
    rows = np.array([[0.0], [0.0], [4.0]])
    frame = frame_of(rows)
    sample = frame.encode(rows).astype(np.float64)
    start = frame.encode_prototypes(np.array([[0.0], [90.0], [91.0], [92.0]]))
    options = TrainingOptions(tolerance=0)
    trial = train(frame, options, [start], chunks_of(frame, rows), sample).trials[0]
    assert trial.relocated[0] == 2  # 4.0 and 0.0 are left; the mean was between them
    assert trial.status in (CONVERGED, MAX_ITERATIONS)


def test_the_sample_is_asked_for_only_when_needed():
    rows = rows_of()
    frame = frame_of(rows)
    start = frame.encode_prototypes(rows[:K])
    state = TrainingState((Trial.start(start),))
    stats = step(frame, "sqeuclidean", state, chunks_of(frame, rows)[0])
    update(frame, TrainingOptions(), state, stats, lambda: pytest.fail("asked for the sample"))


@pytest.mark.parametrize("name", ["lloyd", "adam"])
def test_trials_do_not_know_of_each_other(name):
    rows = rows_of()
    frame = frame_of(rows)
    options = TrainingOptions(**OPTIMIZERS[name], tolerance=1e-6, max_iterations=30)
    starts = [frame.encode_prototypes(rows[:3]), frame.encode_prototypes(rows[7:14])]
    sample = frame.encode(rows).astype(np.float64)
    chunks = chunks_of(frame, rows, None, 99)
    together = train(frame, options, starts, chunks, sample)
    lengths = set()
    for start, trial in zip(starts, together.trials, strict=True):
        (alone,) = train(frame, options, [start], chunks, sample).trials
        assert alone.prototypes.tobytes() == trial.prototypes.tobytes()
        assert (alone.costs, alone.status) == (trial.costs, trial.status)
        lengths.add(trial.iterations)
    assert together.iteration == max(lengths)


def test_a_trial_that_is_done_is_passed_on():
    rows = rows_of()
    frame = frame_of(rows)
    (chunk,) = chunks_of(frame, rows)
    done = dataclasses.replace(Trial.start(frame.encode_prototypes(rows[:3])), status=CONVERGED)
    state = TrainingState((done, Trial.start(frame.encode_prototypes(rows[:4]))))
    after = update(frame, TrainingOptions(), state, step(frame, "sqeuclidean", state, chunk), None)
    assert after.trials[0] is done
    assert after.trials[1].iterations == after.iteration == 1


@pytest.mark.parametrize("kind", ["none", "whole", "fractional"])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_the_cost_is_correctly_rounded(offset, kind):
    rows = rows_of(3)[:60] + offset
    weights = weights_of(kind)
    weights = None if weights is None else weights[:60]
    frame = frame_of(rows, weights)
    start = frame.encode_prototypes(rows[:4] + 1 / 3)
    trial = advance(frame, TrainingOptions(), start, rows, weights).trials[0]
    points, prototypes = fractions(frame.encode(rows)), fractions(start)
    whole = fractions(np.ones(60) if weights is None else frame.encode_weights(weights))
    nearest = ((points[:, None] - prototypes[None]) ** 2).sum(2).min(1)
    expected = (nearest * whole).sum() * Fraction(frame.weight_quantum) / Fraction(frame.unit) ** 2
    assert trial.costs == (float(expected),)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e12])
def test_a_cost_is_never_negative(offset):
    rows = rows_of()[:6] + offset
    repeated = np.repeat(rows, 50, axis=0)
    frame = frame_of(repeated)
    exactly = frame.encode(rows).astype(np.float64)
    options = TrainingOptions(tolerance=0)
    trial = advance(frame, options, exactly, repeated).trials[0]
    assert trial.costs == (0.0,)
    nearly = np.nextafter(exactly, 9)
    trial = advance(frame, options, nearly, repeated).trials[0]
    assert 0 < trial.costs[0] < 1e-25 / frame.unit**2


def test_a_zero_sum_of_directions_leaves_the_prototype():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    frame = frame_of(rows, metric="cosine")
    start = np.array([[0.0, 1.0], [0.0, -1.0]])
    after = advance(frame, TrainingOptions("cosine"), start, rows).trials[0]
    assert np.array_equal(after.prototypes, start)
    assert after.relocated == (0,)


def test_the_state_crosses_workers_small():
    rows = rows_of()
    frame = frame_of(rows)
    state = TrainingState((Trial.start(frame.encode_prototypes(rows[:K])),))
    (chunk,) = chunks_of(frame, rows)
    stats = step(frame, "sqeuclidean", state, chunk)
    copied = update(
        frame,
        TrainingOptions(),
        pickle.loads(pickle.dumps(state)),
        pickle.loads(pickle.dumps(stats)),
        None,
    )
    expected = update(frame, TrainingOptions(), state, stats, None)
    assert pickle.dumps(copied) == pickle.dumps(expected)
    assert len(pickle.dumps(stats)) < 3000
