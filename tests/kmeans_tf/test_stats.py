import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.sample import Sample
from kmeans_tf.stats import ClusterStats, IterationStats

K, C = 2, 3
numbers = st.integers(-(10**15), 10**15)
counts = st.integers(0, 10**15)


def arrays(elements, *shape):
    size = int(np.prod(shape))
    return st.lists(elements, min_size=size, max_size=size).map(
        lambda values: np.array(values, np.int64).reshape(shape)
    )


clusters = st.builds(
    ClusterStats,
    arrays(counts, K),
    arrays(counts, K, 2),
    arrays(numbers, K, C),
    st.integers(0, 10**400),
)
iterations = st.builds(
    IterationStats, st.dictionaries(st.integers(0, 3), clusters), st.integers(0, 10**400)
)


def plain(stats):
    """Everything that the stats hold, as what compares."""
    if isinstance(stats, IterationStats):
        return stats.squares, {i: plain(s) for i, s in stats.clusters.items()}
    arrays = (stats.rows, stats.weight, stats.sums)
    assert all(a.dtype == np.int64 for a in arrays)
    return (*(a.tolist() for a in arrays), stats.cost)


@pytest.mark.parametrize("kind", [clusters, iterations], ids=["clusters", "iterations"])
def test_addition_is_commutative_and_associative(kind):
    @given(kind, kind, kind)
    def check(a, b, c):
        assert plain(a + b) == plain(b + a)
        assert plain((a + b) + c) == plain(a + (b + c))

    check()


def test_drawn_points_are_added_up_where_there_are_any():
    rows = np.random.default_rng(0).standard_normal((300, 2))
    sizes = (rows**2).sum(1)
    parts = [np.arange(0, 100), np.arange(100, 110), np.arange(110, 300)]
    drawn = [Sample.by_size(rows[p], np.ones(len(p)), sizes[p], 0, 40) for p in parts]
    whole = Sample.by_size(rows, np.ones(300), sizes, 0, 40)
    zeros = np.zeros(K, np.int64), np.zeros((K, 1), np.int64), np.zeros((K, C), np.int64)
    stats = [ClusterStats(*zeros, drawn=sample) for sample in drawn]
    none = ClusterStats(*zeros)
    for total in (stats[0] + stats[1] + stats[2], stats[2] + none + (stats[1] + (none + stats[0]))):
        assert np.array_equal(total.drawn.rows, whole.rows)
        assert np.array_equal(total.drawn.weights, whole.weights)
    assert (none + none).drawn is None


@given(iterations)
def test_zero_is_neutral(stats):
    assert plain(stats + IterationStats.zero()) == plain(stats)
    assert plain(IterationStats.zero() + stats) == plain(stats)


@given(st.lists(iterations, max_size=5))
def test_a_pickled_sum_from_a_generator_is_that_of_plain_integers(parts):
    total = sum((pickle.loads(pickle.dumps(p)) for p in parts), IterationStats.zero())
    squares, summed = plain(total)
    assert squares == sum(p.squares for p in parts)
    assert summed.keys() == {i for p in parts for i in p.clusters}
    for i, (rows, weight, sums, cost) in summed.items():
        mine = [p.clusters[i] for p in parts if i in p.clusters]
        assert rows == [sum(int(s.rows[k]) for s in mine) for k in range(K)]
        assert weight == [
            [sum(int(s.weight[k, w]) for s in mine) for w in (0, 1)] for k in range(K)
        ]
        assert sums == [[sum(int(s.sums[k, c]) for s in mine) for c in range(C)] for k in range(K)]
        assert cost == sum(s.cost for s in mine)


@given(iterations, iterations)
def test_addition_leaves_its_terms_alone(a, b):
    before = plain(a), plain(b)
    _ = a + b
    assert (plain(a), plain(b)) == before


@given(iterations, iterations, st.integers(1, 4))
def test_slices_are_added_apart_and_joined(a, b, count):
    """Of two prototypes there may be slices without any."""
    b.clusters = {i: b.clusters.get(i, stats) for i, stats in a.clusters.items()}
    slices = [x + y for x, y in zip(a.cut(count), b.cut(count), strict=True)]
    assert plain(IterationStats.joined(slices)) == plain(a + b)
