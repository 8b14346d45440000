"""The stages of `fit`, from the scan to the files of the output."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial
from kmeans_tf.assign import prepare
from kmeans_tf.encoding import DOUBLE
from kmeans_tf.figures import SILHOUETTE, Figures, Trials
from kmeans_tf.fixed_point import WeightError
from kmeans_tf.layout import SumLayout
from kmeans_tf.matching import free_numbers
from kmeans_tf.metrics import Metric
from kmeans_tf.proof import PROVEN
from kmeans_tf.sample import sample_capacity
from kmeans_tf.start import AUTO, PrecisionError, StartOptions, choose_starts, layout_for
from kmeans_tf.state import DEADLINE, DIVERGED
from kmeans_tf.summary import Summary
from pipeline.command_line.gates import Bound
from pipeline.command_line.options import FitOptions
from pipeline.console import say
from pipeline.data.names import listed
from pipeline.driver.attempt import Attempt
from pipeline.driver.checks import check_scanned, estimate_warning, precision_error
from pipeline.driver.drift import Continuation, moved_share
from pipeline.driver.pace import Pace
from pipeline.driver.progress import training_progress
from pipeline.errors import (
    SHARED_OUTPUT,
    DataError,
    NoResumeError,
    RunError,
    SetupError,
    UsageError,
)
from pipeline.nights.night import Night
from pipeline.nights.previous import InitialPrototypes
from pipeline.output.features import feature_table
from pipeline.output.results import Results, load_drawing_ahead, save_model, write_results
from pipeline.output.run_record import Gate, Match, RunRecord
from pipeline.passes.checkpoint import (
    checkpoints,
    find_checkpoint,
    find_figures,
    find_state,
    find_summary,
    forget_figures,
    forget_labels,
    latest_state,
    load_figures,
    load_summary,
    save_state,
    settle,
)
from pipeline.passes.figures import FiguresSpec, FindFigures
from pipeline.passes.label import Trained
from pipeline.passes.train import slices_for
from pipeline.transforms import Loader, Scan, ScanSpec, Train, TrainSpec


@dataclass
class Fit:
    """One attempt at `fit`: every stage takes up what an attempt before it has left."""

    attempt: Attempt
    options: FitOptions
    ks: Sequence[int]
    metric: Metric
    initial: InitialPrototypes | None
    night: Night | None = None

    def files(self) -> dict[str, str]:
        """Does everything up to publishing.

        Returns:
            The path of every file of the output by the name it is to have.
        """
        if not self.options.names.features:
            say(f"features: {listed(self.attempt.plan.columns.features)}")
        layout, start = self._begin()
        state = self.train(layout, start)
        trials = self.chosen(layout, state)
        self.attempt.work.store.delete(self.attempt.work.staged)
        model, continued = self._numbered(self.model(layout, trials.best))
        summary = self.scan()  # read again: it is large, and let go while training goes on
        corners = summary.minimum, summary.maximum
        totals = self.attempt.label(model, corners, Trained(layout.encoding, trials.chosen))
        results = Results(
            self.attempt.plan,
            model,
            trials,
            totals,
            summary.sample.rows,
            state.precision,
            feature_table(self.attempt.plan.columns, summary),
        )
        run, tensorboard = self._record(results, continued), self.options.run.tensorboard
        files = write_results(self.attempt.work, results, run, tensorboard)
        return files | save_model(self.attempt.work, model)

    def _numbered(self, model: Model) -> tuple[Model, Continuation | None]:
        """The model with labels that clusters keep from an earlier night, if there is one."""
        if self.night is None:
            return model, None
        earlier = self.night.model(self.attempt.plan.columns)
        continued = Continuation(self.night, earlier, model)
        return continued.numbered, continued

    def _record(self, results: Results, continued: Continuation | None) -> RunRecord:
        """What run.json says, with what became of the earlier night's clusters and of the gates."""
        match, highest = None, int(results.model.labels.max())
        if continued:
            share = moved_share(self.attempt, continued.night, results.totals)
            match = continued.told(results.totals.rows, share)
            highest = max(highest, continued.night.highest_label)
        gates = judged(self.options.gates, self._bounded(results, match))
        for gate in gates:
            if gate.value is None:
                say(f"gate {gate.text}: cannot be told of this run, and passes")
        self.attempt.gates = gates
        return replace(
            self.attempt.record(results),
            match=match,
            gates=gates,
            previous_seconds=continued.night.seconds if continued else None,
            highest_label=highest,
        )

    def _bounded(self, results: Results, match: Match | None) -> dict[str, float]:
        """What gates may bound, by name, as far as it is known."""
        totals, trials = results.totals, results.trials
        figures = {
            "smallest_cluster": float(totals.rows.min()),
            "bad_rows": totals.bad_rows / totals.all_rows if totals.all_rows else 0.0,
        }
        silhouette = trials.figures[trials.chosen].silhouette if trials and trials.figures else None
        if silhouette is not None:
            figures["silhouette"] = silhouette
        if match and match.moved_share is not None:
            figures["moved_share"] = match.moved_share
        if match and self.night and self.night.comparable(self.options) and results.weight:
            figures["cost_increase"] = increase(
                match.previous_cost_per_weight, results.cost / results.weight
            )
        return figures

    def _begin(self) -> tuple[SumLayout, TrainingState]:
        summary = self.scan()
        check_scanned(self.options, max(self.ks), self.attempt.plan.columns, summary)
        if warning := estimate_warning(summary):
            self.attempt.warn(warning)
        return self.start(summary)

    def scan(self) -> Summary:
        """Reads everything once, unless that was done."""
        summary = find_summary(self.attempt.work)
        if summary is not None:
            return summary.completed(self.metric)
        plan = self.attempt.plan
        spec = ScanSpec(
            columns=plan.columns,
            metric=self.metric.name,
            seed=self.options.seed,
            capacity=sample_capacity(plan.columns.dimension, max(self.ks)),
            moments=self.options.scale == "standard" or self._impute,
            impute=self._impute,
            work=self.attempt.work,
            store=plan.store,
            cache=self.attempt.cache,
        )
        with self.attempt.clock.stage("scan"):
            if self.attempt.runner.settings.one_process:  # this one is the worker
                prepare(self.metric, plan.rows, plan.columns.dimension, self.ks)
            self.attempt.run(lambda blocks: blocks | Scan(spec))
        return load_summary(self.attempt.work).completed(self.metric)

    def start(self, summary: Summary) -> tuple[SumLayout, TrainingState]:
        """The layout and the state to train on: from the latest checkpoint, or a new start."""
        state = find_state(self.attempt.work)
        try:
            if state is not None:
                say(f"resuming after iteration {state.iteration}")
                start = self._starts[0]
                return layout_for(summary, self.metric, start, state.precision), state
            load_drawing_ahead()
            with self.attempt.clock.stage("seed"):
                layout, trials = choose_starts(
                    summary, self.metric, self._starts, self.attempt.runner.settings.threads
                )
        except WeightError as error:
            raise DataError(f"--weight {self.options.names.weight}: {error}") from error
        except PrecisionError as error:
            raise precision_error(error, self.attempt.plan.columns) from error
        except ValueError as error:
            raise DataError(f"--k {max(self.ks)}: {error}") from error
        precision = layout.encoding.precision
        if precision != self.options.precision and precision == DOUBLE:
            say("precision: double: float32 is too coarse for these rows or weights")
        held = len(summary.sample.ranks)
        starts = zip(trials, self._starts, strict=True)
        for k in dict.fromkeys(how.k for t, how in starts if how.init == AUTO and t.proof is None):
            say(f"start: {k:,} random rows, untrained: the sample holds only {held:,}")
        numbered = (
            replace(trial, labels=label_numbers(start.k, self.initial))
            for trial, start in zip(trials, self._starts, strict=True)
        )
        state = TrainingState(tuple(numbered), precision=precision)
        save_state(self.attempt.work, state)
        return layout, state

    def train(self, layout: SumLayout, state: TrainingState) -> TrainingState:
        """Rounds of iterations until the state is done."""
        options = self.options
        if not options.max_iterations:
            return state
        spec, pace = self._train_spec(layout), self._pace()
        if not state.done:  # what an attempt that was killed, or a deadline stopped, has left
            self.attempt.work.store.delete(self.attempt.work.staged)
            forget_figures(self.attempt.work)
            forget_labels(self.attempt.work)
        with (
            self.attempt.clock.stage("train"),
            training_progress(
                self.attempt.work,
                options.max_iterations,
                self.attempt.plan.rows,
                options.tolerance,
            ),
        ):
            while not state.done and (iterations := pace.iterations(self._most(state))):
                start = time.perf_counter()
                state = self._round(spec, state, iterations)
                pace.measured(time.perf_counter() - start, iterations)
        if not state.done:
            state = self._stopped(state)
        if all(trial.status == DIVERGED for trial in state.trials):
            if options.learning_rate is None:
                raise UsageError(f"--init {options.init}: the cost is not finite: too far away")
            raise UsageError(
                f"--learning_rate {options.learning_rate}: the cost is not finite after "
                f"{state.iteration} iterations: choose a smaller one"
            )
        return state

    @property
    def _needs_figures(self) -> bool:
        """Whether there are trials to choose from, or a gate asks for what rows tell of one."""
        asked = any(bound.figure == SILHOUETTE for bound in self.options.gates)
        return asked or len(self._starts) > 1

    def _pace(self) -> Pace:
        """Rows are read for figures, if wanted, and labelled; labels are read to join them."""
        reads = 1 + self._needs_figures + bool(self.night and self.options.names.keys)
        return Pace(self.options.deadline, reads, self.attempt.clock.seconds["scan"])

    def _most(self, state: TrainingState) -> int:
        """How many iterations the next round may have."""
        left = self.options.max_iterations - state.iteration
        return min(self.attempt.runner.settings.iterations_per_job(state.iteration), left)

    def _stopped(self, state: TrainingState) -> TrainingState:
        """The state as it is labelled with where time is up; on disk the training still runs."""
        if any(trial.oversampling for trial in state.trials):
            raise RunError(
                f"--deadline: iteration {state.iteration} is too early to stop, for --init "
                f"{self.options.init} still draws the start"
            )
        self.attempt.warn(
            f"--deadline: training was stopped after {state.iteration} iterations, so that there "
            "is time to label and publish"
        )
        return state.stopped(DEADLINE)

    def chosen(self, layout: SumLayout, state: TrainingState) -> Trials:
        """The trials, and which of them is the best."""
        found = tuple(self._figures(layout, state)) if self._needs_figures else ()
        trials = Trials(state.trials, found, self.options.choose, self.options.restarts)
        if len(found) > 1:
            k, figure = len(trials.best.prototypes), getattr(found[trials.chosen], trials.choose)
            told = "not defined" if figure is None else f"{figure:.6g}"
            say(f"chosen: trial {trials.chosen}, k = {k}, of {len(found)}: {trials.choose} {told}")
        self._tell_start(trials.best)
        return trials

    def _figures(self, layout: SumLayout, state: TrainingState) -> Iterator[Figures]:
        """How well the prototypes of each trial part the rows, found in one pass for all."""
        work = self.attempt.work
        sums = find_figures(work)
        if sums is None:
            # On disk, a training that a deadline stopped still runs.
            checkpoint = find_checkpoint(work, state.iteration) or save_state(work, state)
            spec = FiguresSpec(self._loader(layout), checkpoint, work, self.attempt.cache)
            with self.attempt.clock.stage("figures"):
                self.attempt.run(lambda blocks: blocks | FindFigures(spec))
            sums = load_figures(work)
        for number, trial in enumerate(state.trials):
            if number in sums.trials:
                total = sums.trials[number]
                yield Figures.of(self.metric, layout.encoding, trial.prototypes, total)
            else:
                yield Figures(np.inf)

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
    def _starts(self) -> list[StartOptions]:
        """How each trial begins: a k after the other, each with a seed for every restart."""
        options = self.options
        return [
            StartOptions(
                k=k,
                init="k-means++" if self.initial else options.init,
                seed=options.seed + restart,
                standard=options.scale == "standard",
                impute=self._impute,
                precision=options.precision,
                first=self.initial.rows if self.initial else None,
            )
            for k in self.ks
            for restart in range(options.restarts)
        ]

    def _loader(self, layout: SumLayout) -> Loader:
        plan = self.attempt.plan
        drop_bad = self.options.on_bad_row != "fail"
        trials = len(self.ks) * self.options.restarts
        return Loader(plan.columns, layout, self.metric.name, drop_bad, plan.store, trials)

    def _train_spec(self, layout: SumLayout) -> TrainSpec:
        options = self.options
        return TrainSpec(
            loader=self._loader(layout),
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
            slices=slices_for(layout, self.metric, [start.k for start in self._starts]),
        )

    def _round(self, spec: TrainSpec, state: TrainingState, iterations: int) -> TrainingState:
        one_process = self.attempt.runner.settings.one_process
        checkpoint = find_checkpoint(self.attempt.work, state.iteration)
        if checkpoint is None:
            raise NoResumeError(
                f"{self.attempt.work.state(state.iteration)} is gone: run the job again"
            )
        self.attempt.clock.jobs.append(len(self.attempt.clock.iterations))

        def build(blocks: beam.PCollection) -> None:
            start = blocks.pipeline | "Start" >> beam.Create([checkpoint])
            _ = (blocks, start) | Train(spec, iterations, gathered=one_process)

        self.attempt.run(build)
        reached = self._beyond(state)
        self._drop_old_checkpoints(state.iteration)
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

    def _drop_old_checkpoints(self, begun: int) -> None:
        """Keeps the newest, on the disk, and the one before it, and how long each iteration took.

        Args:
            begun: the iteration that the round began from.
        """
        work, paths = self.attempt.work, checkpoints(self.attempt.work)
        of_round = [path for path in paths if path >= work.state(begun)]
        files = [file for file in map(work.store.version, of_round) if file]
        times = [file.modified for file in files]
        # The clock may be set back meanwhile.
        self.attempt.clock.iterations += np.maximum(np.diff(times) / 1e9, 0.0).tolist()
        settle(work)
        for path in paths[:-2]:
            work.store.delete(path)


def judged(bounds: Sequence[Bound], figures: dict[str, float]) -> list[Gate]:
    """Whether bounds hold; one on a figure that is not known passes."""
    values = [figures.get(bound.figure) for bound in bounds]
    return [
        Gate(bound.text, value, value is None or bound.holds(value))
        for bound, value in zip(bounds, values, strict=True)
    ]


def increase(before: float, now: float) -> float:
    """By which share of itself a number has grown."""
    if not before:
        return math.inf if now else 0.0
    return now / before - 1.0


def label_numbers(k: int, initial: InitialPrototypes | None) -> np.ndarray:
    """Prototypes to start from keep their labels; new ones take the next numbers (k,) int32."""
    if initial is None:
        return np.arange(k, dtype=np.int32)
    taken = initial.labels
    new = free_numbers(taken, int(taken.max()), k - len(taken))
    return np.concatenate([initial.labels, new]).astype(np.int32)
