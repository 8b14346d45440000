"""Where a training begins: the layout of its sums and the prototypes of its first iteration.

The start 'auto' is trained: k-means++, Lloyd's iterations on the sample, and a search for
prototypes that are better placed elsewhere. `kmeans_tf.proof` holds it against all rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kmeans_tf.assign import nearest
from kmeans_tf.encoding import DOUBLE, LEAST_QUANTUM, SINGLE, Encoding, finest_spread, tiles
from kmeans_tf.fixed_point import ceil_power_of_two
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric
from kmeans_tf.oversampling import first_candidate
from kmeans_tf.points import Points, chunk_rows
from kmeans_tf.sample import Sample
from kmeans_tf.search import LEAST_GAIN, exchanged, swapped
from kmeans_tf.seeding import (
    K_MEANS_PLUS_PLUS,
    RANDOM,
    TooFewPointsError,
    initial_prototypes,
)
from kmeans_tf.state import Proof, TrainingOptions, TrainingState, Trial
from kmeans_tf.stats import IterationStats
from kmeans_tf.summary import Summary
from kmeans_tf.training import train
from kmeans_tf.update import update

AUTO, K_MEANS_PARALLEL = "auto", "k-means-parallel"
INITS = (AUTO, K_MEANS_PLUS_PLUS, K_MEANS_PARALLEL, RANDOM)
PRECISIONS = (AUTO, SINGLE, DOUBLE)
NOISE = 1e-9  # of the cost: what rounding may add before points are kept finer
_LOST = 2.0**-16  # of a value, and ...
_HIDDEN = 2.0**-10  # ... of what a part of its column spans: few may be moved by more than both
_PARTS, _FEW = 16, 1 / 64  # of a column; of its values
_JUDGING = 64  # prototypes that rounding is held against where the start is from elsewhere, ...
_JUDGING_POINTS = 1 << 13  # ... among so many
_OWN = 2.0**-50  # of a number: what its float64 arithmetic may cost
_PASSES = 3  # over all rows: as long as training on the sample may take, where that is not quick
_QUICK = 1 << 37  # products of a feature of a point with a prototype's, which are quick
_TRIED_TO = 1e-3  # the change of cost to which a start is trained while it is searched ...
_TRAINED_TO = 1e-5  # ... and then
_MOST_ITERATIONS = 60  # between two looks
_SWAPS_PER_PROTOTYPE, _MOST_SWAPS = 2, 256  # that are tried
_FEW_COSTS = 1 << 26  # of all points for all prototypes: few enough to try swaps
_WEIGHT_BITS = 40  # of the weights that stand for rows left out
_LEARNT_FROM = 2  # sampled points for each prototype: of fewer a training learns the points alone
_JUDGED = 1024  # points of so few that stand for rows, beside others that stand for prototypes


@dataclass(frozen=True)
class StartOptions:
    """How a training is to begin.

    Attributes:
        k: how many prototypes.
        init: 'auto', 'k-means++', 'k-means-parallel' or 'random'; 'auto' is 'random' where memory
            holds too few rows for so many prototypes of so many features.
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
    summary = summary.completed(metric)
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
    if options.init != AUTO or begun.scant:
        return Trial.start(prototypes)
    prototypes, cost = trained_start(
        layout, metric, sample, prototypes, options.seed, summary.rows, threads
    )
    if summary.sample.full:
        cost *= optimism(len(sample.weights), options.k)
    proof = Proof(options.seed, cost, open=summary.sample.full)
    return replace(Trial.start(prototypes), proof=proof)


def trained_start(
    layout: SumLayout,
    metric: Metric,
    sample: WeightedPoints,
    prototypes: np.ndarray,
    seed: int,
    rows: int,
    threads: int = 1,
    got_on: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, float]:
    """Prototypes trained on a sample, and searched for what Lloyd's iterations cannot find.

    Points are tried in the place of prototypes, which finds what lies far away, and clusters are
    parted and merged, some at a time and fewer where that does not help, which finds what does not.
    All of it takes as many iterations over the sample as three over all rows take, or as are quick.

    Args:
        layout: of all rows' sums.
        metric: one that Lloyd's iterations minimize.
        sample: what to train on.
        prototypes: (k, d) float64, to begin with.
        seed: of the points that are tried.
        rows: how many there are in all.
        threads: how many chunks are worked on at once.
        got_on: called after each iteration.

    Returns:
        Prototypes (k, d) float64 in the points' units, and the cost that all rows have if they are
        as the sample, in the (scaled) input's units.
    """
    training = _SampleTraining(layout, metric, sample, len(prototypes), rows, threads, got_on)
    best = training.run(prototypes, _TRIED_TO)
    k, points = len(prototypes), sample.points
    if 1 < k <= _FEW_COSTS // len(points) and training.iterations_left > 0:
        random = np.random.RandomState(seed % 2**32)
        steps = min(_SWAPS_PER_PROTOTYPE * k, _MOST_SWAPS)
        after = swapped(metric, points, sample.weights, best.prototypes, steps, random, threads)
        best = training.run(after, _TRIED_TO)
    most = k // 3
    while most and training.iterations_left > 0:
        after, most = exchanged(metric, points, sample.weights, best.prototypes, most)
        if not most:
            break
        trial = training.run(after, _TRIED_TO)
        if trial.costs[-1] < best.costs[-1] * (1 - LEAST_GAIN):
            best = trial
        else:
            most //= 2
    end = training.run(best.prototypes, _TRAINED_TO)
    return end.prototypes, end.costs[-1] * layout.total_weight / training.layout.total_weight


class _SampleTraining:
    """Lloyd's iterations on a sample, of which there are only so many.

    Attributes:
        layout: of the sums over the sample.
        iterations_left: how many there are still.
    """

    def __init__(
        self,
        layout: SumLayout,
        metric: Metric,
        sample: WeightedPoints,
        k: int,
        rows: int,
        threads: int,
        got_on: Callable[[], None],
    ):
        weights = _rounded(sample.weights)
        m, d = sample.points.shape
        size = min(chunk_rows(d), -(-m // threads))  # so that each thread has some
        parts = [slice(a, a + size) for a in range(0, m, size)]
        alike = (weights == 1).all()
        self._chunks = [Points.of(sample.points[p], None if alike else weights[p]) for p in parts]
        self._metric, self._points, self._threads = metric, sample.points, threads
        self._got_on = got_on
        self.layout = layout.with_weights(weights)
        self.iterations_left = _PASSES * rows // m + _QUICK // (m * d * k)
        self._squares: int | None = None  # of all points, once an iteration has found them

    def run(self, prototypes: np.ndarray, tolerance: float) -> Trial:
        """A training from prototypes (k, d), of one iteration at least."""
        most = max(1, min(self.iterations_left, _MOST_ITERATIONS))
        options = TrainingOptions(self._metric.name, tolerance=tolerance, max_iterations=most)

        def advance(state: TrainingState, stats: IterationStats) -> TrainingState:
            self._got_on()
            return update(self.layout, options, state, stats, lambda: self._points)

        state = train(
            self.layout,
            options,
            TrainingState((Trial.start(prototypes),), squares=self._squares),
            self._chunks,
            advance,
            self._threads,
        )
        self.iterations_left -= state.iteration
        self._squares = state.squares
        return state.trials[0]


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
        scant: whether they are too few of all rows to tell what rows cost with k of them.
        prototypes: (k, d) float64 chosen among them; all that there are where these are fewer.
        too_few: that they are.
    """

    layout: SumLayout
    sample: WeightedPoints
    scant: bool
    prototypes: np.ndarray
    too_few: TooFewPointsError | None

    @classmethod
    def of(
        cls, summary: Summary, metric: Metric, options: StartOptions, precision: str
    ) -> "_Begun":
        layout = layout_for(summary, metric, options, precision)
        sample = WeightedPoints.of(layout.encoding, summary.sample)
        scant = summary.sample.full and len(sample.points) < _LEARNT_FROM * options.k
        if options.init == AUTO and scant:
            options = replace(options, init=RANDOM)
        try:
            prototypes = _untrained(layout.encoding, sample, metric, options)
        except TooFewPointsError as error:
            return cls(layout, sample, scant, error.chosen, error)
        return cls(layout, sample, scant, prototypes, None)

    def judging(self) -> tuple[slice, np.ndarray]:
        """The sample's points, and the prototypes, that rounding is held against.

        Where nearly all points are prototypes, some stand for rows, and others for prototypes.
        """
        if not self.scant:
            return slice(None), self.prototypes
        half = len(self.sample.points) // 2
        return slice(min(half, _JUDGED)), self.sample.points[half:]


def _begun(summary: Summary, metric: Metric, options: StartOptions) -> _Begun:
    """Points of the precision that is asked for, or that the rows ask for."""
    rows = summary.sample.rows
    begun = _Begun.of(summary, metric, options, DOUBLE if options.precision == DOUBLE else SINGLE)
    if options.precision == AUTO and _is_too_coarse(begun, rows, metric, options):
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


@np.errstate(over="ignore")
def _is_too_coarse(begun: _Begun, rows: np.ndarray, metric: Metric, options: StartOptions) -> bool:
    """Whether rounding moves the sample's rows by more than `NOISE` of their cost, or hides some.

    So it does where it leaves fewer distinct points than prototypes, or nothing of a column. Where
    weights take several limbs, a cluster's mean may be one heavy row and its rounding.
    """
    encoding, sample = begun.layout.encoding, begun.sample
    if begun.too_few or np.any(encoding.quantum <= LEAST_QUANTUM[SINGLE]):
        return True
    if not metric.sums_suffice:
        return False
    if len(begun.layout.weights.quantum) > 1:
        return True
    noise, lost = 0.0, np.zeros(rows.shape[1])
    for part in tiles(*rows.shape):
        moved = encoding.moved(rows[part], sample.points[part])
        noise += float(sample.weights[part] @ (moved * moved).sum(1))
        lost += _is_lost(encoding, rows[part], moved).sum(0)
    suspect = np.flatnonzero(lost > _FEW * len(rows))
    if not encoding.normalize and len(suspect) and _hides(begun, rows, suspect):
        return True
    return noise > NOISE * _cost(begun, metric, options)


def _is_lost(encoding: Encoding, rows: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(n, d) bool: which values of (n, d) rows rounding moves by much of themselves."""
    return np.abs(moved) > _LOST * np.abs(rows * encoding.factor)


def _hides(begun: _Begun, rows: np.ndarray, columns: np.ndarray) -> bool:
    """Whether rounding moves many values of a column by much of what lies near each other in it.

    In the whole cost these may not show, nor in clusters that are none yet.
    """
    encoding = begun.layout.encoding
    moved = encoding.moved(rows, begun.sample.points)
    finest = finest_spread(rows[:, columns], _PARTS) * encoding.factor[columns]
    hidden = np.abs(moved[:, columns]) > _HIDDEN * finest
    hidden &= _is_lost(encoding, rows, moved)[:, columns]
    return bool((hidden.mean(0) > _FEW).any())


def _cost(begun: _Begun, metric: Metric, options: StartOptions) -> float:
    """What the sample's points cost, as a squared distance.

    Prototypes that are random, or given, may not part the rows at all: others are held beside them.
    """
    points, weights = begun.sample.points, begun.sample.weights

    def cost(places: slice, prototypes: np.ndarray) -> float:
        _, costs = nearest(metric, points[places], prototypes)
        return float(weights[places] @ costs) * (weights.sum() / weights[places].sum())

    places, held = begun.judging()
    costs = [cost(places, held)]
    if begun.scant and options.first is not None:
        costs.append(cost(places, begun.layout.encoding.encode_prototypes(options.first)))
    elif options.first is not None or options.init == RANDOM:
        some = slice(_JUDGING_POINTS)
        k = min(options.k, len(points[some]), _JUDGING)
        try:
            found = points[some], weights[some], k, options.seed
            apart = initial_prototypes(K_MEANS_PLUS_PLUS, metric, *found)
        except TooFewPointsError as error:
            apart = error.chosen
        costs.append(cost(some, apart))
    return min(costs) / metric.scale


@np.errstate(over="ignore")
def _coarse_columns(begun: _Begun, rows: np.ndarray, metric: Metric) -> list[int]:
    """The columns in which points are too coarse for the sample's rows (m, d), by the same rule.

    What float64 costs a number itself does not count, be it of a row or of a cluster's mean: all
    equal rows may lie as far from their mean.
    """
    places, held = begun.judging()
    encoding, rows = begun.layout.encoding, rows[places]
    points, weights = begun.sample.points[places], begun.sample.weights[places]
    labels, _ = nearest(metric, points, held)
    targets = metric.project(held)
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
