"""Which prototype a row, or a point, belongs to.

The definition of a label: the argmin over the prototypes of the float64 squared distance, ties to
the lowest index; see `kmeans_tf.definition`. (For a metric of another form: the argmin of its
float64 cost.) `assign_rows` has it for rows in the input's units, `assign` for the points that a
training adds up.

The fast path scores tiles of rows with one float32 matrix product each, compiled by XLA, and
proves with a rounding bound which labels are the definition's. Only the others are resolved in
float64. So a label depends on the row and the prototypes alone, not on the tile, the threads or
the instruction set. Resolving is never compiled by XLA, which contracts to fused multiply-adds.

The bound. With q = |x|**2, computed scores s_k and true distances D_k, let
s_k = |w_k|**2 (1 - 2G) - 2 x.w_k + q, where G >= gamma_(d+12) bounds the relative error of a dot
product of d + O(1) terms (Higham 2002, section 3.1). The error of s_k is at most
G (|x| + |w_k|)**2 <= 2G (q + |w_k|**2), and the constant has the prototype's share taken off, so

    D_k >= s_k - 2G q                                         for every k,
    D_1 <= s_1 + 2G q + 4G |w_1|**2 <= (s_1 + 10G q)(1 + 9G)   as |w_1|**2 <= 2q + 2 D_1.

Hence s_2 - s_1 > 13G q + 10G |s_1| proves that the smallest score has the smallest distance.
A distant outlier among the prototypes does not widen it.

The product sees float32 numbers x of what is really x + e, |e| <= 2**-24 |x|: an encoded row, or
the coarse half of a point. That moves a distance by 2 e.x + |e|**2, the same for every prototype,
and by 2 e.w_k, at most 2**-24 (q + |w_k|**2), which two of the twelve roundings in G are for.

Directions that were rounded to float64 leave a distance in doubt by up to 2 h sqrt(D_k) + h**2,
where h is what rounding moved row and prototype by. A larger q, by (h/G)**2, covers it: the first
term is at most G/4 D_k + 4 h**2 / G, and the bound has G q and G |s_1| to spare.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from kmeans_tf.definition import Compared, Parts, labels_by_definition, squared_distances
from kmeans_tf.encoding import Encoding
from kmeans_tf.metrics import Metric
from kmeans_tf.points import Points, chunk_rows
from kmeans_tf.runtime import tf

_FLOOR = 2.0**-80  # added to scores: the label bits of a score of 0 would be flushed to zero
_SMALLEST = 2.0**-90  # a score below this may have lost its label
_UNDERFLOW = 2.0**-78  # the floor and whatever was flushed to zero
_LARGEST = 2.0**90  # |x|**2 and the best score stay below this where a label is proven
_FAR = 2.0**100  # |w|**2 beyond this is only known to be beyond it
_UNIT_ROUNDOFF = 2.0**-24
_RESOLVE_ELEMENTS = 1 << 20
_TURNED = 2.0**-52  # what rounding moves directions by, of rows and of prototypes together ...
_TURNED_OVER_BOUND = 2.0**-30  # ... and more than that over G
_COST_TILE = 1 << 12  # rows whose costs are found at once


@np.errstate(over="ignore", invalid="ignore")  # what overflows is far from everything
def assign(metric: Metric, points: Points, prototypes: np.ndarray) -> np.ndarray:
    """Labels (n,) int32: the index of each point's prototype, by the definition above.

    Args:
        metric: what to compare with.
        points: n points.
        prototypes: (k, d) float64, in the points' units.
    """
    if not metric.sums_suffice:
        return _assign_by_cost(metric, points.array, prototypes)
    projected = metric.project(prototypes)
    if len(projected) == 1:
        return np.zeros(points.rows, np.int32)
    labels, unsure = fast_labels(points, projected)
    if len(unsure):
        labels[unsure] = resolve(points.take(unsure), projected)
    return labels


def assign_rows(
    metric: Metric, rows: Compared, targets: Compared, factors: np.ndarray
) -> np.ndarray:
    """Labels (n,) int32: the index of each row's target, by the definition above.

    Args:
        metric: what to compare with.
        rows: n of them, at most 2**16.
        targets: k.
        factors: (d,) float64, of the differences before they are squared.
    """
    if not metric.sums_suffice:
        return _assign_by_cost(metric, rows.values, targets.values)
    if len(targets) == 1:
        return np.zeros(len(rows), np.int32)
    encoding = Encoding.around(targets.values, factors)
    encoded = encoding.encode_prototypes(targets.values)
    points = Points.encode(encoding, rows.values)
    turned = encoding.unit if metric.normalize else 0.0
    if turned:
        points = points.with_norms((turned * _TURNED_OVER_BOUND) ** 2)
    labels, unsure = fast_labels(points, encoded)
    if len(unsure):
        exactly = targets.parts()
        labels[unsure] = resolve(
            encoding.encode_prototypes(rows.values[unsure]),
            encoded,
            lambda places: labels_by_definition(rows.parts(unsure[places]), exactly, factors),
            turned * _TURNED,
        )
    return labels


def fast_labels(points: Points, prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) int32, and the indices of those that are not proven."""
    capacity, d = points.values.shape
    roundoffs = (d + 12) * _UNIT_ROUNDOFF
    bound = 1.01 * roundoffs / (1 - roundoffs)
    norms = (prototypes * prototypes).sum(1)
    # At a NaN XLA's minimum may be anything, so no score may overflow: a far prototype gets one
    # that is finite, larger than any that is proven and smaller than its distance.
    far = ~(norms <= _FAR)
    prototypes = np.where(far[:, None], 0.0, prototypes)
    norms = np.where(far, _FAR / 2, norms * (1 - 2 * bound))
    program = _scoring_program(capacity, d, len(prototypes))
    labels, unsure = program(
        points.values,
        points.norms,
        tf.constant(-2 * prototypes, tf.float32),
        tf.constant(norms, tf.float32),
        tf.constant(bound, tf.float32),
        tf.constant(-(-points.rows // _tile_rows(capacity, len(prototypes)))),
    )
    unsure = np.flatnonzero(unsure.numpy()[: points.rows])
    return labels.numpy()[: points.rows].copy(), unsure


def resolve(
    points: np.ndarray,
    prototypes: np.ndarray,
    by_definition: Callable[[np.ndarray], np.ndarray] | None = None,
    turned: float = 0.0,
) -> np.ndarray:
    """The definition's labels (n,) int32; a float64 product decides nearly all of them.

    Args:
        points: (n, d) float64.
        prototypes: (k, d) float64.
        by_definition: the labels of those at some places (m,); None: of the points themselves.
        turned: what rounding may have moved points and prototypes by.
    """
    labels = np.empty(len(points), np.int32)
    tile = max(1, _RESOLVE_ELEMENTS // len(prototypes))
    for start in range(0, len(points), tile):
        nearest, unsure = _product_labels(points[start : start + tile], prototypes, turned)
        if len(unsure):
            places = start + unsure
            nearest[unsure] = (
                by_definition(places)
                if by_definition
                else labels_by_definition(Parts(points[places]), Parts(prototypes))
            )
        labels[start : start + tile] = nearest
    return labels


def assigned_costs(
    metric: Metric, points: np.ndarray, projected: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Costs (n,) float64 of (n, d) points against the projected (k, d) prototypes of their labels.

    Points are near zero by their encoding, so that their squares are safe.
    """
    if not metric.sums_suffice:
        chosen = tf.constant(projected[labels])
        return metric.cost(tf.constant(points, tf.float64), chosen).numpy()
    return metric.scale * squared_distances(
        Parts(points), Parts(projected), lambda x, w: x - w[labels]
    )


def nearest(
    metric: Metric, points: np.ndarray, prototypes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (m,) int32 of any number of points (m, d) float64, and costs (m,) float64."""
    targets, size = metric.project(prototypes), chunk_rows(points.shape[1])
    labels, costs = np.empty(len(points), np.int32), np.empty(len(points))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        labels[part] = assign(metric, Points.of(points[part]), prototypes)
        costs[part] = assigned_costs(metric, points[part], targets, labels[part])
    return labels, costs


def _product_labels(
    points: np.ndarray, prototypes: np.ndarray, turned: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) int32 by a float64 product, and the indices of those that are not proven."""
    norms = (prototypes * prototypes).sum(1)
    scores = norms - 2 * (points @ prototypes.T)
    labels = scores.argmin(1).astype(np.int32)
    row = np.arange(len(points))
    best = scores[row, labels].copy()
    scores[row, labels] = np.inf
    reach = np.sqrt((points * points).sum(1)) + np.sqrt(norms.max())
    bound = (points.shape[1] + 14) * 2.0**-52 * reach * reach + 2 * turned * (reach + turned)
    return labels, np.flatnonzero(~(scores.min(1) - best > 4 * bound))


def _tile_rows(rows: int, prototypes: int) -> int:
    """Rows of a tile, so that its (k, tile) scores stay in cache; no more than there are."""
    return min(rows, 4096 if prototypes <= 16 else 1024 if prototypes <= 128 else 512)


@cache
def _scoring_program(capacity: int, d: int, k: int):
    """One XLA program for all tiles of a chunk: labels (capacity,) and whether they are unsure.

    Scores are (k, tile), so that reductions run along the outer axis and vectorise over rows. The
    low bits of a score carry its label: one minimum gives both, and the next smallest score is
    one more minimum with the first masked.
    """
    tile = _tile_rows(capacity, k)
    tiles = capacity // tile
    label_bits = (k - 1).bit_length()
    low = (1 << label_bits) - 1
    packing = 1.001 * 2.0 ** (label_bits - 23)

    def tile_labels(x, q, w, norms, bound):
        scores = tf.matmul(w, x, transpose_b=True) + norms[:, None] + q[None] + _FLOOR
        bits = tf.bitwise.bitwise_and(tf.bitcast(scores, tf.int32), ~low)
        bits = tf.bitwise.bitwise_or(bits, tf.range(k)[:, None])
        scores = tf.bitcast(bits, tf.float32)
        best = tf.reduce_min(scores, 0)
        second = tf.reduce_min(tf.where(scores == best, np.float32(np.inf), scores), 0)
        magnitude = tf.abs(best)
        margin = packing * (magnitude + tf.abs(second)) + bound * (13.0 * q + 10.0 * magnitude)
        proven = (second - best > 1.001 * margin + _UNDERFLOW) & (magnitude > _SMALLEST)
        proven &= (magnitude < _LARGEST) & (q < _LARGEST)
        return tf.bitwise.bitwise_and(tf.bitcast(best, tf.int32), low), ~proven

    @tf.function(jit_compile=True, autograph=False)
    def program(values, q, w, norms, bound, used):
        def body(i, labels, unsure):
            x = tf.slice(values, [i * tile, 0], [tile, d])
            nearest, doubt = tile_labels(x, tf.slice(q, [i * tile], [tile]), w, norms, bound)
            return i + 1, labels.write(i, nearest), unsure.write(i, doubt)

        arrays = [tf.TensorArray(t, tiles, element_shape=[tile]) for t in (tf.int32, tf.bool)]
        _, labels, unsure = tf.while_loop(
            lambda i, *_: i < used, body, [0, *arrays], parallel_iterations=1
        )
        return labels.concat(), unsure.concat()

    return program


def _assign_by_cost(metric: Metric, values: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    program = _cost_program(metric)
    prototypes = tf.constant(prototypes, tf.float64)
    tile = _COST_TILE
    tiles = [
        program(tf.constant(values[a : a + tile], tf.float64), prototypes).numpy()
        for a in range(0, len(values), tile)
    ]
    return np.concatenate([np.empty(0, np.int32), *tiles])


@cache
def _cost_program(metric: Metric):
    """(n, d) points against (k, d) prototypes, one prototype at a time: never n x d x k."""

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2,
    )
    def program(points, prototypes):
        def body(k, best, labels):
            cost = metric.costs_to(points, prototypes[k])
            closer = cost < best
            return k + 1, tf.where(closer, cost, best), tf.where(closer, k, labels)

        n = tf.shape(points)[0]
        start = (0, tf.fill([n], np.float64(np.inf)), tf.zeros([n], tf.int32))
        return tf.while_loop(lambda k, *_: k < tf.shape(prototypes)[0], body, start)[2]

    return program
