"""What goes round: the state of the training, as a small picklable value."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.projected import Projected
from kmeans_tf.sample import drawn_capacity

MOST_TRAININGS = 6  # of a start on samples: the first and five more
DRAWS = 5  # iterations of k-means|| that draw candidates ...
OVERSAMPLING = 2  # ... times k of them
OPTIMIZERS = ("lloyd", "sgd", "adam")
REDUCTIONS = ("sum", "mean")
RUNNING, CONVERGED, MAX_ITERATIONS, DIVERGED, DEADLINE = (
    "running",
    "converged",
    "max_iterations",
    "diverged",
    "deadline",  # of what a driver stopped, and never written down
)


@dataclass(frozen=True)
class TrainingOptions:
    """How prototypes are trained.

    Attributes:
        metric: a name for `get_metric`.
        optimizer: lloyd, sgd or adam.
        learning_rate: the step of sgd and adam.
        reduction: 'sum' or 'mean': whether the gradient is of the summed cost or that over the
            total weight.
        tolerance: stop when |change of cost| <= tolerance * cost; 0: when an update leaves
            every prototype's bits unchanged.
        max_iterations: stop after so many.

    Raises:
        ValueError: an option is none of these, or does not go with another.
    """

    metric: str = "sqeuclidean"
    optimizer: str = "lloyd"
    learning_rate: float = 0.0
    reduction: str = "sum"
    tolerance: float = 1e-4
    max_iterations: int = 100

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            names = ", ".join(OPTIMIZERS)
            raise ValueError(f"unknown optimizer {self.optimizer!r}: expected one of {names}")
        if self.reduction not in REDUCTIONS:
            names = ", ".join(REDUCTIONS)
            raise ValueError(f"unknown reduction {self.reduction!r}: expected one of {names}")
        if self.optimizer != "lloyd" and not 0 < self.learning_rate < np.inf:
            rate = self.learning_rate
            raise ValueError(f"{self.optimizer} needs a learning_rate above 0, not {rate}")
        if self.optimizer == "lloyd" and not get_metric(self.metric).sums_suffice:
            raise ValueError(f"lloyd cannot minimise metric {self.metric!r}: use adam")
        if not (0 <= self.tolerance < np.inf and self.max_iterations >= 0):
            raise ValueError("tolerance and max_iterations are numbers from 0")


@dataclass(frozen=True)
class Proof:
    """Whether a start that was trained on a sample holds for all rows.

    Attributes:
        seed: of the samples and the starts.
        expected_cost: what the cost of all rows is by the sample, in the (scaled) input's units.
        cost: that of all rows, the last time that it was compared; None before.
        trainings: how often there was a training on the sample.
        open: whether it is to be compared (again).
    """

    seed: int
    expected_cost: float
    cost: float | None = None
    trainings: int = 1
    open: bool = True

    @property
    def last(self) -> bool:
        """Whether the start stands however it compares."""
        return self.trainings == MOST_TRAININGS


@dataclass(frozen=True)
class Oversampling:
    """How far a start by k-means|| is: its prototypes are candidates that still grow in number.

    Attributes:
        seed: of the draws.
        k: how many prototypes there are to be.
        draws: how often more candidates were drawn.
    """

    seed: int
    k: int
    draws: int = 0

    @property
    def draws_on(self) -> bool:
        """Whether more candidates are to be drawn, before all are weighed."""
        return self.draws < DRAWS


@dataclass(frozen=True)
class Draw:
    """Points to be drawn in an iteration in proportion to weight times cost."""

    seed: int
    count: int


@dataclass(frozen=True)
class Trial:
    """One k and one start.

    Attributes:
        prototypes: (k, d) float64, in the points' units.
        labels: (k,) int32, the number that each prototype's rows are labelled with.
        optimizer_state: what adam remembers, its two moments, each (k, d) float64.
        status: 'running', 'converged', 'max_iterations' or 'diverged'; 'deadline' where it was
            stopped from without.
        costs: by iteration, the cost of the prototypes that it started with, in the (scaled)
            input's units.
        relocated: by iteration, how many empty clusters were given another row.
        proof: of the start on all rows; None where it was not trained on a sample.
        oversampling: of the start, while it goes on.
    """

    prototypes: np.ndarray
    labels: np.ndarray
    optimizer_state: tuple[np.ndarray, ...] = ()
    status: str = RUNNING
    costs: tuple[float, ...] = ()
    relocated: tuple[int, ...] = ()
    proof: Proof | None = None
    oversampling: Oversampling | None = None

    def __repr__(self) -> str:
        k, d = self.prototypes.shape
        cost = f", cost {self.costs[-1]:g}" if self.costs else ""
        return (
            f"Trial({k} prototypes of {d} features, {self.iterations} iterations, {self.status}"
            f"{cost})"
        )

    @classmethod
    def start(cls, prototypes: np.ndarray, labels: np.ndarray | None = None) -> "Trial":
        if labels is None:
            labels = np.arange(len(prototypes), dtype=np.int32)
        return cls(prototypes, labels)

    @property
    def iterations(self) -> int:
        return len(self.costs)

    def projected(self, metric: Metric) -> Projected:
        """The prototypes as a metric compares them, the same for all chunks."""
        known = self._projected.get(metric.name)
        return known or self._projected.setdefault(
            metric.name, Projected(metric.project(self.prototypes))
        )

    @cached_property
    def _projected(self) -> dict[str, Projected]:
        return {}

    @property
    def draw(self) -> Draw | None:
        """What the next iteration draws."""
        growing = self.oversampling
        if growing and growing.draws_on:
            return Draw(growing.seed + growing.draws, OVERSAMPLING * growing.k)
        if self.proof and self.proof.open and not self.proof.last:
            return Draw(self.proof.seed, drawn_capacity(*self.prototypes.shape))
        return None

    def stopped(self, options: TrainingOptions) -> str:
        """The status where no cost tells of convergence."""
        return MAX_ITERATIONS if self.iterations >= options.max_iterations else RUNNING


@dataclass(frozen=True)
class TrainingState:
    """Everything an iteration needs to know of those before it; nothing that depends on the clock.

    Attributes:
        trials: the trials, running or not.
        iteration: how many iterations were done.
        squares: the exact sum of the points' weighted squared lengths; None before it is known.
        precision: of the points; see `Encoding`.
    """

    trials: tuple[Trial, ...]
    iteration: int = 0
    squares: int | None = field(default=None, repr=False)  # of hundreds of digits
    precision: str = "single"

    @property
    def done(self) -> bool:
        return all(trial.status != RUNNING for trial in self.trials)

    def running(self) -> dict[int, Trial]:
        """The trials that still run, by index."""
        return {i: trial for i, trial in enumerate(self.trials) if trial.status == RUNNING}

    def stopped(self, status: str) -> "TrainingState":
        """The same with another status for the trials that still run."""
        running = self.running().items()
        return self.with_trials({i: replace(trial, status=status) for i, trial in running})

    def with_trials(self, changed: dict[int, Trial]) -> "TrainingState":
        trials = tuple(changed.get(i, trial) for i, trial in enumerate(self.trials))
        return replace(self, trials=trials)
