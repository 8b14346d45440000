"""Which prototype a row, or a point, belongs to.

The definition of a label: the argmin over the prototypes of the float64 squared distance, ties to
the lowest index; see `kmeans_tf.definition`. (For a metric of another form: the argmin of its
float64 cost.) `assign_rows` has it for rows in the input's units, `assign` for the points that a
training adds up.

Scores in float32 prove most labels, see `kmeans_tf.scoring`. Only the others are resolved in
float64, and all where they are so few that no program is worth compiling. So a label depends on the
row and the prototypes alone, not on the tile, the threads or the instruction set. Resolving is
never compiled by XLA, which contracts to fused multiply-adds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from kmeans_tf.bounds import Bounded, Doubt, Known
from kmeans_tf.definition import Compared, Parts, labels_by_definition, squares_by_label
from kmeans_tf.encoding import Encoding
from kmeans_tf.metrics import Metric
from kmeans_tf.points import Points, capacity_for, chunk_rows
from kmeans_tf.projected import Projected
from kmeans_tf.runtime import on_processor, tf
from kmeans_tf.scoring import comparisons, compile_ahead, score

_RESOLVE_ELEMENTS = 1 << 20
_FEW = 1 << 22  # products that float64 finds so soon, again and again, that no program is worth it
_FEW_ONCE = 1 << 25  # the same where it is done once
_SCORE = 64  # products that a score is worth beside those that it is the sum of
_TURNED = 2.0**-52  # what rounding moves directions by, of rows and of prototypes together ...
_TURNED_OVER_BOUND = 2.0**-30  # ... and more than that over G
_WORTH_CHOOSING = 0.8  # of the distances: where more are in doubt, all are found
_COST_TILE = 1 << 12  # rows whose costs are found at once


def assign(
    metric: Metric, points: Points, prototypes: np.ndarray, projected: Projected | None = None
) -> np.ndarray:
    """Labels (n,) int32: the index of each point's prototype, by the definition above.

    Args:
        metric: what to compare with.
        points: n points.
        prototypes: (k, d) float64, in the points' units.
        projected: these as the metric compares them, where that is known.
    """
    if not metric.sums_suffice:
        return _assign_by_cost(metric, points.array, prototypes)
    if len(prototypes) == 1:
        return np.zeros(points.rows, np.int32)
    return assign_bounded(points, projected or Projected(metric.project(prototypes))).labels


def assign_bounded(points: Points, projected: Projected, before: Bounded | None = None) -> Bounded:
    """The labels of n points, and bounds on their distances.

    Args:
        points: n points.
        projected: k prototypes, k from 2, of a metric that sums of points suffice.
        before: what was found of the same points and k other prototypes: spares those that cannot
            have changed, and changes no label.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is far from everything
        if before is None:
            return _compared(points, projected)
        bounded, doubt = before.moved(projected.values, projected.drift_from(before.prototypes))
        if not len(doubt.places):
            return bounded
        if comparisons(doubt).sum() > _WORTH_CHOOSING * points.rows * len(projected):
            return _compared(points, projected)
        return bounded.with_some(doubt.places, _compared(points, projected, doubt))


def is_few(rows: int, d: int, k: int, *, once: bool = False) -> bool:
    """Whether rows of d features are compared with k prototypes sooner than a program compiles."""
    return rows * k * (d + _SCORE) <= (_FEW_ONCE if once else _FEW)


def prepare(metric: Metric, rows: int, d: int, ks: Iterable[int]) -> None:
    """Compiles, in a thread, what nearly all chunks of so many rows need to compare them."""
    chunk = min(rows, chunk_rows(d))
    scored = [k for k in dict.fromkeys(ks) if not is_few(chunk, d, k)]
    if metric.sums_suffice and scored:
        compile_ahead(capacity_for(chunk), d, scored)


def _compared(points: Points, projected: Projected, doubt: Doubt | None = None) -> Bounded:
    if doubt is None and is_few(points.rows, *projected.values.shape[::-1]):
        unknown = np.full(points.rows, np.inf, np.float32)  # that is, to be compared again
        labels = resolve(points.take(slice(None)), projected)
        return Bounded(projected.values, labels, unknown, np.zeros_like(unknown))
    scored = score(points, projected, doubt)
    labels, unsure = scored.labels, scored.unsure
    if len(unsure):
        labels = labels.copy()
        rows = unsure if doubt is None else doubt.places[unsure]
        labels[unsure] = resolve(points.take(rows), projected)
    return Bounded(projected.values, labels, scored.upper, scored.lower)


def runners_up(
    metric: Metric,
    points: Points,
    prototypes: np.ndarray,
    labels: np.ndarray,
    projected: Projected | None = None,
) -> np.ndarray:
    """The index (n,) int32 of the prototype that is nearest to each point but for its own.

    Args:
        metric: what to compare with.
        points: n points.
        prototypes: (k, d) float64, k from 2, in the points' units.
        labels: (n,) the index of each point's own.
        projected: see `assign`.
    """
    if not metric.sums_suffice:
        return _assign_by_cost(metric, points.array, prototypes, labels)
    projected = projected or Projected(metric.project(prototypes))
    return resolve(points.take(slice(None)), projected, excluded=labels)


@dataclass(frozen=True)
class Targets:
    """What rows are compared with.

    Attributes:
        compared: k of them.
        factors: (d,) float64, of the differences before they are squared.
    """

    compared: Compared
    factors: np.ndarray

    @cached_property
    def encoding(self) -> Encoding:
        """From rows to points near which these are."""
        return Encoding.around(self.compared.values, self.factors)

    @cached_property
    def encoded(self) -> Projected:
        """In the points' units."""
        return Projected(self.encoding.encode_prototypes(self.compared.values))


def assign_rows(
    metric: Metric, rows: Compared, targets: Targets, known: Known | None = None
) -> np.ndarray:
    """Labels (n,) int32: the index of each row's target, by the definition above.

    Args:
        metric: what to compare with.
        rows: n of them, at most 2**16.
        targets: k.
        known: of the same rows; those whose labels it proves are not compared.
    """
    compared, factors = targets.compared, targets.factors
    if not metric.sums_suffice:
        return _assign_by_cost(metric, rows.values, compared.values)
    if len(compared) == 1:
        return np.zeros(len(rows), np.int32)
    encoding, encoded = targets.encoding, targets.encoded
    turned = encoding.unit if metric.normalize else 0.0
    labels = np.empty(len(rows), np.int32) if known is None else known.bounded.labels.copy()
    unsure = np.arange(len(rows)) if known is None else known.unproven
    if not is_few(len(unsure), len(factors), len(compared), once=True):
        some = rows.values if known is None else rows.values[unsure]
        points = Points.encode(encoding, some, capacity=capacity_for(len(rows)))
        if turned:
            points = points.with_norms((turned * _TURNED_OVER_BOUND) ** 2)
        scored = score(points, encoded)
        labels[unsure] = scored.labels
        unsure = unsure[scored.unsure]
    if len(unsure):
        exactly = compared.parts()
        labels[unsure] = resolve(
            encoding.encode_prototypes(rows.values[unsure]),
            encoded,
            lambda places: labels_by_definition(rows.parts(unsure[places]), exactly, factors),
            turned * _TURNED,
        )
    return labels


def resolve(
    points: np.ndarray,
    prototypes: Projected,
    by_definition: Callable[[np.ndarray], np.ndarray] | None = None,
    turned: float = 0.0,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """The definition's labels (n,) int32; a float64 product decides nearly all of them.

    Args:
        points: (n, d) float64.
        prototypes: k of them.
        by_definition: the labels of those at some places (m,); None: of the points themselves.
        turned: what rounding may have moved points and prototypes by.
        excluded: (n,) the index of a prototype that each may not have; None: it may have all.
    """

    def of_points(places: np.ndarray) -> np.ndarray:
        others = None if excluded is None else excluded[places]
        targets = Parts(prototypes.values)
        return labels_by_definition(Parts(points[places]), targets, excluded=others)

    labels = np.empty(len(points), np.int32)
    tile = max(1, _RESOLVE_ELEMENTS // len(prototypes))
    for start in range(0, len(points), tile):
        part = slice(start, start + tile)
        others = None if excluded is None else excluded[part]
        nearest, unsure = _product_labels(points[part], prototypes, turned, others)
        if len(unsure):
            nearest[unsure] = (by_definition or of_points)(start + unsure)
        labels[part] = nearest
    return labels


def assigned_costs(
    metric: Metric, points: np.ndarray, projected: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Costs (n,) float64 of (n, d) points against the projected (k, d) prototypes of their labels.

    Points are near zero by their encoding, so that their squares are safe.
    """
    if not metric.sums_suffice:
        with on_processor():
            chosen = tf.constant(projected[labels])
            return metric.cost(tf.constant(points, tf.float64), chosen).numpy()
    return metric.scale * squares_by_label(Parts(points), Parts(projected), labels)


def nearest(
    metric: Metric, points: np.ndarray, prototypes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (m,) int32 of any number of points (m, d) float64, and costs (m,) float64."""
    targets, size = Projected(metric.project(prototypes)), chunk_rows(points.shape[1])
    labels, costs = np.empty(len(points), np.int32), np.empty(len(points))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        labels[part] = assign(metric, Points.of(points[part]), prototypes, targets)
        costs[part] = assigned_costs(metric, points[part], targets.values, labels[part])
    return labels, costs


def _product_labels(
    points: np.ndarray, prototypes: Projected, turned: float, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) int32 by a float64 product, and the indices of those that are not proven."""
    norms = prototypes.squares
    scores = norms - 2 * (points @ prototypes.values.T)
    row = np.arange(len(points))
    if excluded is not None:
        scores[row, excluded] = np.inf
    labels = scores.argmin(1).astype(np.int32)
    best = scores[row, labels].copy()
    scores[row, labels] = np.inf
    reach = np.sqrt((points * points).sum(1)) + np.sqrt(norms.max())
    bound = (points.shape[1] + 14) * 2.0**-52 * reach * reach + 2 * turned * (reach + turned)
    return labels, np.flatnonzero(~(scores.min(1) - best > 4 * bound))


def _assign_by_cost(
    metric: Metric, values: np.ndarray, prototypes: np.ndarray, excluded: np.ndarray | None = None
) -> np.ndarray:
    program = _cost_program(metric)
    excluded = np.full(len(values), -1) if excluded is None else excluded
    tiles = []
    with on_processor():
        prototypes = tf.constant(prototypes, tf.float64)
        for start in range(0, len(values), _COST_TILE):
            part = slice(start, start + _COST_TILE)
            some = tf.constant(values[part], tf.float64), tf.constant(excluded[part], tf.int32)
            tiles.append(program(*some, prototypes).numpy())
    return np.concatenate([np.empty(0, np.int32), *tiles])


@cache
def _cost_program(metric: Metric):
    """(n, d) points against (k, d) prototypes, one prototype at a time: never n x d x k."""
    matrix = tf.TensorSpec([None, None], tf.float64)

    @tf.function(
        autograph=False,
        input_signature=[matrix, tf.TensorSpec([None], tf.int32), matrix],
    )
    def program(points, excluded, prototypes):
        def body(k, best, labels):
            cost = metric.costs_to(points, prototypes[k])
            closer = (cost < best) & (excluded != k)
            return k + 1, tf.where(closer, cost, best), tf.where(closer, k, labels)

        n = tf.shape(points)[0]
        start = (0, tf.fill([n], np.float64(np.inf)), tf.zeros([n], tf.int32))
        return tf.while_loop(lambda k, *_: k < tf.shape(prototypes)[0], body, start)[2]

    return program
