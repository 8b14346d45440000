"""The stages of `fit`, from the scan to the files of the output."""

from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial
from kmeans_tf.exact import to_float
from kmeans_tf.frame import Frame
from kmeans_tf.metrics import Metric
from kmeans_tf.sample import sample_capacity
from kmeans_tf.seeding import initial_prototypes
from kmeans_tf.state import DIVERGED
from kmeans_tf.summary import Summary
from pipeline.attempt import Attempt
from pipeline.checkpoint import checkpoints, latest_state, load_summary, save_state
from pipeline.chunks import Loader
from pipeline.console import say
from pipeline.errors import DataError, RunError, UsageError, bad_rows_error, bad_rows_text
from pipeline.label import label_pass
from pipeline.options import DEFAULT_K, FitOptions
from pipeline.plan import GivenPrototypes
from pipeline.progress import training_progress
from pipeline.results import Results, describe_run, write_results
from pipeline.runner import Blocks
from pipeline.scan import Scan, ScanJob
from pipeline.train import Train, TrainingJob

ESTIMATE_WARNING = 0.10
LARGEST, SMALLEST = 1e120, 1e-120


@dataclass
class Fit:
    """One attempt at `fit`: every stage takes up what an attempt before it has left."""

    attempt: Attempt
    options: FitOptions
    metric: Metric
    given: GivenPrototypes | None
    warnings: list[str] = field(default_factory=list)
    iteration_seconds: list[float] = field(default_factory=list)

    def files(self) -> dict[str, str]:
        """Does everything up to publishing.

        Returns:
            The path of every file of the output by the name it is to have.
        """
        summary = self.scan()
        self.check(summary)
        frame = self.frame(summary)
        state = self.train(frame, self.start(frame, summary))
        model = self.model(frame, state.trials[0])
        totals = label_pass(self.attempt, model)
        results = Results(self.attempt.plan, model, state.trials[0], totals, summary.sample.rows)
        run = describe_run(self.attempt, totals, self.warnings)
        run["counts"]["sample_rows"] = len(summary.sample.rows)
        run["seconds"]["iterations"] = self.iteration_seconds
        return write_results(self.attempt.store, self.attempt.work, results, run, with_model=True)

    def scan(self) -> Summary:
        """Reads everything once, unless that was done."""
        found = load_summary(self.attempt.store, self.attempt.work)
        if found is not None:
            return found
        job = ScanJob(
            columns=self.attempt.plan.columns,
            metric=self.metric.name,
            seed=self.options.seed,
            capacity=sample_capacity(self.attempt.plan.columns.dimension, self.options.k),
            moments=self.options.scale == "standard" or self._impute,
            impute=self._impute,
            work=self.attempt.work,
            threads=self.attempt.runner.settings.threads,
        )
        with self.attempt.clock.stage("scan"):
            self.attempt.run(lambda p: p | Blocks(self.attempt.plan.blocks) | Scan(job))
        return load_summary(self.attempt.store, self.attempt.work)

    def check(self, summary: Summary) -> None:
        """Raises a DataError if the rows cannot be clustered as asked."""
        options = self.options
        if options.on_bad_row == "fail" and summary.bad_rows:
            raise bad_rows_error(summary.bad_rows, summary.rows, summary.bad)
        if not len(summary.sample.hashes):
            if summary.bad_rows == summary.rows:
                raise DataError(f"all {summary.rows} rows are bad: {bad_rows_text(summary.bad)}")
            raise DataError(f"weight column {options.names.weight!r} is 0 in every good row")
        distinct = len(summary.sample.hashes)
        if not summary.sample.full and distinct < options.k:
            raise DataError(f"--k {options.k}: there are only {distinct} distinct good rows")
        self._check_range(summary)
        self._check_estimate(summary)

    def frame(self, summary: Summary) -> Frame:
        try:
            return Frame.fit(
                summary,
                self.metric,
                standard=self.options.scale == "standard",
                impute=self._impute,
            )
        except ValueError as error:
            raise DataError(str(error)) from error

    def start(self, frame: Frame, summary: Summary) -> TrainingState:
        """The state to train on: the latest checkpoint, or a new start."""
        state = latest_state(self.attempt.store, self.attempt.work)
        if state is not None:
            say(f"resuming after iteration {state.iteration}")
            return state
        with self.attempt.clock.stage("seed"):
            state = TrainingState((self._first_trial(frame, summary),))
            save_state(self.attempt.store, self.attempt.work, state)
        return state

    def train(self, frame: Frame, state: TrainingState) -> TrainingState:
        """Rounds of iterations until the state is done."""
        options = self.options
        if not options.max_iterations:
            return state
        job = self._training_job(frame)
        with (
            self.attempt.clock.stage("train"),
            training_progress(
                self.attempt.store,
                self.attempt.work,
                options.max_iterations,
                self.attempt.plan.rows,
            ),
        ):
            while not state.done:
                state = self._round(job, state)
        if state.trials[0].status == DIVERGED:
            if options.learning_rate is None:
                raise UsageError(f"--init {options.init}: the cost is not finite: too far away")
            raise UsageError(
                f"--learning_rate {options.learning_rate}: the cost is not finite after "
                f"{state.iteration} iterations: choose a smaller one"
            )
        return state

    def model(self, frame: Frame, trial: Trial) -> Model:
        return Model(
            frame,
            self.metric.name,
            trial.prototypes,
            trial.labels,
            self.attempt.plan.columns.features,
            self.options.on_bad_row,
        )

    @property
    def _impute(self) -> bool:
        return self.options.on_bad_row == "impute"

    def _first_trial(self, frame: Frame, summary: Summary) -> Trial:
        options, given = self.options, self.given
        points = frame.encode(summary.sample.rows).astype(np.float64)
        encoded = frame.encode_prototypes(given.rows) if given else None
        try:
            prototypes = initial_prototypes(
                options.init,
                self.metric,
                points,
                summary.sample.weights,
                options.k,
                options.seed,
                encoded,
            )
        except ValueError as error:
            raise DataError(f"--k {options.k}: {error}") from error
        return Trial.start(prototypes, _label_numbers(options.k, given))

    def _training_job(self, frame: Frame) -> TrainingJob:
        options = self.options
        return TrainingJob(
            loader=Loader(
                self.attempt.plan.columns,
                frame,
                self.metric.name,
                drop_bad=options.on_bad_row != "fail",
            ),
            options=TrainingOptions(
                metric=self.metric.name,
                optimizer=options.optimizer,
                learning_rate=options.learning_rate or 0.0,
                reduction=options.reduction,
                tolerance=options.tolerance,
                max_iterations=options.max_iterations,
            ),
            work=self.attempt.work,
            cache_bytes=options.run.cache_mb << 20,
            threads=self.attempt.runner.settings.threads,
        )

    def _round(self, job: TrainingJob, state: TrainingState) -> TrainingState:
        left = self.options.max_iterations - state.iteration
        iterations = min(self.attempt.runner.settings.iterations_per_job, left)

        def build(pipeline: beam.Pipeline) -> None:
            start = pipeline | beam.Create([state])
            blocks = pipeline | Blocks(self.attempt.plan.blocks)
            _ = (blocks, start) | Train(job, iterations)

        self.attempt.run(build)
        reached = self._beyond(state)
        self._drop_old_checkpoints()
        return reached

    def _beyond(self, state: TrainingState) -> TrainingState:
        """The state that the workers reached; a round that is lost would be run for ever."""
        reached = latest_state(self.attempt.store, self.attempt.work)
        if reached.iteration <= state.iteration and not reached.done:
            raise RunError(
                f"the checkpoints of the workers did not reach {self.attempt.work.path} here: "
                "give an --output that every worker and the driver reach"
            )
        return reached

    def _drop_old_checkpoints(self) -> None:
        """Keeps the newest one, and how long each iteration took."""
        paths = checkpoints(self.attempt.store, self.attempt.work)
        times = [self.attempt.store.version(path).modified for path in paths]
        self.iteration_seconds += (np.diff(times) / 1e9).tolist()
        for path in paths[:-1]:
            self.attempt.store.delete(path)

    def _check_range(self, summary: Summary) -> None:
        """Squares of float64 numbers beyond these overflow, or vanish."""
        columns = self.attempt.plan.columns
        for j, (low, high) in enumerate(zip(summary.minimum, summary.maximum, strict=True)):
            name = columns.features[0 if columns.is_list else j]
            if max(abs(low), abs(high)) > LARGEST or 0 < high - low < SMALLEST:
                raise DataError(
                    f"column {name!r} holds values from {low:g} to {high:g}, expected magnitudes "
                    f"below {LARGEST:g} and a range above {SMALLEST:g}: rescale it"
                )

    def _check_estimate(self, summary: Summary) -> None:
        total, estimate = to_float(summary.weight), summary.sample.estimated_weight()
        if abs(estimate - total) > ESTIMATE_WARNING * total:
            self.warnings.append(
                f"the sample that the start is chosen from stands for a weight of {estimate:,.0f}, "
                f"the rows weigh {total:,.0f}: some rows are there very often, and the start may "
                "miss them"
            )
            say(f"warning: {self.warnings[-1]}")


def resolve_k(options: FitOptions, given: GivenPrototypes | None) -> int:
    """k: as asked for, as many as are given, or the default.

    Raises:
        UsageError: more prototypes are given than k.
    """
    if given is None:
        return options.k or DEFAULT_K
    k = options.k or len(given.rows)
    if len(given.rows) > k:
        raise UsageError(f"--init {options.init}: {len(given.rows)} prototypes, more than --k {k}")
    return k


def _label_numbers(k: int, given: GivenPrototypes | None) -> np.ndarray:
    """The given prototypes keep their labels; new ones take the next numbers."""
    if given is None:
        return np.arange(k, dtype=np.int32)
    first = int(given.labels.max()) + 1
    new = np.arange(first, first + k - len(given.labels))
    return np.concatenate([given.labels, new]).astype(np.int32)
