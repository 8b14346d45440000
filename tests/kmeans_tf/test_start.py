"""Where a training begins, above all the start that is trained on a sample."""

import dataclasses

import numpy as np
import pytest

import kmeans_tf.start
from kmeans_tf import TrainingOptions, get_metric
from kmeans_tf.start import (
    INITS,
    NOISE,
    StartOptions,
    WeightedPoints,
    choose_start,
    default_init,
    layout_for,
    trained_start,
)
from tests import reference, tables
from tests.kmeans_tf.build import layout_of, raw_encoding, summary_of
from tests.tables import blobs

SQEUCLIDEAN = get_metric("sqeuclidean")


def overlapping(n=3000, d=3, k=30, seed=0):
    return tables.overlapping(n, d, k, seed)


def started(rows, k, weights=None, *, init="auto", seed=0, capacity=1 << 16, metric="sqeuclidean"):
    """The layout and the trial of a start, whose sample has a capacity."""
    summary = summary_of(rows, weights, seed=seed, capacity=capacity)
    return choose_start(summary, get_metric(metric), StartOptions(k, init, seed))


# The start that is trained


@pytest.mark.parametrize("seed", range(2))
def test_it_is_no_worse_than_a_plain_training(seed):
    rows, k = overlapping(seed=seed), 12
    layout, trial = started(rows, k, seed=seed)
    _, plain = started(rows, k, seed=seed, init="k-means++")
    decode = layout.encoding.decode
    end = reference.fit(rows, decode(plain.prototypes), tolerance=1e-5)
    assert reference.cost(rows, decode(trial.prototypes)) <= 1.001 * end.cost


@pytest.mark.parametrize("seed", range(2))
def test_it_is_trained_to_its_end(seed):
    """On rows without clusters, where Lloyd's iterations take long."""
    rows = np.random.default_rng(seed).random((3000, 2))
    layout, trial = started(rows, 25, seed=seed)
    end = layout.encoding.decode(trial.prototypes)
    after = reference.fit(rows, end, tolerance=1e-5)
    assert after.iterations <= 2


def test_it_finds_the_clusters_where_plain_trainings_miss_some():
    plainly = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centres, labels = rng.uniform(0, 120, (25, 2)), rng.integers(0, 25, 1500)
        rows = centres[labels] + rng.standard_normal((1500, 2))
        best = reference.fit(rows, centres, tolerance=0).cost
        layout, trial = started(rows, 25, seed=seed)
        assert reference.cost(rows, layout.encoding.decode(trial.prototypes)) < 1.001 * best
        _, plain = started(rows, 25, seed=seed, init="k-means++")
        plainly.append(reference.fit(rows, layout.encoding.decode(plain.prototypes)).cost / best)
    assert max(plainly) > 1.1  # the premise


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_whole_sample_knows_the_cost(metric, weighted):
    rows = overlapping() + 5
    weights = np.random.default_rng(0).exponential(1.0, len(rows)) if weighted else None
    layout, trial = started(rows, 7, weights, metric=metric)
    points = layout.encoding.encode(rows)
    cost = reference.cost(points, trial.prototypes, weights, metric) / layout.encoding.unit**2
    # The cost that is expected is that of one iteration earlier.
    assert cost <= trial.proof.expected_cost * (1 + 1e-9)
    assert cost == pytest.approx(trial.proof.expected_cost, rel=2e-5)


def test_where_nothing_moves_any_more_the_expected_cost_is_the_cost():
    rows = blobs(2000, 3, 5, 1)[0].astype(np.float64)
    weights = np.random.default_rng(0).exponential(1.0, 2000) * 1e3
    layout, trial = started(rows, 5, weights)
    points = layout.encoding.encode(rows).astype(np.float64)
    cost = reference.cost(points, trial.prototypes, weights) / layout.encoding.unit**2
    assert trial.proof.expected_cost == pytest.approx(cost, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_sample_estimates_the_cost(weighted):
    rows = overlapping(20000)
    weights = np.random.default_rng(0).exponential(1.0, len(rows)) if weighted else None
    ratios = []
    for seed in range(3):
        layout, trial = started(rows, 7, weights, seed=seed, capacity=3000)
        assert trial.proof.open
        cost = reference.cost(rows, layout.encoding.decode(trial.prototypes), weights)
        ratios.append(trial.proof.expected_cost / cost)
    np.testing.assert_allclose(ratios, 1.0, atol=0.08)


@pytest.mark.parametrize("capacity", [200, 1 << 16], ids=["sampled", "whole"])
def test_a_weight_stands_for_equal_rows(capacity):
    rows = overlapping(500) + 0.1
    times = np.random.default_rng(0).integers(0, 6, 500)
    repeated = np.random.default_rng(1).permutation(np.repeat(rows, times, axis=0))
    layout, trial = started(rows, 6, times.astype(np.float64), capacity=capacity)
    other, expected = started(repeated, 6, capacity=capacity)
    assert trial.prototypes.tobytes() == expected.prototypes.tobytes()
    assert trial.proof == expected.proof
    assert trial.proof.open == (capacity == 200)
    assert layout.total_weight == other.total_weight == len(repeated)


def test_weights_of_many_orders_train_a_start():
    rows = blobs(2000, 2, 4, 0)[0].astype(np.float64)
    weights = 10.0 ** np.random.default_rng(0).uniform(-9, 6, 2000)
    layout, trial = started(rows, 4, weights)
    points = layout.encoding.encode(rows).astype(np.float64)
    cost = reference.cost(points, trial.prototypes, weights) / layout.encoding.unit**2
    assert trial.proof.expected_cost == pytest.approx(cost, rel=1e-6)


def test_only_what_rows_were_left_out_of_is_proven():
    rows = overlapping(300)
    for capacity, proven in ((299, True), (301, False)):
        _, trial = started(rows, 3, capacity=capacity)
        assert trial.proof.open == proven
        assert (trial.draw is not None) == proven
        assert (trial.proof.cost, trial.proof.trainings) == (None, 1)
        assert trial.costs == ()


@pytest.mark.parametrize(("k", "trained"), [(20, True), (21, False), (40, False)])
def test_a_sample_of_too_few_rows_for_k_trains_nothing(k, trained):
    """Half of its rows are prototypes, or all: what they cost says nothing of the others."""
    rows = overlapping(3000, 3, 10)
    layout, trial = started(rows, k, capacity=40)
    assert (trial.proof is not None) == trained
    assert layout.encoding.precision == "single"
    if not trained:
        sample = summary_of(rows, capacity=40).sample.rows
        found = layout.encoding.decode(trial.prototypes)
        apart = np.abs(found[:, None] - sample).max(2)
        assert (apart.min(1) < 1e-6).all()
        assert len(set(apart.argmin(1))) == k


def test_double_points_are_fine_enough_for_a_sample_of_k_rows():
    summary = summary_of(fine_clusters(1.0), capacity=64)
    layout, _ = choose_start(summary, SQEUCLIDEAN, StartOptions(64, "auto", precision="double"))
    assert layout.encoding.precision == "double"


def test_given_prototypes_tell_what_a_sample_of_too_few_rows_cannot():
    """Of many tight clusters it has a row each, which lie far from each other."""
    rng = np.random.default_rng(0)
    centres = rng.random((4000, 2))
    rows = centres + rng.standard_normal(centres.shape) * 1e-8
    summary = summary_of(rows, capacity=40)
    random, given = (
        choose_start(summary, SQEUCLIDEAN, StartOptions(40, "k-means++", first=first))[0]
        for first in (None, summary.sample.rows + 1e-8)
    )
    assert len(summary.sample.rows) == 40
    assert (random.encoding.precision, given.encoding.precision) == ("single", "double")


def test_rare_rows_far_away_hide_no_rounding_from_a_random_start():
    """Wherever they stand in the sample, of which a part is looked at."""
    rows = fine_clusters(1e-7, 0).repeat(30, axis=0)
    rows += np.random.default_rng(1).standard_normal(rows.shape) * 1e-7
    for seed in range(4):
        far = np.random.default_rng(seed).random((3, 2)) + 1e3
        summary = summary_of(np.concatenate([rows, far]), seed=seed)
        layout, _ = choose_start(summary, SQEUCLIDEAN, StartOptions(8, "random", seed))
        assert layout.encoding.precision == "double"


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_clusters_in_many_dimensions(seed):
    """Where a row is no better a place for a prototype than where it is."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, 16)) * 1.5
    rows = centres[rng.integers(0, 40, 12000)] + rng.standard_normal((12000, 16))
    best = reference.fit(rows, centres, tolerance=1e-5).cost
    layout, trial = started(rows, 40, seed=seed)
    assert reference.cost(rows, layout.encoding.decode(trial.prototypes)) < 1.0005 * best


@pytest.mark.parametrize("rows, iterations", [(1500, 3), (5000, 10)])
def test_a_start_that_is_not_quick_takes_three_passes(monkeypatch, rows, iterations):
    monkeypatch.setattr(kmeans_tf.start, "_QUICK", 1)
    trained, counts = kmeans_tf.start.train, []

    def counted(*args):
        counts.append(trained(*args))
        return counts[-1]

    monkeypatch.setattr(kmeans_tf.start, "train", counted)
    sample = np.random.default_rng(0).random((1500, 3)).astype(np.float32).astype(np.float64)
    points, layout = WeightedPoints(sample, np.ones(1500)), layout_of(sample)
    layout = dataclasses.replace(layout, encoding=raw_encoding(3))
    trained_start(layout, SQEUCLIDEAN, points, sample[:50], 0, rows)
    *searched, end = [state.iteration for state in counts]
    assert sum(searched) == iterations and end == 1


# Other starts


@pytest.mark.parametrize("init", INITS)
def test_a_start_repeats_and_differs_by_its_seed(init):
    rows = overlapping(800)
    k = 1 if init == "k-means-parallel" else 6
    layout, trial = started(rows, 6, init=init)
    assert trial.prototypes.shape == (k, 3)
    assert trial.labels.tolist() == list(range(6))
    assert np.array_equal(trial.prototypes, started(rows, 6, init=init)[1].prototypes)
    assert not np.array_equal(trial.prototypes, started(rows, 6, init=init, seed=1)[1].prototypes)
    assert (trial.proof is None) == (init != "auto")
    assert (trial.oversampling is None) == (init != "k-means-parallel")
    if init != "auto":
        points = layout.encoding.encode(rows).astype(np.float64)
        assert (trial.prototypes[:, None] == points[None]).all(2).any(1).all()


def test_prototypes_to_start_from_are_taken_as_they_are():
    rows = overlapping(100) + 7
    first = rows[:2] + 0.25
    options = StartOptions(4, "k-means++", first=first)
    layout, trial = choose_start(summary_of(rows), SQEUCLIDEAN, options)
    np.testing.assert_allclose(layout.encoding.decode(trial.prototypes[:2]), first, rtol=1e-14)
    assert trial.proof is None


def test_only_lloyds_starts_are_trained():
    adam = TrainingOptions(optimizer="adam", learning_rate=0.1)
    assert default_init("auto", TrainingOptions()) == "auto"
    assert default_init("auto", adam) == "k-means++"
    for init in set(INITS) - {"auto"}:
        assert default_init(init, TrainingOptions()) == default_init(init, adam) == init


@pytest.mark.parametrize("init", INITS)
def test_too_few_distinct_rows_are_an_error(init):
    rows = np.repeat([[0.0, 1.0], [2.0, 3.0]], 5, axis=0)
    with pytest.raises(ValueError, match="k = 3, but there are only 2 distinct points"):
        started(rows, 3, init=init)


# The precision


def fine_clusters(spread, seed=0):
    """Two tight clusters at a distance of about 1, so that float32 keeps 2**-25 or so."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [0.7, 0.9]])
    return np.repeat(centres, 200, axis=0) + rng.standard_normal((400, 2)) * spread


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 3e-5, 3e-6, 1e-7])
def test_points_are_double_where_rounding_adds_to_the_cost(spread):
    rows = fine_clusters(spread)
    summary, options = summary_of(rows), StartOptions(2, "k-means++")
    single = layout_for(summary, SQEUCLIDEAN, options, "single")
    exactly = single.encoding.encode_prototypes(rows)
    noise = ((single.encoding.encode(rows) - exactly) ** 2).sum()
    _, trial = choose_start(summary, SQEUCLIDEAN, dataclasses.replace(options, precision="single"))
    cost = reference.cost(single.encoding.encode(rows), trial.prototypes)
    assert not 0.5 < noise / (NOISE * cost) < 2  # the premise: it is clear which
    expected = "double" if noise > NOISE * cost else "single"
    layout, _ = choose_start(summary, SQEUCLIDEAN, options)
    assert layout.encoding.precision == expected
    assert expected == ("single" if spread > 2e-4 else "double")


def beside_far_ones(d):
    """(n, d) whole numbers below 10, in some features of some rows others near 2**53."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 10, (300, d))
    return np.where(rng.random((300, d)) < 0.4, 2**53 - rows, rows).astype(np.float64)


@pytest.mark.parametrize("options", [
    {"init": "k-means++"},
    {"init": "random"},
    {"init": "k-means++", "first": np.array([[1.0, 1, 1], [2, 2, 2]])},
])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("d", [1, 3])
def test_points_are_double_where_float32_hides_rows_beside_others_far_away(options, seed, d):
    """Whatever the start is: one that leaves the far rows to others makes all else look small."""
    options = {name: v[:, :d] if name == "first" else v for name, v in options.items()}
    layout, _ = choose_start(
        summary_of(beside_far_ones(d)), SQEUCLIDEAN, StartOptions(2, seed=seed, **options)
    )
    assert layout.encoding.precision == "double"


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_a_precision_that_is_asked_for_is_used(init, precision):
    for spread in (1.0, 1e-7):
        summary = summary_of(fine_clusters(spread))
        options = StartOptions(2, init, precision=precision)
        layout, _ = choose_start(summary, SQEUCLIDEAN, options)
        assert layout.encoding.precision == precision


def test_metrics_of_another_form_are_single():
    summary = summary_of(fine_clusters(1e-7))
    layout, _ = choose_start(summary, get_metric("l1"), StartOptions(2, "k-means++"))
    assert layout.encoding.precision == "single"


def test_a_start_in_double_precision_sees_what_float32_cannot():
    """Each cluster is two, so near each other that float32 has few numbers between them."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [1e-6, 0.0], [0.7, 0.9], [0.7, 0.9 + 1e-6]])
    rows = np.repeat(centres, 100, axis=0) + rng.standard_normal((400, 2)) * 1e-8
    layout, trial = started(rows, 4)
    assert layout.encoding.precision == "double"
    chosen = layout.encoding.decode(trial.prototypes)
    assert (np.abs(chosen[:, None] - centres[None]).max(2) < 1e-8).any(0).all()
