"""The fast path to labels: float32 scores, compiled by XLA, and bounds that prove what they say.

Scores of tiles of points are one matrix product each. With q = |x|**2, computed scores s_k and true
squared distances D_k, let s_k = |w_k|**2 (1 - 2G) - 2 x.w_k + q, where G >= gamma_(d+12) bounds the
relative error of a dot product of d + O(1) terms (Higham 2002, section 3.1). The error of s_k is at
most G (|x| + |w_k|)**2 <= 2G (q + |w_k|**2), and the constant has the prototype's share taken off,
so

    D_k >= s_k - 2G q                                         for every k,
    D_1 <= s_1 + 2G q + 4G |w_1|**2 <= (s_1 + 10G q)(1 + 9G)   as |w_1|**2 <= 2q + 2 D_1.

Hence s_2 - s_1 > 13G q + 10G |s_1| proves that the smallest score has the smallest distance.
A distant outlier among the prototypes does not widen it.

The product sees float32 numbers x of what is really x + e, |e| <= 2**-24 |x|: an encoded row, or
the coarse half of a point. That moves a distance by 2 e.x + |e|**2, the same for every prototype,
and by 2 e.w_k, at most 2**-24 (q + |w_k|**2), which two of the twelve roundings in G are for. The
first matters only where a distance itself is bounded, and is less than G q.

Directions that were rounded to float64 leave a distance in doubt by up to 2 h sqrt(D_k) + h**2,
where h is what rounding moved row and prototype by. A larger q, by (h/G)**2, covers it: the first
term is at most G/4 D_k + 4 h**2 / G, and the bound has G q and G |s_1| to spare.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from kmeans_tf.points import Points
from kmeans_tf.runtime import full_precision, tf

_FLOOR = 2.0**-80  # added to scores: the label bits of a score of 0 would be flushed to zero
_SMALLEST = 2.0**-90  # a score below this may have lost its label
_UNDERFLOW = 2.0**-78  # the floor and whatever was flushed to zero
_LARGEST = 2.0**90  # |x|**2 and the best score stay below this where a label is proven
_FAR = 2.0**100  # |w|**2 beyond this is only known to be beyond it
_UNIT_ROUNDOFF = 2.0**-24
_TILE_SCORES, _LEAST_TILE = 1 << 20, 64  # of a tile: its scores, and rows that are worth a product
_OUTWARD = 2.0**-20  # more than the few roundings on the way to a bound


@dataclass(frozen=True)
class Scored:
    """What scores say of m points.

    Attributes:
        labels: (m,) int32, of the smallest score.
        upper: (m,) float32, at least the distance to its prototype; infinite where it is not proven
            that the label is the nearest prototype's.
        lower: (m,) float32, at most the distance to any other prototype.
    """

    labels: np.ndarray
    upper: np.ndarray
    lower: np.ndarray

    @property
    def unsure(self) -> np.ndarray:
        """The places of the labels that are not proven."""
        return np.flatnonzero(self.upper == np.inf)


def score(points: Points, prototypes: np.ndarray, places: np.ndarray | None = None) -> Scored:
    """Scores points against prototypes (k, d) float64, k from 2.

    Args:
        places: (m,) of the points that are meant; None for all.
    """
    capacity, d = points.values.shape
    roundoffs = (d + 12) * _UNIT_ROUNDOFF
    bound = 1.01 * roundoffs / (1 - roundoffs)
    norms = (prototypes * prototypes).sum(1)
    # At a NaN XLA's minimum may be anything, so no score may overflow: a far prototype gets one
    # that is finite, larger than any that is proven and smaller than its distance.
    far = ~(norms <= _FAR)
    prototypes = np.where(far[:, None], 0.0, prototypes)
    norms = np.where(far, _FAR / 2, norms * (1 - 2 * bound))
    count = points.rows if places is None else len(places)
    chosen: tuple[tf.Tensor, ...] = ()
    if places is not None:
        padded = np.zeros(capacity, np.int32)
        padded[:count] = places
        chosen = (tf.constant(padded),)
    full_precision()  # whoever calls: a program is compiled when it is first called
    program = _program(capacity, d, len(prototypes), bool(chosen))
    scored = program(
        points.values,
        points.norms,
        tf.constant(-2 * prototypes, tf.float32),
        tf.constant(norms, tf.float32),
        tf.constant(bound, tf.float32),
        tf.constant(-(-count // _tile_rows(capacity, len(prototypes)))),
        *chosen,
    )
    return Scored(*(np.asarray(each)[:count] for each in scored))


def _tile_rows(rows: int, prototypes: int) -> int:
    """Rows of a tile, so that its (k, tile) scores stay in cache; no more than there are."""
    tile = 4096 if prototypes <= 16 else 1024 if prototypes <= 128 else 512
    while tile > _LEAST_TILE and tile * prototypes > _TILE_SCORES:
        tile //= 2
    return min(rows, tile)


@cache
def _program(capacity: int, d: int, k: int, some: bool):
    """One XLA program for all tiles of a chunk, or for some of its rows: the three of `Scored`.

    Scores are (k, tile), so that reductions run along the outer axis and vectorise over rows. The
    low bits of a score carry its label: one minimum gives both, and the next smallest score is
    one more minimum with the first masked.
    """
    tile = _tile_rows(capacity, k)
    tiles = capacity // tile
    label_bits = (k - 1).bit_length()
    low = (1 << label_bits) - 1
    packing = 1.001 * 2.0 ** (label_bits - 23)

    def tile_scored(x, q, w, norms, bound):
        scores = tf.matmul(w, x, transpose_b=True) + norms[:, None] + q[None] + _FLOOR
        bits = tf.bitwise.bitwise_and(tf.bitcast(scores, tf.int32), ~low)
        bits = tf.bitwise.bitwise_or(bits, tf.range(k)[:, None])
        scores = tf.bitcast(bits, tf.float32)
        best = tf.reduce_min(scores, 0)
        second = tf.reduce_min(tf.where(scores == best, np.float32(np.inf), scores), 0)
        magnitude, other = tf.abs(best), tf.abs(second)
        margin = packing * (magnitude + other) + bound * (13.0 * q + 10.0 * magnitude)
        proven = (second - best > 1.001 * margin + _UNDERFLOW) & (magnitude > _SMALLEST)
        proven &= (magnitude < _LARGEST) & (q < _LARGEST)
        most = (best + packing * magnitude + 11.0 * bound * q + _UNDERFLOW) * (1.0 + 9.0 * bound)
        least = second - packing * other - 3.0 * bound * q - _UNDERFLOW
        upper = tf.sqrt(tf.maximum(most, 0.0)) * (1.0 + _OUTWARD)
        lower = tf.sqrt(tf.maximum(least, 0.0)) * (1.0 - _OUTWARD)
        labels = tf.bitwise.bitwise_and(tf.bitcast(best, tf.int32), low)
        return labels, tf.where(proven, upper, np.float32(np.inf)), lower

    @tf.function(jit_compile=True, autograph=False)
    def program(values, q, w, norms, bound, used, places=None):
        def tile_of(i):
            if places is None:
                return tf.slice(values, [i * tile, 0], [tile, d]), tf.slice(q, [i * tile], [tile])
            those = tf.slice(places, [i * tile], [tile])
            return tf.gather(values, those), tf.gather(q, those)

        def body(i, *arrays):
            x, squares = tile_of(i)
            scored = tile_scored(x, squares, w, norms, bound)
            return i + 1, *(a.write(i, each) for a, each in zip(arrays, scored, strict=True))

        types = (tf.int32, tf.float32, tf.float32)
        arrays = [tf.TensorArray(t, tiles, element_shape=[tile]) for t in types]
        _, *arrays = tf.while_loop(
            lambda i, *_: i < used, body, [0, *arrays], parallel_iterations=1
        )
        return [each.concat() for each in arrays]

    numbers = [(capacity, d), (capacity,), (k, d), (k,), ()]
    specs = [tf.TensorSpec(shape, tf.float32) for shape in numbers] + [tf.TensorSpec((), tf.int32)]
    specs += [tf.TensorSpec((capacity,), tf.int32)] * some
    program.get_concrete_function(*specs)  # at calls that trace TensorFlow would warn
    return program
