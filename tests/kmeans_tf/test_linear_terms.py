"""The cost's terms against fractions."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kmeans_tf import get_metric
from kmeans_tf.exact import UNIT_BITS
from kmeans_tf.fixed_point import FixedPoint
from kmeans_tf.layout import SumLayout
from kmeans_tf.linear_terms import linear_terms
from kmeans_tf.stats import ClusterStats
from kmeans_tf.summary import Summary

ONE = FixedPoint(np.zeros(1, np.int64), np.array([0.25]))
THREE = FixedPoint(np.zeros(3, np.int64), 2.0 ** np.array([10, -10, -30]))


def layout_of(limbs: FixedPoint, weights: FixedPoint) -> SumLayout:
    rows = np.arange(2.0)[:, None]
    summary = Summary.of(rows, np.ones(2), np.ones(2, bool), seed=0, capacity=2)
    fitted = SumLayout.fit(summary, get_metric("sqeuclidean"), standard=False, impute=False)
    return replace(fitted, limbs=limbs, weights=weights)


def limbs_of(features: int, most: int) -> FixedPoint:
    """One to `most` limbs a column."""
    counts = np.arange(features) % most + 1
    column = np.repeat(np.arange(features), counts)
    return FixedPoint(column, 2.0 ** -(20.0 + np.arange(len(column)) % 50))


def expected(layout: SumLayout, prototypes: np.ndarray, stats: ClusterStats) -> Fraction:
    limbs, total = layout.limbs.times(layout.weights), Fraction(0)
    for u, weight, sums in zip(prototypes.tolist(), stats.weight, stats.sums, strict=True):
        square = sum(Fraction(value) ** 2 for value in u)
        for count, quantum in zip(weight.tolist(), layout.weights.quantum.tolist(), strict=True):
            total += count * Fraction(quantum) * square
        parts = zip(sums.tolist(), limbs.column.tolist(), limbs.quantum.tolist(), strict=True)
        for count, column, quantum in parts:
            total -= 2 * count * Fraction(quantum) * Fraction(u[column])
    return total


def spread(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Numbers of some thirty orders of magnitude, zeros and the ends of the range among them."""
    values = random.normal(0, 1, shape) * np.exp(random.normal(0, 12, shape))
    values.ravel()[::7] = 0.0
    values.ravel()[1:4] = 5e-324, -1e-300, 1e100
    return values


def check(layout: SumLayout, prototypes: np.ndarray, sums: np.ndarray, weight: np.ndarray) -> None:
    """What is below a unit is left out, of each part of the sum."""
    stats = ClusterStats(np.zeros(len(sums), np.int64), weight, sums)
    found = Fraction(linear_terms(layout, prototypes, stats), 1 << UNIT_BITS)
    assert abs(found - expected(layout, prototypes, stats)) < Fraction(1, 1 << (UNIT_BITS - 30))


@pytest.mark.parametrize("weights", [ONE, THREE], ids=["counts", "weights"])
@pytest.mark.parametrize("most", [1, 3], ids=["a limb", "limbs"])
@pytest.mark.parametrize("shape", [(5, 3), (300, 2), (3, 400)], ids=str)  # beyond a block
@pytest.mark.parametrize("bits", [20, 61])
def test_they_are_those_of_fractions(shape, most, weights, bits):
    random = np.random.default_rng(bits)
    limbs = limbs_of(shape[1], most)
    size = len(limbs.column) * len(weights.column)
    sums = random.integers(-(2**bits), 2**bits, (shape[0], size))
    weight = random.integers(0, 2**bits, (shape[0], len(weights.column)))
    check(layout_of(limbs, weights), spread(random, shape), sums, weight)


@pytest.mark.parametrize("sign", [1, -1])
def test_they_are_exact_where_all_are_the_largest(sign):
    random = np.random.default_rng(0)
    prototypes = 1.0 - random.integers(1, 1 << 43, (600, 300)) * 2.0**-53
    sums = sign * (2**62 - random.integers(1, 1 << 52, (600, 300)))
    weight = np.full((600, 1), 2**62 - 1)
    check(layout_of(limbs_of(300, 1), ONE), prototypes, sums, weight)


def test_they_are_exact_for_a_million_prototypes():
    """All digits and pieces are the largest, so that sums of all would not fit in an int64."""
    k, u, s = 1 << 20, (2.0**23 - 0.5) * 2.0**-23, 2**42 - 1
    stats = ClusterStats(np.zeros(k, np.int64), np.full((k, 1), 3), np.full((k, 1), s))
    layout = layout_of(FixedPoint(np.zeros(1, np.int64), np.ones(1)), ONE)
    each = Fraction(3, 4) * Fraction(u) ** 2 - 2 * s * Fraction(u) * Fraction(1, 4)
    found = linear_terms(layout, np.full((k, 1), u), stats)
    assert Fraction(found, 1 << UNIT_BITS) == k * each


def test_nothing_adds_up_to_nothing():
    layout, none = layout_of(limbs_of(2, 1), ONE), np.zeros((3, 2), np.int64)
    stats = ClusterStats(none[:, 0], none[:, :1], none)
    assert linear_terms(layout, np.ones((3, 2)), stats) == 0
    assert linear_terms(layout, np.zeros((3, 2)), replace(stats, sums=none + 5)) == 0


def test_prototypes_may_be_the_smallest_numbers():
    """Whose digits' squares are no float64 numbers."""
    prototypes = np.array([[1e-200, 3e-200], [2.0**-520, 0.0], [5e-324, 2.0**-1050]])
    check(layout_of(limbs_of(2, 1), ONE), prototypes, np.full((3, 2), 3), np.full((3, 1), 7))
