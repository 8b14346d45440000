import math
import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.exact import UNIT_BITS
from kmeans_tf.metrics import get_metric
from kmeans_tf.sample import Sample
from kmeans_tf.summary import Moments, Summary
from tests import reference

D = 2
numbers = st.one_of(
    st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-200, 200)),
    st.sampled_from([0.0, -0.0, 0.1, 1e15, -1e15, np.nan, np.inf, -np.inf]),
)
shares = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.floats(0, 1e6, width=32))


@st.composite
def tables(draw, values=numbers, least=0):
    n = draw(st.integers(least, 12))
    rows = np.array(draw(st.lists(values, min_size=D * n, max_size=D * n)), float).reshape(n, D)
    weights = np.array(draw(st.lists(shares, min_size=n, max_size=n)), float)
    return rows, weights


def as_fractions(totals):
    return [Fraction(total, 1 << UNIT_BITS) for total in totals]


@given(tables())
def test_moments_are_those_of_fractions(table):
    rows, weights = table
    moments = Moments.of(rows, weights)
    for j in range(D):
        pairs = [
            (Fraction(v), Fraction(x))
            for v, x in zip(weights.tolist(), rows[:, j].tolist(), strict=True)
            if math.isfinite(x)
        ]
        assert as_fractions(moments.weight)[j] == sum(v for v, _ in pairs)
        assert as_fractions(moments.first)[j] == sum(v * x for v, x in pairs)
        assert as_fractions(moments.second)[j] == sum(v * x * x for v, x in pairs)


@given(tables(), tables(), tables())
def test_moments_add_in_any_order(one, two, three):
    a, b, c = (Moments.of(*table) for table in (one, two, three))
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    joined = (np.concatenate(parts) for parts in zip(one, two, three, strict=True))
    assert a + b + c == Moments.of(*joined)
    assert a + Moments.of(np.empty((0, D)), np.empty(0)) == a
    assert pickle.loads(pickle.dumps(a)) == a


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_mean_and_deviation_do_not_cancel(offset, weighted):
    rng = np.random.default_rng(0)
    lattice = np.rint(rng.standard_normal((500, D)) * 64) / 64
    weights = rng.random(500) if weighted else np.ones(500)
    moments = Moments.of(lattice + offset, weights)
    _, mean, deviation = reference.standardize(lattice, weights)
    np.testing.assert_allclose(moments.mean() - offset, mean, atol=offset * 1e-15 + 1e-15)
    np.testing.assert_allclose(moments.standard_deviation(), deviation, rtol=1e-13)


@given(st.floats(-1e100, 1e100, allow_subnormal=False), st.lists(shares, min_size=1, max_size=9))
def test_a_constant_column_has_its_value_as_mean_and_deviation_one(value, weights):
    rows = np.full((len(weights), D), value if abs(value) > 1e-100 else 0.0)
    moments = Moments.of(rows, np.array(weights))
    assert moments.standard_deviation().tolist() == [1.0] * D
    expected = rows[0] if any(weights) else np.zeros(D)
    assert moments.mean().tolist() == expected.tolist()


def summary_of(table, moments=True, bad=None):
    rows, weights = table
    good = np.isfinite(rows).all(1)
    options = {"seed": 3, "capacity": 5, "moments": moments, "bad": bad}
    return Summary.of(rows, weights, good, **options)


def plain(summary):
    sample = summary.sample
    return (
        summary.rows,
        summary.bad_rows,
        (summary.minimum + 0.0).tobytes(),
        (summary.maximum + 0.0).tobytes(),
        summary.weight,
        summary.largest_weight,
        summary.finest_weight,
        [(a + 0).tobytes() for a in (sample.rows, sample.ranks)],
        summary.moments,
        summary.bad,
    )


@given(tables(), tables(), tables())
def test_summaries_add_in_any_order(one, two, three):
    a, b, c = (summary_of(table) for table in (one, two, three))
    assert plain(a + b) == plain(b + a)
    assert plain((a + b) + c) == plain(a + (b + c))
    joined = tuple(np.concatenate(parts) for parts in zip(one, two, three, strict=True))
    assert plain(a + b + c) == plain(summary_of(joined))
    zero = Summary.zero(D, 5)
    assert plain(a + zero) == plain(zero + a) == plain(a)
    assert plain(pickle.loads(pickle.dumps(a))) == plain(a)


@given(tables(least=1))
def test_a_summary_says_what_a_look_at_the_rows_says(table):
    rows, weights = table
    good = [all(map(math.isfinite, row)) for row in rows.tolist()]
    kept = [(r, v) for r, v, g in zip(rows.tolist(), weights.tolist(), good, strict=True) if g]
    summary = summary_of(table, moments=False)
    assert summary.rows == len(rows)
    assert summary.bad_rows == good.count(False)
    for j in range(D):
        assert summary.minimum[j] == min((r[j] for r, _ in kept), default=np.inf)
        assert summary.maximum[j] == max((r[j] for r, _ in kept), default=-np.inf)
    assert as_fractions([summary.weight]) == [sum(Fraction(v) for _, v in kept)]
    assert summary.largest_weight == max((v for _, v in kept), default=0.0)
    bits = [Fraction(v) for _, v in kept if v > 0]
    assert all((v / Fraction(summary.finest_weight)).denominator == 1 for v in bits)
    assert not bits or any((v / Fraction(summary.finest_weight)).numerator % 2 for v in bits)
    assert set(map(tuple, summary.sample.rows)) <= {tuple(r) for r, v in kept if v > 0}
    assert summary.moments is None


def test_rows_to_impute_count_everywhere_and_are_completed_by_the_means():
    rows = np.array([[1.0, 2.0], [np.nan, 9.0], [3.0, -np.inf]])
    weights = np.array([1.0, 2.0, 4.0])
    good = np.array([True, False, False])
    summary = Summary.of(
        rows, weights, good, seed=0, capacity=5, moments=True, used=np.ones(3, bool)
    )
    assert summary.minimum.tolist() == [1.0, 2.0]
    assert summary.maximum.tolist() == [3.0, 9.0]
    assert as_fractions([summary.weight]) == [7]
    assert summary.bad_rows == 2
    imputed = reference.impute(rows, weights)
    np.testing.assert_allclose(summary.moments.mean(), [imputed[1, 0], imputed[2, 1]])
    sample = summary.completed(get_metric("sqeuclidean")).sample
    order = np.argsort(sample.weights)
    np.testing.assert_allclose(sample.rows[order], imputed)
    assert sample.weights[order].tolist() == [1.0, 2.0, 4.0]


def test_rows_that_imputing_makes_equal_are_one_entry_of_the_sample():
    rows = np.array([[4.0, 1.0], [np.nan, 1.0], [4.0, 1.0], [4.0, np.nan], [4.0, 1.0]])
    weights = np.array([0.1, 0.2, 0.3, 0.4, 0.7])
    good, used = np.isfinite(rows).all(1), np.ones(5, bool)
    parts = [
        Summary.of(rows[p], weights[p], good[p], seed=3, capacity=9, moments=True, used=used[p])
        for p in (slice(0, 2), slice(2, 5))
    ]
    sample = (parts[0] + parts[1]).completed(get_metric("sqeuclidean")).sample
    assert sample.rows.tolist() == [[4.0, 1.0]]
    assert sample.weights.tolist() == [float(sum(map(Fraction, weights)))]


def test_bad_rows_are_counted_by_place_and_reason():
    table = np.array([[np.nan, 1.0], [1.0, 1.0]]), np.ones(2)
    one = summary_of(table, bad=Counter({("a", "x", "NaN"): 1}))
    two = summary_of(table, bad=Counter({("a", "x", "NaN"): 2, ("b", "y", "null"): 1}))
    assert (one + two).bad == {("a", "x", "NaN"): 3, ("b", "y", "null"): 1}


def test_float32_rows_are_summed_up_as_their_numbers_are():
    """Infinite ones too, which a limit of float64 would be among as float32."""
    rows = np.array([[1.5, -np.inf], [np.inf, 2.0], [-3e38, 4.0], [np.nan, 0.1]], np.float32)
    weights, good = np.array([1.0, 2.0, 0.5, 3.0]), np.isfinite(rows).all(1)
    one, other = (
        Summary.of(
            rows.astype(kind),
            weights,
            good,
            seed=1,
            capacity=9,
            moments=True,
            used=np.ones(4, bool),
        )
        for kind in (np.float32, np.float64)
    )
    assert one.moments == other.moments
    assert one.minimum.dtype == np.float64
    assert (one.sample.rows.dtype, other.sample.rows.dtype) == (np.float32, np.float64)
    metric = get_metric("sqeuclidean")
    assert bits(one.completed(metric).sample) == bits(other.completed(metric).sample)
    assert bits((one + other).sample) == bits((other + other).sample)
    for name in ("minimum", "maximum"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("rows", "ranks", "weights"):
        np.testing.assert_array_equal(getattr(one.sample, name), getattr(other.sample, name))


def bits(sample: Sample) -> list[bytes]:
    assert sample.rows.dtype == np.float64
    return [each.tobytes() for each in (sample.rows, sample.ranks, sample.weights)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(340, 3), (341, 3), (700, 3), (2, 1024), (3, 1500)])
def test_the_edges_of_columns_are_found_wherever_they_are(n, d, kind, order):
    """Rows of few features are taken several at a time, and some are left."""
    random = np.random.default_rng(n)
    rows = random.normal(size=(n, d)).astype(kind, order=order)
    lowest, highest = random.integers(0, n, (2, d))
    rows[lowest, np.arange(d)] = -9.0 - np.arange(d)
    rows[highest, np.arange(d)] = 9.0 + np.arange(d)
    rows[random.integers(0, n, 2), random.integers(0, d, 2)] = np.nan
    good = np.isfinite(rows).all(1)
    summary = Summary.of(rows, np.ones(n), good, seed=0, capacity=9, used=np.ones(n, bool))
    columns = [[v for v in column if v == v] for column in rows.T.tolist()]
    assert summary.minimum.tolist() == [min(c, default=np.inf) for c in columns]
    assert summary.maximum.tolist() == [max(c, default=-np.inf) for c in columns]
