"""Where a training begins: the layout of its sums and the prototypes of its first iteration.

The start 'auto' is trained: k-means++ and Lloyd's iterations on the sample, several times, and the
best of them kept. `kmeans_tf.proof` holds it against all rows.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from kmeans_tf.assign import nearest
from kmeans_tf.encoding import DOUBLE, LEAST_QUANTUM, SINGLE, Encoding
from kmeans_tf.fixed_point import ceil_power_of_two
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric
from kmeans_tf.oversampling import first_candidate
from kmeans_tf.points import Points, chunk_rows
from kmeans_tf.sample import Sample
from kmeans_tf.seeding import (
    K_MEANS_PLUS_PLUS,
    RANDOM,
    TooFewPointsError,
    initial_prototypes,
    swapped,
)
from kmeans_tf.state import Proof, TrainingOptions, TrainingState, Trial
from kmeans_tf.summary import Summary
from kmeans_tf.training import train
from kmeans_tf.update import update

AUTO, K_MEANS_PARALLEL = "auto", "k-means-parallel"
INITS = (AUTO, K_MEANS_PLUS_PLUS, K_MEANS_PARALLEL, RANDOM)
PRECISIONS = (AUTO, SINGLE, DOUBLE)
NOISE = 1e-9  # of the cost: what rounding may add before points are kept finer
_OWN = 2.0**-50  # of a number: what its float64 arithmetic may cost
STARTS = 4  # that are trained, where they are not too slow
_ITERATIONS = 30  # that a start takes on the sample, about
_PASSES = 3  # over all rows: about as long as all starts may take together, ...
_QUICK = STARTS * _ITERATIONS << 28  # ... or as so many products, which take seconds
_TRIED_TO = 1e-3  # the change of cost at which starts are compared ...
_TRAINED_TO = 1e-5  # ... and that the best is trained to
_MOST_ITERATIONS = 60
_SWAPS_PER_PROTOTYPE, _MOST_SWAPS = 2, 256  # that are tried, ...
_SWAPPED_TO = 1 << 12  # ... up to so many prototypes: of more they would reach too few
_WEIGHT_BITS = 40  # of the weights that stand for rows left out


@dataclass(frozen=True)
class StartOptions:
    """How a training is to begin.

    Attributes:
        k: how many prototypes.
        init: 'auto', 'k-means++', 'k-means-parallel' or 'random'.
        seed: of the random numbers.
        standard, impute: see `Encoding.fit`.
        precision: 'single', 'double', or 'auto': double where float32 is too coarse for the rows,
            or leaves fewer than k distinct points.
        first: (k0, d) float64 prototypes in the input's units that come first; None for none.
    """

    k: int
    init: str
    seed: int = 0
    standard: bool = False
    impute: bool = False
    precision: str = AUTO
    first: np.ndarray | None = None


@dataclass(frozen=True)
class WeightedPoints:
    """Points that stand for all rows.

    Attributes:
        points: (m, d) float64, as an encoding gives them.
        weights: (m,) float64 above 0.
    """

    points: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, encoding: Encoding, sample: Sample) -> "WeightedPoints":
        """The points of a sample."""
        return cls(encoding.encode(sample.rows).astype(np.float64), sample.weights)


def default_init(init: str, options: TrainingOptions) -> str:
    """What 'auto' stands for: starts are trained by Lloyd's iterations, for Lloyd's."""
    return init if init != AUTO or options.optimizer == "lloyd" else K_MEANS_PLUS_PLUS


def layout_for(
    summary: Summary, metric: Metric, options: StartOptions, precision: str
) -> SumLayout:
    """The layout of the sums, for points of a precision.

    Raises:
        WeightError: the weights cannot be added exactly.
    """
    return SumLayout.fit(
        summary, metric, standard=options.standard, impute=options.impute, precision=precision
    )


def choose_start(
    summary: Summary, metric: Metric, options: StartOptions, threads: int = 1
) -> tuple[SumLayout, Trial]:
    """The layout, and a trial that begins; see `choose_starts`."""
    layout, trials = choose_starts(summary, metric, [options], threads)
    return layout, trials[0]


def choose_starts(
    summary: Summary, metric: Metric, options: Sequence[StartOptions], threads: int = 1
) -> tuple[SumLayout, tuple[Trial, ...]]:
    """The layout, and trials that begin, in the units of its encoding's points.

    Points are as fine as the trial asks for that needs the finest.

    Args:
        summary: of all rows.
        metric: to train with.
        options: how each trial is to begin.
        threads: how many starts are trained at once.

    Raises:
        WeightError: the weights cannot be added exactly.
        PrecisionError: no points are fine enough for the rows.
        ValueError: more prototypes are to come first than k, or there are fewer than k distinct
            rows.
    """

    begun = [_begun(summary, metric, each) for each in options]
    precisions = {each.layout.encoding.precision for each in begun}
    if len(precisions) > 1:
        finest = [replace(each, precision=DOUBLE) for each in options]
        begun = [_begun(summary, metric, each) for each in finest]
    pairs = zip(begun, options, strict=True)
    trials = tuple(_trial(summary, metric, each, how, threads) for each, how in pairs)
    return begun[0].layout, trials


def _trial(
    summary: Summary, metric: Metric, begun: "_Begun", options: StartOptions, threads: int
) -> Trial:
    layout, sample, prototypes = begun.layout, begun.sample, begun.prototypes
    if options.init == K_MEANS_PARALLEL:
        candidate, oversampling = first_candidate(
            sample.points, sample.weights, options.k, options.seed
        )
        labels = np.arange(options.k, dtype=np.int32)  # of the prototypes that there are to be
        return replace(Trial.start(candidate, labels), oversampling=oversampling)
    if options.init != AUTO:
        return Trial.start(prototypes)
    starts = starts_for(summary, options.k)
    most = iterations_for(summary, options.k)
    prototypes, cost = trained_start(
        layout, metric, sample, options.k, options.seed, starts, most, prototypes, threads
    )
    if summary.sample.full:
        cost *= optimism(len(sample.weights), options.k)
    proof = Proof(options.seed, starts, cost, open=summary.sample.full)
    return replace(Trial.start(prototypes), proof=proof)


def starts_for(summary: Summary, k: int) -> int:
    """How many starts are trained, by the sizes alone.

    One where the sample holds every row. Else `STARTS`, or as many as can be afforded.
    """
    return min(STARTS, max(1, _affordable(summary, k) // _ITERATIONS)) if summary.sample.full else 1


def iterations_for(summary: Summary, k: int) -> int:
    """How many iterations on the sample each training may take at most, by the sizes alone."""
    return min(_MOST_ITERATIONS, _affordable(summary, k))


def _affordable(summary: Summary, k: int) -> int:
    """Iterations on the sample that take as long as `_PASSES` over all rows, or only seconds."""
    m, d = summary.sample.rows.shape
    return max(_PASSES * summary.rows // m, _QUICK // (m * d * k))


def trained_start(
    layout: SumLayout,
    metric: Metric,
    sample: WeightedPoints,
    k: int,
    seed: int,
    starts: int,
    iterations: int = _MOST_ITERATIONS,
    untrained: np.ndarray | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, float]:
    """The best of some starts that were trained on a sample.

    All are trained until their cost hardly falls. Prototypes of the best are swapped for others
    where that helps, and it is trained on.

    Args:
        layout: of all rows' sums.
        metric: one that Lloyd's iterations minimize.
        sample: what to train on.
        k: how many prototypes.
        seed: of the first start.
        starts: how many there are.
        iterations: that each takes at most, and the best once more.
        untrained: (k, d) float64, what k-means++ chose with that seed, where it did already.
        threads: how many starts are trained at once, and chunks where there are fewer starts.

    Returns:
        Prototypes (k, d) float64 in the points' units, and the cost that all rows have if they are
        as the sample, in the (scaled) input's units.
    """
    total_weight = layout.total_weight
    weights = _rounded(sample.weights)
    layout = layout.with_weights(weights)
    size = chunk_rows(sample.points.shape[1])
    parts = [slice(a, a + size) for a in range(0, len(weights), size)]
    alike = (weights == 1).all()
    chunks = [Points.of(sample.points[p], None if alike else weights[p]) for p in parts]

    def trained(trial: Trial, tolerance: float, threads: int = 1) -> Trial:
        options = TrainingOptions(metric.name, tolerance=tolerance, max_iterations=iterations)
        state = train(
            layout,
            options,
            TrainingState((trial,)),
            chunks,
            lambda state, stats: update(layout, options, state, stats, lambda: sample.points),
            threads,
        )
        return state.trials[0]

    def start(number: int) -> Trial:
        prototypes = untrained
        if prototypes is None or number > 0:
            prototypes = initial_prototypes(
                K_MEANS_PLUS_PLUS, metric, sample.points, sample.weights, k, seed + number
            )
        return trained(Trial.start(prototypes), _TRIED_TO, max(1, threads // starts))

    with ThreadPoolExecutor(threads) as pool:
        trials = list(pool.map(start, range(starts)))
    best = min(trials, key=lambda trial: trial.costs[-1]).prototypes
    if 1 < k <= _SWAPPED_TO:
        random = np.random.RandomState(seed % 2**32)
        steps = min(_SWAPS_PER_PROTOTYPE * k, _MOST_SWAPS)
        best = swapped(metric, sample.points, sample.weights, best, steps, random, threads)
    end = trained(Trial.start(best), _TRAINED_TO, threads)
    return end.prototypes, end.costs[-1] * total_weight / layout.total_weight


def optimism(points: int, k: int) -> float:
    """The cost of other points over that of these, to which k means were fitted.

    The squared distance from the mean of m points is on average (m - 1) / m of the variance for
    one of them, (m + 1) / m for another.
    """
    return (points + k) / max(1, points - k)


def _rounded(weights: np.ndarray) -> np.ndarray:
    quantum = ceil_power_of_two(float(weights.max())) * 2.0**-_WEIGHT_BITS
    return np.rint(weights / quantum) * quantum


class PrecisionError(ValueError):
    """Rows are so near each other, and others so far, that no points are fine enough for them.

    Attributes:
        columns: the places of the features.
    """

    def __init__(self, columns: list[int]):
        super().__init__(f"features {columns}: values too near each other beside others too far")
        self.columns = columns


@dataclass(frozen=True)
class _Begun:
    """What points of a precision give.

    Attributes:
        layout: of the sums.
        sample: its points.
        prototypes: (k, d) float64 chosen among them; all that there are where these are fewer.
        too_few: that they are.
    """

    layout: SumLayout
    sample: WeightedPoints
    prototypes: np.ndarray
    too_few: TooFewPointsError | None

    @classmethod
    def of(
        cls, summary: Summary, metric: Metric, options: StartOptions, precision: str
    ) -> "_Begun":
        layout = layout_for(summary, metric, options, precision)
        sample = WeightedPoints.of(layout.encoding, summary.sample)
        try:
            prototypes = _untrained(layout.encoding, sample, metric, options)
        except TooFewPointsError as error:
            return cls(layout, sample, error.chosen, error)
        return cls(layout, sample, prototypes, None)


def _begun(summary: Summary, metric: Metric, options: StartOptions) -> _Begun:
    """Points of the precision that is asked for, or that the rows ask for."""
    rows = summary.sample.rows
    begun = _Begun.of(summary, metric, options, DOUBLE if options.precision == DOUBLE else SINGLE)
    if options.precision == AUTO and _is_too_coarse(begun, rows, metric):
        begun = _Begun.of(summary, metric, options, DOUBLE)
    if begun.layout.encoding.precision == DOUBLE and metric.sums_suffice:
        columns = _coarse_columns(begun, rows, metric)
        if begun.too_few and len(rows) >= options.k and not (columns or metric.normalize):
            columns = [int(np.bincount(begun.layout.limbs.column).argmax())]  # squares vanish in it
        if columns:
            raise PrecisionError(columns)
    if begun.too_few:
        raise begun.too_few
    return begun


def _untrained(
    encoding: Encoding, sample: WeightedPoints, metric: Metric, options: StartOptions
) -> np.ndarray:
    first = None if options.first is None else encoding.encode_prototypes(options.first)
    init = RANDOM if options.init == RANDOM else K_MEANS_PLUS_PLUS
    return initial_prototypes(
        init, metric, sample.points, sample.weights, options.k, options.seed, first
    )


def _is_too_coarse(begun: _Begun, rows: np.ndarray, metric: Metric) -> bool:
    """Whether rounding moves the sample's rows by more than `NOISE` of their cost.

    So it does where it leaves fewer distinct points than prototypes, or nothing of a column. Where
    weights take several limbs, a cluster's mean may be one heavy row and its rounding.
    """
    if begun.too_few or np.any(begun.layout.encoding.quantum <= LEAST_QUANTUM[SINGLE]):
        return True
    if not metric.sums_suffice:
        return False
    layout, sample = begun.layout, begun.sample
    if len(layout.weights.quantum) > 1:
        return True
    noise, size = 0.0, chunk_rows(rows.shape[1])
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        moved = layout.encoding.moved(rows[part], sample.points[part])
        noise += float(sample.weights[part] @ (moved * moved).sum(1))
    cost = float(sample.weights @ nearest(metric, sample.points, begun.prototypes)[1])
    return metric.scale * noise > NOISE * cost


@np.errstate(over="ignore")
def _coarse_columns(begun: _Begun, rows: np.ndarray, metric: Metric) -> list[int]:
    """The columns in which points are too coarse for the sample's rows (m, d), by the same rule.

    What float64 costs a number itself does not count, be it of a row or of a cluster's mean: all
    equal rows may lie as far from their mean.
    """
    encoding, points, weights = begun.layout.encoding, begun.sample.points, begun.sample.weights
    labels, _ = nearest(metric, points, begun.prototypes)
    targets = metric.project(begun.prototypes)
    moved = encoding.moved(rows, points)
    own = _OWN * np.abs(points if encoding.normalize else rows * encoding.factor)
    total = np.maximum(np.bincount(labels, weights, len(targets)), np.finfo(float).tiny)
    coarse = []
    for j in range(points.shape[1]):
        shift = np.bincount(labels, weights * moved[:, j], len(targets)) / total
        allowed = np.bincount(labels, weights * own[:, j], len(targets)) / total
        rest = moved[:, j] - np.where(np.abs(shift) <= allowed, shift, 0.0)[labels]
        rest[np.abs(rest) <= own[:, j]] = 0.0
        unit = np.abs(rest).max() or 1.0  # so that squares do not vanish
        away = (points[:, j] - targets[labels, j]) / unit
        if weights @ (rest / unit) ** 2 > NOISE * (weights @ away**2):
            coarse.append(j)
    return coarse
