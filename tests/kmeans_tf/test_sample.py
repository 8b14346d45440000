import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.sample import (
    MAX_BYTES,
    MIN_ROWS,
    MOST_BYTES,
    Sample,
    drawn_capacity,
    hash_rows,
    sample_capacity,
)
from tests.kmeans_tf.build import fractions

MASK = 2**64 - 1


def splitmix_hash(row, seed):
    """The hash of one row, in Python's integers."""
    h = seed & MASK
    for value in row:
        h ^= int(np.float64(value + 0.0).view(np.uint64))
        h = (h + 0x9E3779B97F4A7C15) & MASK
        h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & MASK
        h ^= h >> 31
    return h


def bottom(rows, weights, seed, capacity):
    """By brute force: (hash, row, weight) of the distinct rows with the smallest hashes."""
    total = Counter()
    for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
        if weight > 0:
            total[tuple(v + 0.0 for v in row)] += weight
    kept = sorted((splitmix_hash(row, seed), row) for row in total)[:capacity]
    return [(h, row, total[row]) for h, row in kept]


def plain(sample):
    """The sample's contents to the bit."""
    return [a.tobytes() for a in (sample.ranks, sample.rows, sample.weights)], sample.capacity


values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e300, 5e-324])


@st.composite
def tables(draw):
    n = draw(st.integers(0, 40))
    rows = np.array(draw(st.lists(values, min_size=2 * n, max_size=2 * n))).reshape(n, 2)
    weights = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), np.float64)
    return rows, weights


@given(tables(), st.integers(-3, 2**64), st.integers(1, 12))
def test_it_holds_the_distinct_rows_with_the_smallest_hashes(table, seed, capacity):
    rows, weights = table
    sample = Sample.of(rows, weights, seed, capacity)
    expected = bottom(rows, weights, seed, capacity)
    assert sample.ranks.tolist() == [h for h, _, _ in expected]
    assert sample.rows.tolist() == [list(row) for _, row, _ in expected]
    assert sample.weights.tolist() == [w for _, _, w in expected]


@given(tables(), st.integers(1, 12), st.randoms(use_true_random=False), st.integers(1, 5))
def test_it_does_not_depend_on_order_or_shards(table, capacity, random, shards):
    rows, weights = table
    whole = Sample.of(rows, weights, 7, capacity)
    order = list(range(len(rows)))
    random.shuffle(order)
    parts = np.array_split(np.array(order, np.int64), shards)
    samples = [Sample.of(rows[p], weights[p], 7, capacity) for p in parts]
    random.shuffle(samples)
    assert plain(sum(samples, Sample.zero(2, capacity))) == plain(whole)


@given(tables(), tables(), tables(), st.integers(1, 12))
def test_addition_is_commutative_and_associative(one, two, three, capacity):
    a, b, c = (Sample.of(*table, 3, capacity) for table in (one, two, three))
    assert plain(a + b) == plain(b + a)
    assert plain((a + b) + c) == plain(a + (b + c))
    zero = Sample.zero(2, capacity)
    assert plain(a + zero) == plain(zero + a) == plain(a)
    assert plain(pickle.loads(pickle.dumps(a)) + b) == plain(a + b)


@pytest.mark.parametrize("distinct", [50, 5000])
def test_rows_beyond_the_highest_hash_may_be_left_out(distinct):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((distinct, 3))[rng.integers(0, distinct, 20000)]
    weights = rng.integers(0, 4, 20000).astype(float)
    whole = Sample.of(rows, weights, 1, 100)
    running = Sample.zero(3, 100)
    for a in range(0, 20000, 1000):
        part = slice(a, a + 1000)
        running = running + Sample.of(rows[part], weights[part], 1, 100, running.highest)
    assert plain(running) == plain(whole)
    assert whole.full == (distinct > 100)


def test_hashes_are_those_of_plain_integers(monkeypatch):
    monkeypatch.setattr("kmeans_tf.sample._HASHED_ROWS", 20)
    rows = np.random.default_rng(0).standard_normal((50, 37))
    for layout in (rows, np.asfortranarray(rows), rows[::2], rows[:, ::-1]):
        expected = [splitmix_hash(row, -5) for row in layout]
        assert hash_rows(layout, -5).tolist() == expected


def test_zero_has_one_sign():
    rows = np.array([[-0.0, 1.0], [0.0, 1.0]])
    a, b = (Sample.of(rows[order], np.array([1.0, 2.0]), 0, 5) for order in ([0, 1], [1, 0]))
    assert len(a.ranks) == 1
    assert a.rows.tobytes() == b.rows.tobytes() == np.array([[0.0, 1.0]]).tobytes()
    assert a.weights.tolist() == [3.0]


def test_another_seed_is_another_sample():
    rows = np.random.default_rng(0).standard_normal((1000, 2))
    one, other = (set(map(tuple, Sample.of(rows, np.ones(1000), s, 50).rows)) for s in (0, 1))
    assert len(one & other) < 20


def test_hashes_are_uniform():
    rows = np.arange(20000, dtype=float).reshape(-1, 2)
    buckets = np.bincount(hash_rows(rows, 0) >> np.uint64(60), minlength=16)
    chi_squared = ((buckets - 625) ** 2 / 625).sum()
    assert 3 < chi_squared < 40  # 15 degrees of freedom


def test_the_weight_of_all_is_estimated():
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 10, 30000).astype(float)
    rows = rng.standard_normal((30000, 2))
    sample = Sample.of(rows, weights, 0, 3000)
    assert sample.full
    assert sample.estimated_weight() == pytest.approx(weights.sum(), rel=0.06)
    everything = Sample.of(rows, weights, 0, 40000)
    assert not everything.full
    assert everything.highest is None
    assert everything.estimated_weight() == weights.sum()


def test_the_chance_is_that_of_any_distinct_row():
    """So the distinct rows in the sample, over it, are how many there are."""
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((4000, 2))
    rows = distinct[np.append(np.arange(4000), np.zeros(6000, int))]
    counts = []
    for seed in range(200):
        sample = Sample.of(rows, np.ones(10000), seed, 400)
        assert len(sample.ranks) == 400
        counts.append(399 / sample.chance)  # the last is what the others are held to
    assert np.mean(counts) == pytest.approx(4000, abs=4 * np.std(counts) / np.sqrt(200))
    assert Sample.of(rows, np.ones(10000), 0, 4001).chance == 1.0


# Samples by size


def sizes_of(rows, weights):
    """What a row asks for: by its content and weight, as by weight times cost."""
    return weights * ((rows + 0.5) ** 2).sum(1)


def by_size(rows, weights, seed=7, capacity=10):
    return Sample.by_size(rows, weights, sizes_of(rows, weights), seed, capacity)


@st.composite
def sized_tables(draw):
    """Rows that repeat, with weights of 12 orders of magnitude that repeat or are 0."""
    n = draw(st.integers(0, 40))
    feature = st.sampled_from([0.0, -0.0, 1.0, -1.0, -0.5, 1e-3, 7.0])
    weight = st.sampled_from([0.0, 1.0, 0.1, 3.7, 1e-9, 1e3])
    rows = np.array(draw(st.lists(feature, min_size=2 * n, max_size=2 * n))).reshape(n, 2)
    return rows, np.array(draw(st.lists(weight, min_size=n, max_size=n)))


@given(sized_tables(), st.integers(1, 12), st.randoms(use_true_random=False), st.integers(1, 5))
def test_by_size_it_does_not_depend_on_order_or_shards(table, capacity, random, shards):
    rows, weights = table
    whole = by_size(rows, weights, capacity=capacity)
    order = list(range(len(rows)))
    random.shuffle(order)
    parts = np.array_split(np.array(order, np.int64), shards)
    samples = [by_size(rows[p], weights[p], capacity=capacity) for p in parts]
    random.shuffle(samples)
    assert plain(sum(samples, Sample.zero(2, capacity))) == plain(whole)


@given(sized_tables(), st.integers(1, 12))
def test_by_size_the_totals_are_exact(table, capacity):
    rows, weights = table
    sample = by_size(rows, weights, capacity=capacity)
    totals = Counter()
    sizes = sizes_of(rows, weights)
    for row, weight, size in zip(rows.tolist(), weights.tolist(), sizes, strict=True):
        if weight > 0 and size > 0:
            totals[tuple(v + 0.0 for v in row), size] += fractions([weight])[0]
    assert len(sample.ranks) == min(capacity, len(totals))
    entries = Counter(zip(map(tuple, sample.rows.tolist()), sample.weights, strict=True))
    expected = Counter((row, float(total)) for (row, _), total in totals.items())
    assert entries <= expected
    if not sample.full:
        assert entries == expected
        assert sample.chances(7).tolist() == [1.0] * len(totals)


def test_by_size_equal_rows_are_as_one_of_their_weight():
    rng = np.random.default_rng(0)
    rows, sizes = rng.standard_normal((300, 2)), rng.exponential(1.0, 300)
    times = rng.integers(1, 5, 300)
    once = Sample.by_size(rows, times.astype(float), sizes, 3, 50)
    order = rng.permutation(np.repeat(np.arange(300), times))
    repeated = Sample.by_size(rows[order], np.ones(len(order)), sizes[order], 3, 50)
    assert once.full
    assert plain(repeated) == plain(once)
    assert repeated.chances(3).tobytes() == once.chances(3).tobytes()


def test_by_size_what_has_none_is_out():
    rows = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    weights, sizes = np.array([1.0, 0, 2, 3]), np.array([0.0, 1, 2, 5e-324])
    sample = Sample.by_size(rows, weights, sizes, 0, 9)
    assert sample.rows.tolist() == [[5.0, 6.0]]
    assert sample.size_chance == np.inf
    assert not len(Sample.by_size(rows, weights, np.zeros(4), 0, 9).ranks)


def test_by_size_the_largest_come_first():
    rows = np.random.default_rng(0).standard_normal((1000, 2))
    sizes = np.ones(1000)
    sizes[::100] = 1e6
    for seed in range(20):
        sample = Sample.by_size(rows, np.ones(1000), sizes, seed, 50)
        chances = sample.chances(seed)
        large = (sample.rows[:, None] == rows[None, ::100]).all(2).any(1)
        assert large.sum() == 10
        assert (chances[large] == 1).all()
        np.testing.assert_allclose(chances[~large], sample.size_chance, rtol=1e-12)


def test_by_size_weights_over_chances_add_up_to_all():
    """Whatever is added up: without the last entry, which sets the chances, there is no bias."""
    rng = np.random.default_rng(0)
    n, capacity, times = 500, 60, 1500
    rows, weights = rng.standard_normal((n, 2)), rng.exponential(1.0, n)
    sizes = np.exp(rng.standard_normal(n) * 1.5)
    value = np.exp(rows[:, 0])
    truth = np.array([weights.sum(), weights @ value])
    estimates = np.empty((times, 2))
    for seed in range(times):
        sample = Sample.by_size(rows, weights, sizes, seed, capacity)
        stands_for = sample.weights / sample.chances(seed)
        terms = stands_for[:, None] * np.column_stack(
            [np.ones(capacity), np.exp(sample.rows[:, 0])]
        )
        estimates[seed] = terms[:-1].sum(0)
    errors = estimates.std(0) / np.sqrt(times)
    assert (errors < 0.02 * truth).all()  # the premise: a bias would be seen
    assert (np.abs(estimates.mean(0) - truth) < 4 * errors).all()


@pytest.mark.parametrize(
    "features, prototypes, expected",
    [
        (2, 3, MIN_ROWS),
        (2, 2000, 64 * 2000),
        (1024, 3, MAX_BYTES // 8 // 1024),
        (512, 2500, 8 * 2500),
        (1024, 10_000, MOST_BYTES // 8 // 1024),
        (10**8, 20, 20),
    ],
)
def test_capacity_is_bounded_both_ways(features, prototypes, expected):
    assert sample_capacity(features, prototypes) == expected


def test_a_quarter_as_many_are_drawn_but_never_fewer_than_prototypes():
    assert drawn_capacity(3, 2) == MIN_ROWS // 4
    assert drawn_capacity(20, 10**8) == 20
