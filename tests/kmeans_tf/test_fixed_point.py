import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_tf.fixed_point import CHUNK_BITS, LIMB_BITS, FixedPoint, ceil_power_of_two, limb_bits
from tests.kmeans_tf.build import fractions


@st.composite
def columns(draw):
    """bits, finest quanta (d,), largest (d,), and values (n, d) that are float32 multiples."""
    bits = draw(st.integers(4, LIMB_BITS))
    d = draw(st.integers(1, 4))
    n = draw(st.integers(1, 6))
    finest, largest, values = [], [], []
    for _ in range(d):
        quantum = 2.0 ** draw(st.integers(-60, 10))
        width = draw(st.integers(0, 70))
        top = draw(st.integers(1, 2**24 - 1)) * 2.0 ** max(0, width - 24)
        column = []
        for _ in range(n):
            shift = draw(st.integers(0, max(0, width - 24)))
            column.append(draw(st.integers(-(2**24) + 1, 2**24 - 1)) * 2.0**shift)
        finest.append(quantum)
        largest.append(top * quantum)
        values.append(np.clip(column, -top, top) * quantum)
    return bits, np.array(finest), np.array(largest), np.array(values).T


@given(columns())
def test_limbs_hold_the_numbers_exactly(case):
    bits, finest, largest, values = case
    plan = FixedPoint.plan(largest, finest, bits)
    limbs = plan.split(values)
    # Each limb is a whole number of its quantum, of at most `bits` bits.
    whole = limbs / plan.quantum
    assert (whole == np.rint(whole)).all()
    assert np.abs(whole).max() <= 2.0**bits
    # The limbs of a column add up to it, one by one and through counts.
    for j in range(values.shape[1]):
        assert (fractions(limbs)[:, plan.column == j].sum(1) == fractions(values)[:, j]).all()
    assert (plan.join(plan.count(limbs)) == values).all()
    assert (plan.round(values) == values).all()


@pytest.mark.parametrize("bits", [40, 53, 54, 62])
@pytest.mark.parametrize("limbs", [1, 2])
def test_counts_of_any_size_are_joined_and_rounded_once(bits, limbs):
    random = np.random.default_rng(bits)
    column, quantum = np.repeat([0, 1], limbs), 2.0 ** -np.arange(2.0 * limbs)
    plan = FixedPoint(column, quantum)
    counts = random.integers(-(2**bits), 2**bits, (50, 2 * limbs))
    counts[0] = 0
    exact = counts.astype(object) * np.array([Fraction(q) for q in quantum.tolist()])
    expected = [[float(sum(row[column == j])) for j in range(2)] for row in exact]
    assert plan.join(counts).tolist() == expected


@given(columns())
def test_sums_of_limbs_are_the_sums_of_the_numbers(case):
    bits, finest, largest, values = case
    plan = FixedPoint.plan(largest, finest, bits)
    counts = plan.count(plan.split(values).sum(0, keepdims=True))
    total = [Fraction(0)] * len(finest)
    for j, quantum, count in zip(plan.column, plan.quantum, counts[0], strict=True):
        total[j] += Fraction(float(quantum)) * int(count)
    assert total == list(fractions(values).sum(0))


def test_a_column_of_wide_range_gets_more_limbs_than_one_beside_it():
    plan = FixedPoint.plan(np.array([1e9, 1.0]), np.array([2.0**-30, 2.0**-35]), 35)
    assert plan.column.tolist() == [0, 0, 1]
    assert plan.quantum.tolist() == [2.0**5, 2.0**-30, 2.0**-35]
    values = np.array([[1e9, 0.5], [2.0**-30, -1.0], [-1e9, 2.0**-35]])
    joined = plan.join(plan.count(plan.split(values).sum(0, keepdims=True)))
    assert joined.tolist() == [[2.0**-30, -0.5 + 2.0**-35]]


def test_one_limb_a_column_is_no_copy():
    plan = FixedPoint.plan(np.ones(3), np.full(3, 2.0**-35), 35)
    values = np.zeros((4, 3))
    assert plan.split(values) is values


def test_a_column_of_zeros_has_a_limb():
    plan = FixedPoint.plan(np.array([0.0, 1.0]), np.array([1.0, 0.5]), 35)
    assert plan.column.tolist() == [0, 1]


@given(
    st.floats(-1e3, 1e3),
    st.floats(0.0, 1e-3),
)
def test_round_is_to_the_finest_quantum_of_each_column(a, b):
    plan = FixedPoint.plan(np.array([1e3, 1e-3]), np.array([2.0**-40, 0.25]), 35)
    rounded = plan.round(np.array([[a, b]]))[0]
    for value, result, quantum in ((a, rounded[0], 2.0**-40), (b, rounded[1], 0.25)):
        assert result / quantum == round(Fraction(value) / Fraction(quantum))


@given(st.integers(1, 31), st.integers(0, 57))
def test_limb_bits_leave_room_for_a_chunk_and_for_all_rows(weight_bits, total_bits):
    total = 1 << total_bits
    bits = limb_bits(weight_bits, total)
    heaviest = (1 << weight_bits) - 1
    assert (1 << CHUNK_BITS) * heaviest * (1 << bits) <= 1 << 53
    assert total * (1 << bits) <= (1 << 63) - 1
    wider = bits + 1
    assert bits == LIMB_BITS or not (
        (1 << CHUNK_BITS) * (1 << weight_bits) * (1 << wider) <= 1 << 53
        and 2 * total * (1 << wider) <= 1 << 62
    )


@pytest.mark.parametrize("weight_bits, total", [(1, 1 << 58), (38, 1)])
def test_too_much_weight_is_refused(weight_bits, total):
    with pytest.raises(ValueError, match="too large to be exact"):
        limb_bits(weight_bits, total)


@given(st.floats(min_value=5e-324, max_value=8e307))
def test_ceil_power_of_two(value):
    power = ceil_power_of_two(value)
    assert math.frexp(power)[0] == 0.5
    assert power >= value
    assert Fraction(power) / 2 < Fraction(value)
