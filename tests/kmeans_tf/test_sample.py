import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.sample import MAX_BYTES, MIN_ROWS, Sample, hash_rows, sample_capacity

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


def test_hashes_are_those_of_plain_integers():
    rows = np.random.default_rng(0).standard_normal((50, 4))
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


@pytest.mark.parametrize(
    "features, prototypes, expected",
    [
        (2, 3, MIN_ROWS),
        (2, 2000, 64 * 2000),
        (1024, 3, MAX_BYTES // 8 // 1024),
        (10**8, 20, 20),
    ],
)
def test_capacity_is_bounded_both_ways(features, prototypes, expected):
    assert sample_capacity(features, prototypes) == expected
