import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.exact import (
    UNIT_BITS,
    ExactVector,
    exact_sum,
    exact_sums,
    to_float,
    two_product,
)
from tests.kmeans_tf.build import fractions

EDGES = [5e-324, -5e-324, 2.2250738585072014e-308, 1e308, -1e308, 1.7976931348623157e308, 0.0, -0.0]
wild = st.one_of(
    st.sampled_from([*EDGES, 1.0, -1.0, 2.0**53 - 1, 0.1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-1074, 970)),
)
terms = st.lists(st.tuples(wild, st.integers(0, 3)), max_size=60)
factors = st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-300, 300))


def unit_sum(values) -> Fraction:
    return sum((Fraction(float(v)) for v in values), Fraction(0)) * (1 << UNIT_BITS)


@given(terms)
def test_sums_are_those_of_fractions(pairs):
    values = np.array([v for v, _ in pairs], np.float64)
    groups = np.array([g for _, g in pairs], np.int64)
    expected = [unit_sum(values[groups == g]) for g in range(4)]
    assert exact_sums(values, groups, 4) == expected


@given(terms, st.randoms(use_true_random=False), st.integers(0, 60))
def test_sums_do_not_depend_on_order_or_splits(pairs, random, cut):
    values = np.array([v for v, _ in pairs], np.float64)
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert exact_sum(values) == exact_sum(shuffled)
    assert exact_sum(values) == exact_sum(shuffled[:cut]) + exact_sum(shuffled[cut:])


@given(st.lists(wild, max_size=20))
def test_to_float_is_the_nearest(values):
    total = exact_sum(np.array(values, np.float64))
    try:
        nearest = float(Fraction(total, 1 << UNIT_BITS))
    except OverflowError:
        return
    assert to_float(total) == nearest


def test_many_terms_of_the_widest_significand():
    value = math.nextafter(2.0, 0)
    n = 1 << 20
    assert exact_sum(np.full(n, value)) == n * unit_sum([value])
    assert exact_sum(np.full(n, -value)) == -n * unit_sum([value])


def test_any_shape_and_none():
    values = np.array([[0.1, 0.2], [0.3, -1e300]])
    assert exact_sum(values) == unit_sum(values.ravel())
    assert exact_sum(np.empty((0, 3))) == 0
    assert exact_sums(np.empty(0), np.empty(0, np.int64), 3) == [0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not all finite"):
        exact_sum(np.array([1.0, bad]))


def test_more_terms_than_a_cell_can_hold_are_refused():
    too_many = np.broadcast_to(np.float64(1), (1 << 26) + 1)
    with pytest.raises(ValueError, match="67108865 values"):
        exact_sums(too_many, too_many, 1)


@given(st.lists(st.tuples(factors, factors), min_size=1, max_size=20))
def test_two_product_leaves_nothing_out(pairs):
    a, b = np.array(pairs).T
    product, error = two_product(a, b)
    assert (product == a * b).all()
    assert (fractions(product) + fractions(error) == fractions(a) * fractions(b)).all()


WEIGHTS = [
    np.array([0.1, 0.2, 0.3, 1e-12, 1e12, 0.0, 7.0, 2.0**-60, 1 / 3]),
    np.random.default_rng(0).uniform(size=200) * 10.0 ** np.arange(-100, 100),
    np.ones(50),
    np.empty(0),
]


@pytest.mark.parametrize("values", WEIGHTS, ids=len)
def test_an_exact_vector_holds_its_numbers(values):
    assert np.array_equal(ExactVector.of(values).to_floats(), values)


@pytest.mark.parametrize("values", WEIGHTS, ids=len)
def test_an_exact_vector_adds_up_as_fractions_do_in_any_order(values):
    random = np.random.default_rng(1)
    groups = random.integers(0, 3, len(values))
    expected = [sum(map(Fraction, values[groups == g]), Fraction(0)) for g in range(3)]
    sums = []
    for cut in (0, len(values) // 3, len(values)):
        order = random.permutation(len(values))
        parts = [
            ExactVector.of(values[p]).grouped(groups[p], 3) for p in (order[:cut], order[cut:])
        ]
        total = ExactVector.joined(parts).grouped(np.tile(np.arange(3), 2), 3)
        exact = [
            sum(int(d) * Fraction(2) ** (32 * (total.lowest + i)) for i, d in enumerate(row))
            for row in total.digits
        ]
        assert exact == expected
        sums.append(total.to_floats().tobytes())
    assert len(set(sums)) == 1
    np.testing.assert_allclose(np.frombuffer(sums[0]), [float(e) for e in expected], rtol=3e-16)
