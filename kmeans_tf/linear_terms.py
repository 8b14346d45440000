"""What the cost of prototypes has beside the points' squares, exactly, from sums over the points.

Prototypes are cut into digits and sums into pieces, whole numbers small enough that products of
some of them add up in float64 without rounding, in any order.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from operator import mul

import numpy as np

from kmeans_tf.exact import float_halves, power, units
from kmeans_tf.layout import SumLayout
from kmeans_tf.stats import ClusterStats

_DIGIT_BITS, _PIECE_BITS = 24, 21  # of signed numbers: they are 2**23 and 2**20 at most
_COLUMNS = 1 << 7  # 2**7 squares of digits, ...
_ROWS = 1 << 8  # ... and 2**8 products of a digit and a piece are 2**53 at most; all stay in cache
_BLOCKS = 1 << 5  # of columns, or of rows: all that has one exponent in them adds up in int64
_LEAST_EXPONENT = -1074  # of which every float64 is a multiple

Digits = list[tuple[int, np.ndarray]]


def linear_terms(layout: SumLayout, prototypes: np.ndarray, stats: ClusterStats) -> int:
    """sum_k (n_k |u_k|**2 - 2 u_k . s_k), exactly but for what is below a unit.

    Args:
        layout: of the sums.
        prototypes: u, (k, d) float64 in the points' units.
        stats: n, the weights, and s, the sums, of the points by prototype.

    Returns:
        A whole number of units; see `kmeans_tf.exact`.
    """
    top = math.frexp(float(np.abs(prototypes).max(initial=0.0)))[1]
    highest = max(int(stats.sums.max(initial=0)), -int(stats.sums.min(initial=0))).bit_length()
    k, limbs = len(prototypes), len(layout.limbs.column)
    weights = [power(quantum) for quantum in layout.weights.quantum]
    squares: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(k, np.int64))
    total = 0
    for place, block in enumerate(layout.limbs.blocks(_COLUMNS)):
        products: dict[tuple[int, int], np.ndarray] = {}
        for start in range(0, k, _ROWS):
            rows = slice(start, start + _ROWS)
            digits = _digits(prototypes[rows, block.columns], top, _DIGIT_BITS)
            for exponent, part in _row_squares(digits):
                squares[exponent, place // _BLOCKS][rows] += part
            spread = [(exponent, block.limbs.spread(digit)) for exponent, digit in digits]
            for weight, first in zip(weights, range(0, stats.sums.shape[1], limbs), strict=True):
                places = slice(first + block.places.start, first + block.places.stop)
                for exponent, part in _dots(spread, stats.sums[rows, places], highest):
                    several = exponent + weight, start // (_ROWS * _BLOCKS)
                    products[several] = products.get(several, 0) + part
        for (exponent, _), counts in products.items():
            for quantum, count in zip(block.limbs.quantum, counts.tolist(), strict=True):
                total -= units(2 * count, exponent + power(quantum))
    for (exponent, _), lengths in squares.items():
        for weight, counts in zip(weights, stats.weight.T, strict=True):
            total += units(sum(map(mul, counts.tolist(), lengths.tolist())), exponent + weight)
    return total


def _digits(values: np.ndarray, top: int, bits: int) -> Digits:
    """Digits of values below 2**top, as many as they have, the highest first: 2**exponent each."""
    exponent, rest, digits = top - bits + 1, values, []
    while rest.max() > 0 or rest.min() < 0:
        exponent = max(exponent, _LEAST_EXPONENT)
        scale = math.ldexp(1.0, exponent)
        digit = rest / scale
        np.rint(digit, out=digit)
        digits.append((exponent, digit))
        rest = rest - digit * scale
        exponent -= bits
    return digits


def _row_squares(digits: Digits) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of what squares add up to in each row (k,) int64, 2**exponent each."""
    for i, (coarse, first) in enumerate(digits):
        for fine, second in digits[i:]:
            twice = int(second is not first)
            summed = np.einsum("kd,kd->k", first, second)
            yield coarse + fine + twice, summed.astype(np.int64)


def _dots(digits: Digits, counts: np.ndarray, top: int) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of what products with counts add up to in each column (d,) int64, 2**exponent each."""
    for half in float_halves(counts):
        for fine, piece in _digits(half, top, _PIECE_BITS):
            for coarse, digit in digits:
                yield coarse + fine, np.einsum("kd,kd->d", digit, piece).astype(np.int64)
