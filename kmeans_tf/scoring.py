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

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from kmeans_tf.bounds import Doubt, Drift
from kmeans_tf.pages import pages
from kmeans_tf.points import Points
from kmeans_tf.projected import Projected
from kmeans_tf.runtime import full_precision, has_gpu, resident, tf

_FLOOR = 2.0**-80  # added to scores: the label bits of a score of 0 would be flushed to zero
_SMALLEST = 2.0**-90  # a score below this may have lost its label
_UNDERFLOW = 2.0**-78  # the floor and whatever was flushed to zero
_LARGEST = 2.0**90  # |x|**2 and the best score stay below this where a label is proven
_FAR = 2.0**100  # |w|**2 beyond this is only known to be beyond it
_UNIT_ROUNDOFF = 2.0**-24
_TILE_SCORES, _LEAST_TILE = 1 << 20, 64  # of a tile: its scores, and rows that are worth a product
_GPU_SCORES = 1 << 27  # of a tile there: 0.5 GB
_MANY, _BLOCKS = 512, 8  # so many prototypes are worth comparing with in so many blocks
_PIECE_ELEMENTS = 1 << 16  # that are multiplied at once, and stay in cache
_OUTWARD = 2.0**-20  # more than the few roundings on the way to a bound
_MAKING = threading.Lock()  # a program, of which several threads come to need the same at once


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


def score(points: Points, prototypes: Projected, doubt: Doubt | None = None) -> Scored:
    """Scores points against prototypes, k from 2.

    Args:
        doubt: the points that are meant, and what they are compared with; None: all with all.
    """
    capacity, d = points.values.shape
    k, block = len(prototypes), _block_prototypes(len(prototypes))
    drift = None if doubt is None else doubt.drift
    targets = prototypes.once(
        ("in order", drift is None), drift, lambda: _InOrder.of(prototypes, drift, block)
    )
    call = _Call(points, targets.tensors, _program(capacity, d, k), _tile_rows(capacity, k))
    if block == k:
        return call.scored(None if doubt is None else doubt.places)
    if doubt is None:
        beside = np.zeros(capacity, np.int32), np.full(capacity, _FAR / 2, np.float32)
        return call.scored(None, *beside, np.full(capacity // call.tile, -(-k // block), np.int32))
    return _ordered_scored(call, doubt, targets, block)


@dataclass(frozen=True)
class _InOrder:
    """Prototypes as they are scored, in an order.

    Attributes:
        rank: (k,) the place of each.
        factors, constants: (padded, d) and (padded,) float32; what fills the last block is far.
        tensors: these, the prototypes' indices, and G: what a program takes.
    """

    rank: np.ndarray
    factors: np.ndarray
    constants: np.ndarray
    tensors: list

    @classmethod
    def of(cls, prototypes: Projected, drift: Drift | None, block: int) -> "_InOrder":
        """Those that moved farthest first, or as they come; to be scored in blocks."""
        k, d = prototypes.values.shape
        order, padded = np.arange(k) if drift is None else drift.order, k + -k % block
        roundoffs = (d + 12) * _UNIT_ROUNDOFF
        bound = 1.01 * roundoffs / (1 - roundoffs)
        # At a NaN XLA's minimum may be anything, so no score may overflow: a far prototype gets one
        # that is finite, larger than any that is proven and smaller than its distance.
        far = ~(prototypes.squares <= _FAR)
        norms = np.where(far, _FAR / 2, prototypes.squares * (1 - 2 * bound))
        factors = pages((padded, d))
        size = max(1, _PIECE_ELEMENTS // d)
        for start in range(0, k, size):
            some = order[start : start + size]
            factors[start : start + len(some)] = np.where(
                far[some, None], 0.0, -2 * prototypes.values[some]
            )
        rank = np.empty(k, np.int64)
        rank[order] = np.arange(k)
        constants = np.full(padded, _FAR / 2, np.float32)
        constants[:k] = norms[order]
        indices = np.zeros(padded, np.int32)
        indices[:k] = order
        tensors = [
            resident(factors),
            tf.constant(constants),
            tf.constant(indices),
            tf.constant(bound, tf.float32),
        ]
        return cls(rank, factors, constants, tensors)

    def own_scores(self, points: Points, doubt: Doubt) -> np.ndarray:
        """(m,) float32, the scores of points in doubt and their own prototypes."""
        own = self.rank[doubt.own]
        scores = points.squares(doubt.places) + self.constants[own]
        size = max(1, _PIECE_ELEMENTS // self.factors.shape[1])
        for start in range(0, len(scores), size):
            part = slice(start, start + size)
            factors = self.factors.take(own[part], 0)
            scores[part] += np.einsum("ij,ij->i", points.coarse(doubt.places[part]), factors)
        return scores + np.float32(_FLOOR)


@dataclass(frozen=True)
class _Call:
    """What a program is given.

    Attributes:
        points: the points.
        targets: the prototypes, as they are scored.
        program: see `_made`.
        tile: how many points it compares at once.
    """

    points: Points
    targets: list
    program: Callable
    tile: int

    def scored(self, places: np.ndarray | None, *beside: np.ndarray) -> Scored:
        """What scores say of the points at some places (m,), or of all.

        Args:
            beside: where prototypes come in blocks, what the program takes last.
        """
        if places is None:
            rows, values = self.points.rows, (self.points.values, self.points.norms)
        else:
            rows, values = len(places), self.points.some(places)
        tiles = tf.constant(-(-rows // self.tile))
        scored = self.program(*values, *self.targets, tiles, *map(tf.constant, beside))
        return Scored(*(np.asarray(each)[:rows] for each in scored))


def _ordered_scored(call: _Call, doubt: Doubt, targets: _InOrder, block: int) -> Scored:
    """What scores say of points in doubt, those first that are compared with most.

    Args:
        targets: in the order of the doubt.
        block: how many prototypes the program compares at once.
    """
    capacity, k, tile = call.points.values.shape[0], len(targets.rank), call.tile
    own = targets.own_scores(call.points, doubt)
    tight = np.minimum(doubt.upper, np.sqrt(np.maximum(own, 0)))
    doubt = replace(doubt, upper=np.where(doubt.upper < np.inf, tight, doubt.upper))
    blocks = doubt.blocks(block).astype(np.uint8)  # which is sorted soonest
    sort = np.argsort(~blocks, kind="stable")
    of_tiles = blocks[sort[::tile]].astype(np.int32)
    done = np.empty(len(sort), np.int64)
    done[sort] = np.minimum(k, of_tiles.repeat(tile)[: len(sort)] * block)
    beside = np.where(targets.rank[doubt.own] >= done, own, np.float32(_FAR / 2))
    sorted_ = [_padded(each[sort], capacity) for each in (doubt.own, beside)]
    scored = call.scored(doubt.places[sort], *sorted_, _padded(of_tiles, capacity // tile))
    labels, upper, lower = (
        _unsorted(each, sort) for each in (scored.labels, scored.upper, scored.lower)
    )
    rest = doubt.lower(done)
    proven = upper * np.float32(1.0 + _OUTWARD) < rest
    return Scored(labels, np.where(proven, upper, np.float32(np.inf)), np.minimum(lower, rest))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """As many numbers as a program takes."""
    padded = np.zeros(size, values.dtype)
    padded[: len(values)] = values
    return padded


def _unsorted(values: np.ndarray, sort: np.ndarray) -> np.ndarray:
    unsorted = np.empty_like(values)
    unsorted[sort] = values
    return unsorted


def comparisons(doubt: Doubt) -> np.ndarray:
    """(m,) with how many prototypes each point in doubt is compared, but for its tile's others."""
    k = len(doubt.drift.order)
    block = _block_prototypes(k)
    return (
        np.full(len(doubt.places), k) if block == k else np.minimum(k, doubt.blocks(block) * block)
    )


def compile_ahead(capacity: int, d: int, ks: Iterable[int]) -> None:
    """Compiles what scores chunks of such a capacity, in a thread; who needs it waits for it."""
    wanted = [k for k in ks if k > 1]

    def begin() -> None:
        with contextlib.suppress(ImportError):  # who asks for TensorFlow will hear of that
            for k in wanted:
                specs = _arguments(capacity, d, k)
                _program(capacity, d, k)(*(tf.zeros(s.shape, s.dtype) for s in specs))

    threading.Thread(target=begin, name="compile_scores").start()


def _program(capacity: int, d: int, k: int):
    """The program, which is compiled when it is first called."""
    with _MAKING:
        full_precision()  # whoever calls
        return _made(capacity, d, k)


def _tile_rows(rows: int, prototypes: int) -> int:
    """Rows of a tile, so that its (k, tile) scores stay in cache; no more than there are.

    A GPU takes as many as its memory bears: each tile is a start of its own there, which takes
    longer than what it does.
    """
    if has_gpu():
        while rows > _LEAST_TILE and rows * _block_prototypes(prototypes) > _GPU_SCORES:
            rows //= 2
        return rows
    tile = 4096 if prototypes <= 16 else 1024 if prototypes <= 128 else 512
    while tile > _LEAST_TILE and tile * prototypes > _TILE_SCORES:
        tile //= 2
    return min(rows, tile)


def _block_prototypes(k: int) -> int:
    """How many prototypes are compared at once."""
    return k if k < _MANY else -(-k // _BLOCKS)


def _arguments(capacity: int, d: int, k: int) -> "list[tf.TensorSpec]":
    """What a program takes: see `_made`."""
    tiles, padded = capacity // _tile_rows(capacity, k), k + -k % _block_prototypes(k)
    shapes = [(capacity, d), (capacity,), (padded, d), (padded,), (padded,), (), ()]
    types = [tf.float32] * 4 + [tf.int32, tf.float32, tf.int32]
    if _block_prototypes(k) < k:
        shapes += [(capacity,), (capacity,), (tiles,)]
        types += [tf.int32, tf.float32, tf.int32]
    return [tf.TensorSpec(*each) for each in zip(shapes, types, strict=True)]


@cache
def _made(capacity: int, d: int, k: int):
    """One XLA program for the first tiles of a chunk's shape: the three of `Scored`.

    Many prototypes come in blocks, of which a tile is compared with as many as it is told, beside
    each row's own.

    Scores are (block, tile), so that reductions run along the outer axis and vectorise over rows.
    The low bits of a score carry its label: one minimum gives both, and the next smallest score is
    one more minimum with the first masked.
    """
    tile, block = _tile_rows(capacity, k), _block_prototypes(k)
    tiles, blocks = capacity // tile, -(-k // block)
    label_bits = (k - 1).bit_length()
    low = (1 << label_bits) - 1
    packing = 1.001 * 2.0 ** (label_bits - 23)
    infinity = np.float32(np.inf)

    def packed(scores, labels):
        bits = tf.bitwise.bitwise_and(tf.bitcast(scores, tf.int32), ~low)
        return tf.bitcast(tf.bitwise.bitwise_or(bits, labels), tf.float32)

    def two_smallest(x, q, w, norms, labels, own, until):
        """The packed scores of a tile: its rows' own, where there are, and the blocks until one."""

        def body(b, best, second):
            part = tf.slice(w, [b * block, 0], [block, d])
            scores = tf.matmul(part, x, transpose_b=True)
            scores += tf.slice(norms, [b * block], [block])[:, None] + q[None] + _FLOOR
            scores = packed(scores, tf.slice(labels, [b * block], [block])[:, None])
            least = tf.reduce_min(scores, 0)
            next_ = tf.reduce_min(tf.where(scores == least, infinity, scores), 0)
            larger = tf.maximum(best, least)
            return b + 1, tf.minimum(best, least), tf.minimum(larger, tf.minimum(second, next_))

        second = tf.fill([tile], infinity)
        best = second if own is None else packed(*own)
        if blocks == 1:
            return body(0, best, second)[1:]
        loop = 0, best, second
        return tf.while_loop(lambda b, *_: b < until, body, loop, parallel_iterations=1)[1:]

    def bounds_of(best, second, q, bound):
        magnitude, other = tf.abs(best), tf.abs(second)
        margin = packing * (magnitude + other) + bound * (13.0 * q + 10.0 * magnitude)
        proven = (second - best > 1.001 * margin + _UNDERFLOW) & (magnitude > _SMALLEST)
        proven &= (magnitude < _LARGEST) & (q < _LARGEST)
        most = (best + packing * magnitude + 11.0 * bound * q + _UNDERFLOW) * (1.0 + 9.0 * bound)
        least = second - packing * other - 3.0 * bound * q - _UNDERFLOW
        upper = tf.sqrt(tf.maximum(most, 0.0)) * (1.0 + _OUTWARD)
        lower = tf.sqrt(tf.maximum(least, 0.0)) * (1.0 - _OUTWARD)
        labels = tf.bitwise.bitwise_and(tf.bitcast(best, tf.int32), low)
        return labels, tf.where(proven, upper, infinity), lower

    @tf.function(jit_compile=True, autograph=False)
    def program(values, q, w, norms, labels, bound, used, own=None, scores=None, until=None):
        def tile_of(i):
            x, squares = tf.slice(values, [i * tile, 0], [tile, d]), tf.slice(q, [i * tile], [tile])
            if blocks == 1:
                return x, squares, None, 1
            owned = [tf.slice(each, [i * tile], [tile]) for each in (scores, own)]
            return x, squares, owned, until[i]

        def body(i, *arrays):
            x, squares, owned, last = tile_of(i)
            best, second = two_smallest(x, squares, w, norms, labels, owned, last)
            scored = bounds_of(best, second, squares, bound)
            return i + 1, *(a.write(i, each) for a, each in zip(arrays, scored, strict=True))

        types = (tf.int32, tf.float32, tf.float32)
        arrays = [tf.TensorArray(t, tiles, element_shape=[tile]) for t in types]
        _, *arrays = tf.while_loop(
            lambda i, *_: i < used, body, [0, *arrays], parallel_iterations=1
        )
        return [each.concat() for each in arrays]

    specs = _arguments(capacity, d, k)
    program.get_concrete_function(*specs)  # at calls that trace TensorFlow would warn
    return program
