"""k-means||: candidates drawn from all rows in six iterations.

Tables have two features and k is 4: XLA compiles a program for every number of candidates.
"""

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

import kmeans_tf
from kmeans_tf import TrainingOptions, get_metric
from kmeans_tf.oversampling import PASSES
from kmeans_tf.seeding import initial_prototypes
from kmeans_tf.start import StartOptions
from kmeans_tf.state import CONVERGED, DRAWS, OVERSAMPLING, RUNNING
from tests import reference
from tests.kmeans_tf.build import states_of, summary_of
from tests.tables import blobs

INIT = "k-means-parallel"
ADAM_L1 = {
    "metric": "l1",
    "optimizer": "adam",
    "learning_rate": 0.1,
    "max_iterations": 12,
}


def run(rows, k, weights=None, *, seed=0, size=1 << 12, capacity=1 << 16, **options):
    """The layout and all states."""
    summary = summary_of(rows, weights, seed=seed, capacity=capacity)
    start = StartOptions(k, INIT, seed)
    return states_of(summary, TrainingOptions(**options), start, rows, weights, size)


@pytest.mark.parametrize("options", [{"tolerance": 1e9}, ADAM_L1], ids=["lloyd", "adam l1"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_candidates_grow_for_five_iterations_and_are_weighed_in_the_sixth(weighted, options):
    rows, k = blobs(3000, 2, 8, 0)[0].astype(np.float64), 4
    weights = np.random.default_rng(0).exponential(1.0, 3000) if weighted else None
    layout, states = run(rows, k, weights, **options)
    trials = [state.trials[0] for state in states]
    assert (DRAWS, PASSES) == (5, 6)
    grown = [1 + i * OVERSAMPLING * k for i in range(DRAWS + 1)]
    assert [len(t.prototypes) for t in trials[:8]] == [*grown, k, k]
    points = layout.encoding.encode(rows).astype(np.float64)
    metric = options.get("metric", "sqeuclidean")
    for before, after in itertools.pairwise(trials[:7]):
        # Candidates are points, and those of before stay; the costs are theirs.
        assert (after.prototypes[:, None] == points[None]).all(2).any(1).all()
        kept = min(len(before.prototypes), len(after.prototypes))
        if len(after.prototypes) > k:
            assert np.array_equal(after.prototypes[:kept], before.prototypes)
        unit = layout.encoding.unit ** (2 if metric == "sqeuclidean" else 1)
        cost = reference.cost(points, before.prototypes, weights, metric) / unit
        assert after.costs[-1] == pytest.approx(cost, rel=1e-9)
        assert after.relocated[-1] == 0
        assert (after.optimizer_state, after.status) == ((), RUNNING)
        assert after.labels.tolist() == list(range(k))
    assert (np.diff(trials[6].costs) < 0).all()
    assert len(np.unique(trials[5].prototypes, axis=0)) == grown[-1]
    assert len(np.unique(trials[6].prototypes, axis=0)) == k
    assert (trials[6].oversampling, trials[6].draw) == (None, None)
    # A candidate weighs as much as the rows that are nearest to it.
    candidates = trials[5].prototypes
    labels = reference.labels(points, candidates, metric)
    weighed = np.bincount(labels, weights, len(candidates)).astype(np.float64)
    chosen = initial_prototypes("k-means++", get_metric(metric), candidates, weighed, k, 0)
    assert np.array_equal(trials[6].prototypes, chosen)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_it_ends_as_well_as_the_best_of_scikit_learns(weighted):
    rng = np.random.default_rng(3)
    rows = blobs(4000, 2, 4, 3)[0].astype(np.float64)
    rows = np.concatenate([rows, rng.uniform(-10, 40, (96, 2))])
    weights = rng.exponential(1.0, 4096) if weighted else None
    theirs = KMeans(4, n_init=5, random_state=0).fit(rows, sample_weight=weights).inertia_
    costs = []
    for seed in range(5):
        model, state = kmeans_tf.fit(rows, 4, weights=weights, init=INIT, seed=seed)
        assert state.trials[0].status == CONVERGED
        assert set(model.label(rows)[0]) == set(range(4))
        costs.append(reference.cost(rows, model.prototypes, weights))
    assert np.median(costs) <= 1.1 * theirs


def test_candidates_are_drawn_in_proportion_to_their_cost():
    """A point far from all others is drawn at once, and a group as often as its cost says."""
    rng = np.random.default_rng(0)
    groups = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 30.0]])
    rows = np.repeat(groups, [3000, 100, 100], axis=0) + rng.standard_normal((3200, 2)) * 0.1
    rows = np.concatenate([rows, [[500.0, 500.0]]])
    shares = []
    for seed in range(20):
        layout, states = run(rows, 4, seed=seed, max_iterations=1)
        candidates = layout.encoding.decode(states[1].trials[0].prototypes)
        if not (np.abs(candidates[0]) < 1).all():
            continue  # the first is another
        assert (candidates[1:, 0] > 400).sum() == 1
        shares.append([(candidates[1:, 0].round(-1) == 10).sum(), (candidates[1:, 1] > 20).sum()])
    assert len(shares) > 10
    near, far = np.sum(shares, 0)
    assert far > 4 * near > 0  # 9 times in proportion


def test_a_group_that_the_sample_misses_is_found():
    rng = np.random.default_rng(0)
    rows = blobs(20000, 2, 3, 0)[0].astype(np.float64)
    rows[:10] = 900.0 + rng.standard_normal((10, 2))
    summary = summary_of(rows, capacity=300)
    assert not (summary.sample.rows[:, 0] > 500).any()  # the premise
    layout, states = run(rows, 4, capacity=300)
    end = layout.encoding.decode(states[-1].trials[0].prototypes)
    assert np.abs(end - rows[:10].mean(0)).max(1).min() < 0.001


@pytest.mark.parametrize("options", [{}, ADAM_L1], ids=["lloyd", "adam l1"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_neither_order_nor_chunks_change_a_bit(weighted, options):
    """Rows repeat, with weights of 12 orders of magnitude."""
    rng = np.random.default_rng(0)
    rows = blobs(4000, 2, 5, 0)[0].astype(np.float64)
    rows = rows[rng.integers(0, 4000, 6000)]
    weights = 10.0 ** rng.uniform(-6, 6, 6000) if weighted else None
    runs = []
    for size in (4096, 2000, 777):
        order = np.arange(6000) if size == 4096 else rng.permutation(6000)
        shuffled = None if weights is None else weights[order]
        _, states = run(rows[order], 4, shuffled, size=size, **({"max_iterations": 9} | options))
        runs.append([state.trials[0] for state in states])
    assert not any(runs[0][PASSES].relocated)  # although the same row may be there twice
    for trials in runs[1:]:
        for one, other in zip(runs[0], trials, strict=True):
            assert one.prototypes.tobytes() == other.prototypes.tobytes()
            assert (one.costs, one.status) == (other.costs, other.status)
            assert one.oversampling == other.oversampling


def test_few_points_of_many_weights_are_enough():
    """Rows that are equal but for their weights are drawn together, so there are few candidates."""
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((14, 2))
    rows, weights = distinct[rng.integers(0, 14, 4000)], rng.exponential(1.0, 4000)
    few = 0
    for seed in range(3):
        options = ADAM_L1 | {"learning_rate": 1e-9, "max_iterations": 7}
        _, states = run(rows, 13, weights, seed=seed, **options)
        few += len(np.unique(states[5].trials[0].prototypes, axis=0)) < 13
        assert len(np.unique(states[6].trials[0].prototypes, axis=0)) == 13
        model, _ = kmeans_tf.fit(
            rows, 13, weights=weights, init=INIT, seed=seed, options=TrainingOptions(**options)
        )
        assert (np.abs(model.prototypes[:, None] - distinct).max(2) < 1e-6).any(1).all()
    assert few  # the premise


def test_another_seed_is_another_start():
    rows = blobs(1000, 2, 5, 0)[0].astype(np.float64)
    one, same, other = (run(rows, 4, seed=seed)[1][6].trials[0].prototypes for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("most", [0, 1, 6])
def test_too_few_iterations_are_an_error(most):
    rows = blobs(100, 2, 3, 0)[0].astype(np.float64)
    with pytest.raises(ValueError, match="k-means-parallel takes 6 iterations: give more than 6"):
        kmeans_tf.fit(rows, 4, init=INIT, options=TrainingOptions(max_iterations=most))
    model, _ = kmeans_tf.fit(rows, 4, init=INIT, options=TrainingOptions(max_iterations=7))
    assert model.prototypes.shape == (4, 2)
