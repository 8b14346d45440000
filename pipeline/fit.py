"""The stages of `fit`, from the scan to the files of the output."""

from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric
from kmeans_tf.sample import sample_capacity
from kmeans_tf.seeding import initial_prototypes
from kmeans_tf.state import DIVERGED
from kmeans_tf.summary import Summary
from pipeline.attempt import Attempt
from pipeline.checks import check_scanned, estimate_warning
from pipeline.console import say
from pipeline.errors import DataError, RunError, UsageError
from pipeline.options import DEFAULT_K, FitOptions
from pipeline.output.results import Results, write_results
from pipeline.passes.checkpoint import (
    checkpoints,
    find_state,
    find_summary,
    latest_state,
    load_summary,
    save_state,
)
from pipeline.previous import InitialPrototypes
from pipeline.progress import training_progress
from pipeline.transforms import Blocks, Loader, Scan, ScanSpec, Train, TrainSpec


@dataclass
class Fit:
    """One attempt at `fit`: every stage takes up what an attempt before it has left."""

    attempt: Attempt
    options: FitOptions
    k: int
    metric: Metric
    initial: InitialPrototypes | None

    def files(self) -> dict[str, str]:
        """Does everything up to publishing.

        Returns:
            The path of every file of the output by the name it is to have.
        """
        summary = self.scan()
        check_scanned(self.options, self.k, self.attempt.plan.columns, summary)
        if warning := estimate_warning(summary):
            self.attempt.warn(warning)
        layout = self.layout(summary)
        state = self.train(layout, self.start(layout, summary))
        model = self.model(layout, state.trials[0])
        totals = self.attempt.label(model)
        results = Results(self.attempt.plan, model, state.trials[0], totals, summary.sample.rows)
        return write_results(self.attempt.work, results, self.attempt.record(results))

    def scan(self) -> Summary:
        """Reads everything once, unless that was done."""
        summary = find_summary(self.attempt.work)
        if summary is not None:
            return summary
        spec = ScanSpec(
            columns=self.attempt.plan.columns,
            metric=self.metric.name,
            seed=self.options.seed,
            capacity=sample_capacity(self.attempt.plan.columns.dimension, self.k),
            moments=self.options.scale == "standard" or self._impute,
            impute=self._impute,
            work=self.attempt.work,
            threads=self.attempt.runner.settings.threads,
        )
        with self.attempt.clock.stage("scan"):
            self.attempt.run(lambda p: p | Blocks(self.attempt.plan.blocks) | Scan(spec))
        return load_summary(self.attempt.work)

    def layout(self, summary: Summary) -> SumLayout:
        """How rows become points, and sums over them whole numbers."""
        try:
            return SumLayout.fit(
                summary,
                self.metric,
                standard=self.options.scale == "standard",
                impute=self._impute,
            )
        except ValueError as error:
            raise DataError(str(error)) from error

    def start(self, layout: SumLayout, summary: Summary) -> TrainingState:
        """The state to train on: the latest checkpoint, or a new start."""
        state = find_state(self.attempt.work)
        if state is not None:
            say(f"resuming after iteration {state.iteration}")
            return state
        with self.attempt.clock.stage("seed"):
            state = TrainingState((self._first_trial(layout, summary),))
            save_state(self.attempt.work, state)
        return state

    def train(self, layout: SumLayout, state: TrainingState) -> TrainingState:
        """Rounds of iterations until the state is done."""
        options = self.options
        if not options.max_iterations:
            return state
        spec = self._train_spec(layout)
        with (
            self.attempt.clock.stage("train"),
            training_progress(
                self.attempt.work,
                options.max_iterations,
                self.attempt.plan.rows,
            ),
        ):
            while not state.done:
                state = self._round(spec, state)
        if state.trials[0].status == DIVERGED:
            if options.learning_rate is None:
                raise UsageError(f"--init {options.init}: the cost is not finite: too far away")
            raise UsageError(
                f"--learning_rate {options.learning_rate}: the cost is not finite after "
                f"{state.iteration} iterations: choose a smaller one"
            )
        return state

    def model(self, layout: SumLayout, trial: Trial) -> Model:
        return Model(
            layout.encoding,
            self.metric.name,
            trial.prototypes,
            trial.labels,
            self.attempt.plan.columns.features,
            self.options.on_bad_row,
        )

    @property
    def _impute(self) -> bool:
        return self.options.on_bad_row == "impute"

    def _first_trial(self, layout: SumLayout, summary: Summary) -> Trial:
        options, initial, encoding = self.options, self.initial, layout.encoding
        points = encoding.encode(summary.sample.rows).astype(np.float64)
        encoded = encoding.encode_prototypes(initial.rows) if initial else None
        try:
            prototypes = initial_prototypes(
                options.init,
                self.metric,
                points,
                summary.sample.weights,
                self.k,
                options.seed,
                encoded,
            )
        except ValueError as error:
            raise DataError(f"--k {self.k}: {error}") from error
        return Trial.start(prototypes, _label_numbers(self.k, initial))

    def _train_spec(self, layout: SumLayout) -> TrainSpec:
        options = self.options
        return TrainSpec(
            loader=Loader(
                self.attempt.plan.columns,
                layout,
                self.metric.name,
                drop_bad=options.on_bad_row != "fail",
                store=self.attempt.plan.store,
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

    def _round(self, spec: TrainSpec, state: TrainingState) -> TrainingState:
        left = self.options.max_iterations - state.iteration
        iterations = min(self.attempt.runner.settings.iterations_per_job, left)

        def build(pipeline: beam.Pipeline) -> None:
            start = pipeline | beam.Create([state])
            blocks = pipeline | Blocks(self.attempt.plan.blocks)
            _ = (blocks, start) | Train(spec, iterations)

        self.attempt.run(build)
        reached = self._beyond(state)
        self._drop_old_checkpoints()
        return reached

    def _beyond(self, state: TrainingState) -> TrainingState:
        """The state that the workers reached; a round that is lost would be run for ever."""
        reached = latest_state(self.attempt.work)
        if reached.iteration <= state.iteration and not reached.done:
            raise RunError(
                f"the checkpoints of the workers did not reach {self.attempt.work.path} here: "
                "give an --output that every worker and the driver reach"
            )
        return reached

    def _drop_old_checkpoints(self) -> None:
        """Keeps the newest one, and how long each iteration took."""
        store, paths = self.attempt.work.store, checkpoints(self.attempt.work)
        files = [file for file in map(store.version, paths) if file]
        times = [file.modified for file in files]
        self.attempt.clock.iterations += (np.diff(times) / 1e9).tolist()
        for path in paths[:-1]:
            store.delete(path)


def resolve_k(options: FitOptions, initial: InitialPrototypes | None) -> int:
    """k: as asked for, as many as there are to start from, or the default.

    Raises:
        UsageError: there are more prototypes to start from than k.
    """
    if initial is None:
        return options.k or DEFAULT_K
    k, count = options.k or len(initial.rows), len(initial.rows)
    if count > k:
        raise UsageError(f"--init {options.init}: {count} prototypes, more than --k {k}")
    return k


def _label_numbers(k: int, initial: InitialPrototypes | None) -> np.ndarray:
    """Prototypes to start from keep their labels; new ones take the next numbers."""
    if initial is None:
        return np.arange(k, dtype=np.int32)
    first = int(initial.labels.max()) + 1
    new = np.arange(first, first + k - len(initial.labels))
    return np.concatenate([initial.labels, new]).astype(np.int32)
