"""The stages of `fit`, from the scan to the files of the output."""

from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial
from kmeans_tf.encoding import DOUBLE
from kmeans_tf.fixed_point import WeightError
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric
from kmeans_tf.proof import PROVEN
from kmeans_tf.sample import sample_capacity
from kmeans_tf.start import PrecisionError, StartOptions, choose_start, layout_for
from kmeans_tf.state import DIVERGED
from kmeans_tf.summary import Summary
from pipeline.attempt import Attempt
from pipeline.checks import check_scanned, estimate_warning, precision_error
from pipeline.console import say
from pipeline.data.names import listed
from pipeline.errors import SHARED_OUTPUT, DataError, SetupError, UsageError
from pipeline.options import FitOptions
from pipeline.output.features import feature_table
from pipeline.output.results import Results, load_drawing_ahead, write_results
from pipeline.passes.checkpoint import (
    checkpoints,
    find_checkpoint,
    find_state,
    find_summary,
    latest_state,
    load_summary,
    save_state,
)
from pipeline.passes.train import slices_for
from pipeline.previous import LARGEST_LABEL, InitialPrototypes
from pipeline.progress import training_progress
from pipeline.transforms import Loader, Scan, ScanSpec, Train, TrainSpec


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
        if not self.options.names.features:
            say(f"features: {listed(self.attempt.plan.columns.features)}")
        layout, start = self._begin()
        state = self.train(layout, start)
        model = self.model(layout, state.trials[0])
        summary = self.scan()  # read again: it is large, and let go while training goes on
        totals = self.attempt.label(model, summary.minimum, summary.maximum)
        results = Results(
            self.attempt.plan,
            model,
            state.trials[0],
            totals,
            summary.sample.rows,
            state.precision,
            feature_table(self.attempt.plan.columns, summary),
        )
        run, tensorboard = self.attempt.record(results), self.options.run.tensorboard
        return write_results(self.attempt.work, results, run, tensorboard)

    def _begin(self) -> tuple[SumLayout, TrainingState]:
        summary = self.scan()
        check_scanned(self.options, self.k, self.attempt.plan.columns, summary)
        if warning := estimate_warning(summary):
            self.attempt.warn(warning)
        return self.start(summary)

    def scan(self) -> Summary:
        """Reads everything once, unless that was done."""
        summary = find_summary(self.attempt.work)
        if summary is not None:
            return summary.completed(self.metric)
        spec = ScanSpec(
            columns=self.attempt.plan.columns,
            metric=self.metric.name,
            seed=self.options.seed,
            capacity=sample_capacity(self.attempt.plan.columns.dimension, self.k),
            moments=self.options.scale == "standard" or self._impute,
            impute=self._impute,
            work=self.attempt.work,
            store=self.attempt.plan.store,
            cache=self.attempt.cache,
        )
        with self.attempt.clock.stage("scan"):
            self.attempt.run(lambda blocks: blocks | Scan(spec))
        return load_summary(self.attempt.work).completed(self.metric)

    def start(self, summary: Summary) -> tuple[SumLayout, TrainingState]:
        """The layout and the state to train on: from the latest checkpoint, or a new start."""
        state = find_state(self.attempt.work)
        try:
            if state is not None:
                say(f"resuming after iteration {state.iteration}")
                return layout_for(summary, self.metric, self._start, state.precision), state
            load_drawing_ahead()
            with self.attempt.clock.stage("seed"):
                layout, trial = choose_start(
                    summary, self.metric, self._start, self.attempt.runner.settings.threads
                )
        except WeightError as error:
            raise DataError(f"--weight {self.options.names.weight}: {error}") from error
        except PrecisionError as error:
            raise precision_error(error, self.attempt.plan.columns) from error
        except ValueError as error:
            raise DataError(f"--k {self.k}: {error}") from error
        precision = layout.encoding.precision
        if precision != self.options.precision and precision == DOUBLE:
            say("precision: double: float32 is too coarse for these rows or weights")
        trial = replace(trial, labels=label_numbers(self.k, self.initial))
        state = TrainingState((trial,), precision=precision)
        save_state(self.attempt.work, state)
        return layout, state

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
                options.tolerance,
            ),
        ):
            while not state.done:
                state = self._round(spec, state)
        self.attempt.work.store.delete(self.attempt.work.staged)
        self._tell_start(state.trials[0])
        if state.trials[0].status == DIVERGED:
            if options.learning_rate is None:
                raise UsageError(f"--init {options.init}: the cost is not finite: too far away")
            raise UsageError(
                f"--learning_rate {options.learning_rate}: the cost is not finite after "
                f"{state.iteration} iterations: choose a smaller one"
            )
        return state

    def _tell_start(self, trial: Trial) -> None:
        """Says how the start was found, where the sample was not enough for it."""
        proof = trial.proof
        if not proof or proof.trainings == 1 or proof.cost is None:
            return
        again = proof.trainings - 1
        text = (
            f"start: the sample missed rows; trained again {again} time{'s' if again > 1 else ''} "
            "with rows that were drawn by their cost"
        )
        if proof.cost <= PROVEN * proof.expected_cost:
            say(text)
        else:
            self.attempt.warn(
                f"{text}, and still {proof.cost / proof.expected_cost:.2f} "
                "times the cost that the samples say: try another --seed or --init k-means-parallel"
            )

    def model(self, layout: SumLayout, trial: Trial) -> Model:
        """The model of what was trained; prototypes that were only to label stay as they came."""
        model = Model.trained(
            layout.encoding,
            self.metric.name,
            trial.prototypes,
            trial.labels,
            self.attempt.plan.columns.features,
            self.options.on_bad_row,
        )
        if trial.costs or not self.initial or self.metric.normalize:
            return model
        new = model.prototypes[len(self.initial.rows) :]
        return replace(model, prototypes=np.concatenate([self.initial.rows, new]))

    @property
    def _impute(self) -> bool:
        return self.options.on_bad_row == "impute"

    @property
    def _start(self) -> StartOptions:
        options = self.options
        return StartOptions(
            k=self.k,
            init="k-means++" if self.initial else options.init,
            seed=options.seed,
            standard=options.scale == "standard",
            impute=self._impute,
            precision=options.precision,
            first=self.initial.rows if self.initial else None,
        )

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
            cache=self.attempt.cache,
            slices=slices_for(layout, self.metric, self.k),
        )

    def _round(self, spec: TrainSpec, state: TrainingState) -> TrainingState:
        settings = self.attempt.runner.settings
        left = self.options.max_iterations - state.iteration
        iterations = min(settings.iterations_per_job(state.iteration), left)

        checkpoint = find_checkpoint(self.attempt.work, state.iteration)
        self.attempt.clock.jobs.append(len(self.attempt.clock.iterations))

        def build(blocks: beam.PCollection) -> None:
            start = blocks.pipeline | "Start" >> beam.Create([checkpoint])
            _ = (blocks, start) | Train(spec, iterations, gathered=settings.one_process)

        self.attempt.run(build)
        reached = self._beyond(state)
        self._drop_old_checkpoints()
        return reached

    def _beyond(self, state: TrainingState) -> TrainingState:
        """The state that the workers reached; a round that is lost would be run for ever."""
        reached = latest_state(self.attempt.work)
        if reached.iteration <= state.iteration and not reached.done:
            raise SetupError(
                f"the checkpoints of the workers did not reach {self.attempt.work.path} here: "
                + SHARED_OUTPUT
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


def label_numbers(k: int, initial: InitialPrototypes | None) -> np.ndarray:
    """Prototypes to start from keep their labels; new ones take the next numbers (k,) int32.

    Where there are not so many above, the new ones take the smallest that are free.
    """
    if initial is None:
        return np.arange(k, dtype=np.int32)
    first, count = int(initial.labels.max()) + 1, k - len(initial.labels)
    new = np.arange(first, first + count)
    if first + count > LARGEST_LABEL + 1:
        new = np.setdiff1d(np.arange(k), initial.labels)[:count]
    return np.concatenate([initial.labels, new]).astype(np.int32)
