"""A start that was trained on a sample, held against all rows."""

import dataclasses

import numpy as np
import pytest

import kmeans_tf.proof
from kmeans_tf import TrainingOptions
from kmeans_tf.proof import PROVEN
from kmeans_tf.start import StartOptions, optimism
from kmeans_tf.state import CONVERGED, MAX_ITERATIONS, MOST_TRAININGS, RUNNING
from tests import reference
from tests.kmeans_tf.build import states_of, summary_of
from tests.tables import blobs

N, RARE, FAR = 20000, 12, np.array([3000.0, -2000.0])


def table(seed=0):
    """(n, 2) rows in three blobs, and the last RARE of them far away."""
    rows = blobs(N, 2, 3, seed)[0].astype(np.float64)
    rows[-RARE:] = FAR + np.random.default_rng(seed).standard_normal((RARE, 2))
    return rows


def run(rows, k, weights=None, *, capacity=600, seed=0, size=1 << 14, precision="auto", **options):
    """The layout and all states of a training whose sample has a capacity."""
    summary = summary_of(rows, weights, seed=seed, capacity=capacity)
    start = StartOptions(k, "auto", seed, precision=precision)
    return states_of(summary, TrainingOptions(**options), start, rows, weights, size)


def misses(rows, weights=None, seed=0, capacity=600):
    """Whether no far row is in the sample."""
    summary = summary_of(rows, weights, seed=seed, capacity=capacity)
    return not (summary.sample.rows[:, 0] > 1000).any()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_the_sample_missed_is_found(seed, weighted):
    rows = table()
    weights = np.random.default_rng(seed).exponential(1.0, N) if weighted else None
    assert misses(rows, weights, seed)  # the premise
    layout, states = run(rows, 4, weights, seed=seed)
    decode = layout.encoding.decode
    start, first, second = (state.trials[0] for state in states[:3])
    assert np.abs(decode(start.prototypes) - FAR).max(1).min() > 1000

    # The first iteration finds the cost of all rows, and trains again.
    cost = reference.cost(rows, decode(start.prototypes), weights)
    assert first.costs == (first.proof.cost,) == (pytest.approx(cost, rel=1e-6),)
    assert first.proof.cost > PROVEN * start.proof.expected_cost
    assert (first.proof.trainings, first.proof.open, first.status) == (2, True, RUNNING)
    assert (first.relocated, first.iterations) == ((0,), 1)
    assert np.abs(decode(first.prototypes) - FAR).max(1).min() < 2
    cost = reference.cost(rows, decode(first.prototypes), weights)
    assert first.proof.expected_cost == pytest.approx(cost, rel=0.05)

    # The second proves that, and says nothing of convergence: its cost is of another start.
    assert second.costs[1] == second.proof.cost == pytest.approx(cost, rel=1e-6)
    assert (second.proof.trainings, second.proof.open, second.status) == (2, False, RUNNING)
    assert second.proof.expected_cost == first.proof.expected_cost
    end = states[-1].trials[0]
    assert (end.status, end.proof) == (CONVERGED, second.proof)
    rare = np.average(rows[-RARE:], 0, None if weights is None else weights[-RARE:])
    assert np.abs(decode(end.prototypes) - rare).max(1).min() < 0.001
    assert end.costs[-1] < 2.1 * (N if weights is None else weights.sum())


def test_threads_change_no_start_and_it_is_heard_of_meanwhile():
    rows, heard = table(), []
    summary, start = summary_of(rows, None, seed=0, capacity=600), StartOptions(4, "auto", 0)
    alone = states_of(summary, TrainingOptions(), start, rows)[1]
    others = states_of(
        summary, TrainingOptions(), start, rows, threads=3, got_on=lambda: heard.append(1)
    )[1]
    assert alone[-1].trials[0].proof.trainings == 2  # the premise
    for mine, theirs in zip(alone, others, strict=True):
        assert mine.trials[0].prototypes.tobytes() == theirs.trials[0].prototypes.tobytes()
    assert len(heard) > 2


def test_both_samples_stand_for_all_rows(monkeypatch):
    """Their weighted sums are the table's, whatever is added up.

    A row that the first was to have with a small chance, and has not, is that little too light.
    """
    rows, weights = table(), np.random.default_rng(0).exponential(1.0, N)
    truth = np.array([weights.sum(), weights @ (rows[:, 0] < 10), weights @ (rows[:, 0] > 1000)])
    trained_start, estimates = kmeans_tf.proof.trained_start, []

    def spied(layout, metric, sample, *rest):
        places = layout.encoding.decode(sample.points)[:, 0]
        estimates.append([sample.weights @ part for part in (places == places, places < 10)])
        estimates[-1].append(sample.weights @ (places > 1000))
        return trained_start(layout, metric, sample, *rest)

    monkeypatch.setattr(kmeans_tf.proof, "trained_start", spied)
    seeds = [seed for seed in range(20) if misses(rows, weights, seed)][:4]
    for seed in seeds:
        run(rows, 4, weights, seed=seed, max_iterations=1)
    assert len(estimates) == 4
    np.testing.assert_allclose(np.mean(estimates, 0), truth, rtol=0.03)
    chances = [summary_of(rows, weights, seed=s, capacity=600).sample.chance for s in seeds]
    missed = truth[2] / (1 + np.array(chances))
    np.testing.assert_allclose(np.array(estimates)[:, 2], missed, rtol=1e-6)


@pytest.mark.parametrize("tolerance", [1e-4, 0])
def test_ordinary_rows_are_proven_at_once(tolerance):
    rows = blobs(20000, 3, 6, 1)[0].astype(np.float64)
    _, states = run(rows, 6, capacity=2000, tolerance=tolerance)
    start, first = states[0].trials[0], states[1].trials[0]
    assert start.proof.open
    assert first.proof == dataclasses.replace(start.proof, cost=first.costs[0], open=False)
    assert first.proof.cost == pytest.approx(first.proof.expected_cost, rel=0.05)
    assert start.draw and not first.draw  # nothing is drawn any more
    assert all(state.trials[0].proof == first.proof for state in states[1:])
    assert states[-1].trials[0].status == CONVERGED
    assert len(states) <= 5  # the start needs hardly any iteration on all rows


def test_a_sample_of_all_rows_needs_no_proof():
    rows = table()[-2000:]
    _, states = run(rows, 4, capacity=2001)
    for state in states:
        assert state.trials[0].proof == states[0].trials[0].proof
        assert state.trials[0].draw is None
    assert states[-1].trials[0].status == CONVERGED


def test_it_is_trained_six_times_at_most(monkeypatch):
    """Where it never keeps what the samples say, the last of the starts stands.

    A prototype of each start has no rows; it takes another's only where the start stands.
    """
    rows, calls = blobs(N, 2, 3, 0)[0].astype(np.float64), []
    trained_start = kmeans_tf.proof.trained_start

    def too_good(layout, metric, sample, prototypes, seed, rows, *others):
        calls.append((seed, rows))
        prototypes = trained_start(layout, metric, sample, prototypes, seed, rows)[0]
        return np.concatenate([prototypes[:-1], [[50.0, 50.0]]]), 1.0

    monkeypatch.setattr(kmeans_tf.start, "trained_start", too_good)
    monkeypatch.setattr(kmeans_tf.proof, "trained_start", too_good)
    _, states = run(rows, 3, seed=10)
    trials = [state.trials[0] for state in states]
    assert MOST_TRAININGS == 6
    assert calls == [(10 + i, N) for i in range(6)]  # never a start again
    assert [t.proof.trainings for t in trials[:7]] == [1, 2, 3, 4, 5, 6, 6]
    assert [t.proof.open for t in trials[:8]] == [True] * 6 + [False] * 2
    assert {t.status for t in trials[:7]} == {RUNNING}
    assert trials[6].relocated == (0, 0, 0, 0, 0, 1)
    assert trials[-1].status == CONVERGED
    assert trials[-1].proof.cost > PROVEN * trials[-1].proof.expected_cost


@pytest.mark.parametrize("share, trainings", [(1.049, 1), (1.051, 2)])
def test_a_cost_as_expected_but_for_a_little_is_proven(monkeypatch, share, trainings):
    rows = blobs(N, 2, 3, 0)[0].astype(np.float64)
    _, states = run(rows, 3, max_iterations=1)
    (cost,) = states[1].trials[0].costs
    trained_start = kmeans_tf.start.trained_start

    def told(layout, metric, sample, *more):
        prototypes = trained_start(layout, metric, sample, *more)[0]
        return prototypes, cost / share / optimism(len(sample.weights), len(prototypes))

    monkeypatch.setattr(kmeans_tf.start, "trained_start", told)
    _, states = run(rows, 3, max_iterations=1)
    proof = states[1].trials[0].proof
    assert (proof.trainings, proof.open, proof.cost) == (trainings, trainings == 2, cost)


def test_few_rows_for_each_prototype_tell_what_others_cost():
    """Without a correction, twenty rows say a tenth too little: five passes for nothing."""
    rng, k, d = np.random.default_rng(0), 100, 20
    centres = rng.uniform(-100, 100, (k, d))
    rows = centres[rng.integers(0, k, 20_000)] + rng.normal(size=(20_000, d))
    _, states = run(rows, k, capacity=20 * k, max_iterations=2)
    proof = states[1].trials[0].proof
    assert proof.trainings == 1
    assert proof.expected_cost == pytest.approx(20_000 * d * (1 + 1 / 20), rel=0.03)
    assert proof.cost == pytest.approx(proof.expected_cost, rel=0.03)


def test_points_that_cost_nothing_are_in_no_draw():
    """Where all others are drawn, they stand for themselves in the sample alone."""
    rng = np.random.default_rng(0)
    rows = np.repeat([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]], [4000, 3000, 2000], axis=0)
    rows[4000:] += rng.standard_normal((5000, 2)).round()
    rows[-5:] = FAR + rng.standard_normal((5, 2))
    seed = next(seed for seed in range(99) if misses(rows, None, seed, capacity=40))
    layout, states = run(rows, 4, seed=seed, capacity=40)
    start, first = states[0].trials[0], states[1].trials[0]
    assert (start.prototypes == layout.encoding.encode(rows[:1])).all(1).any()  # the premise
    assert first.proof.trainings == 2
    assert 0 < first.proof.expected_cost < np.inf
    end = states[-1].trials[0]
    assert end.status == CONVERGED
    assert np.abs(layout.encoding.decode(end.prototypes) - rows[-5:].mean(0)).max(1).min() < 0.001


@pytest.mark.parametrize("most", [1, 2])
def test_the_last_iteration_is_the_last(most):
    rows = table()
    layout, states = run(rows, 4, max_iterations=most)
    end = states[-1].trials[0]
    assert (end.status, end.iterations, len(states)) == (MAX_ITERATIONS, most, most + 1)
    assert end.proof.open == (most == 1)
    # What was trained last is kept, proven or not.
    assert np.abs(layout.encoding.decode(end.prototypes) - FAR).max(1).min() < 2


def same(one, other):
    """Whether two states are so to the bit."""
    a, b = one.trials[0], other.trials[0]
    return (
        a.prototypes.tobytes() == b.prototypes.tobytes()
        and (a.costs, a.relocated, a.status, a.proof) == (b.costs, b.relocated, b.status, b.proof)
        and one.squares == other.squares
    )


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_neither_order_nor_chunks_change_a_bit(weighted, precision):
    """Rows repeat, with weights of 12 orders of magnitude that are no whole numbers."""
    rng = np.random.default_rng(0)
    rows = table()[-10000:]
    rows = np.concatenate([rows, rows[rng.integers(0, len(rows), 5000)], rows[:100]])
    weights = None
    if weighted:
        weights = 10.0 ** rng.uniform(-10, 2, len(rows))
        weights[rows[:, 0] > 1000] = 1.3
        weights[:50] = 0.0
    seed = next(seed for seed in range(9) if misses(rows, weights, seed))
    runs = []
    for size in (1 << 14, 4096, 997):
        order = np.arange(len(rows)) if size == 1 << 14 else rng.permutation(len(rows))
        shuffled = None if weights is None else weights[order]
        options = {"seed": seed, "precision": precision, "max_iterations": 5}
        _, states = run(rows[order], 4, shuffled, size=size, **options)
        runs.append(states)
    assert runs[0][0].precision == precision
    assert runs[0][1].trials[0].proof.trainings == 2  # the premise
    for states in runs[1:]:
        assert len(states) == len(runs[0])
        assert all(same(a, b) for a, b in zip(runs[0], states, strict=True))
