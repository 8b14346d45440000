"""The commands: fit, label and report, each read from top to bottom as what it does."""

import contextlib
import hashlib
import json
import shlex
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import apache_beam as beam
import numpy as np

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.frame import Frame
from kmeans_tf.metrics import Metric
from kmeans_tf.sample import sample_capacity
from kmeans_tf.seeding import INITS, initial_prototypes
from kmeans_tf.state import DIVERGED
from kmeans_tf.summary import Summary
from pipeline.checkpoint import (
    LabelTotals,
    WorkFolder,
    checkpoints,
    latest_state,
    load_manifest,
    load_summary,
    save_state,
)
from pipeline.chunks import Loader
from pipeline.console import say
from pipeline.errors import DataError, UsageError
from pipeline.label import Label, LabelJob, label_schema
from pipeline.options import DEFAULT_K, FitOptions, LabelOptions, ReportOptions
from pipeline.output import Output
from pipeline.plan import GivenPrototypes, Plan, make_plan, read_prototypes
from pipeline.progress import training_progress
from pipeline.results import Results, draw_report, versions, write_results
from pipeline.runner import Blocks, Runner
from pipeline.scan import Scan, ScanJob
from pipeline.store import Store
from pipeline.train import Train, TrainingJob

ESTIMATE_WARNING = 0.10
_BAD_SHOWN = 5


def fit(options: FitOptions) -> None:
    """The whole job.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    store = Store()
    output = Output(store, options.output)
    output.check()
    runner = Runner(options.run)
    runner.check()
    metric = _metric(options.metric)
    plan = make_plan(store, options.input, options.names)
    given = None
    if options.init not in INITS:
        given = read_prototypes(store, options.init, plan.columns)
    options = replace(options, k=_k(options, given))
    configuration = options.configuration() | {"files": plan.fingerprint()}
    if given:
        configuration["prototypes"] = _digest([given.rows.tolist(), given.labels.tolist()])
    work = output.claim(configuration, _digest(configuration))
    with _abandoning(output, work):
        if not output.publishing(work):
            run = Fit(store, options, metric, plan, given, work, runner)
            output.publish(work, run.files(configuration))
        else:
            output.finish_publishing(work)
    say(f"done: {output.path}")


def label(options: LabelOptions) -> None:
    """Labels the input with a model that was trained before.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    store = Store()
    output = Output(store, options.output)
    output.check()
    runner = Runner(options.run)
    runner.check()
    model = _load_model(store, options)
    names = options.names
    if not names.features:
        names = replace(names, features=model.features)
    plan = make_plan(store, options.input, names)
    if plan.columns.dimension != model.dimension:
        raise UsageError(
            f"--model {options.model} takes {model.dimension} features, "
            f"the input has {plan.columns.dimension}"
        )
    configuration = options.configuration() | {"files": plan.fingerprint()}
    configuration["prototypes"] = _model_digest(model)
    work = output.claim(configuration, _digest(configuration))
    with _abandoning(output, work):
        if output.publishing(work):
            output.finish_publishing(work)
        else:
            clock = Clock()
            totals = label_pass(store, plan, model, work, runner, clock)
            results = Results(plan, model, None, totals, np.empty((0, model.dimension)))
            run = describe_run(plan, configuration, options.run.runner, totals, clock)
            files = write_results(store, work, results, run, with_model=False)
            output.publish(work, files)
    say(f"done: {output.path}")


def report(options: ReportOptions) -> None:
    """Draws the report of a run again."""
    draw_report(Store(), options.folder)


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        say(f"{name}: {self.seconds[name]:.1f} s")


@dataclass
class Fit:
    """One attempt at `fit`: every stage takes up what an attempt before it has left."""

    store: Store
    options: FitOptions
    metric: Metric
    plan: Plan
    given: GivenPrototypes | None
    work: WorkFolder
    runner: Runner
    clock: Clock = field(default_factory=Clock)
    warnings: list[str] = field(default_factory=list)
    iteration_seconds: list[float] = field(default_factory=list)

    def files(self, configuration: dict) -> dict[str, str]:
        """Does everything up to publishing.

        Returns:
            The path of every file of the output by the name it is to have.
        """
        summary = self.scan()
        self.check(summary)
        frame = self.frame(summary)
        state = self.train(frame, self.start(frame, summary))
        model = self.model(frame, state.trials[0])
        totals = label_pass(self.store, self.plan, model, self.work, self.runner, self.clock)
        results = Results(self.plan, model, state.trials[0], totals, summary.sample.rows)
        run = describe_run(
            self.plan, configuration, self.options.run.runner, totals, self.clock, self.warnings
        )
        run["counts"]["sample_rows"] = len(summary.sample.rows)
        run["seconds"]["iterations"] = self.iteration_seconds
        return write_results(self.store, self.work, results, run, with_model=True)

    def scan(self) -> Summary:
        """Reads everything once, unless that was done."""
        found = load_summary(self.store, self.work)
        if found is not None:
            return found
        job = ScanJob(
            columns=self.plan.columns,
            metric=self.metric.name,
            seed=self.options.seed,
            capacity=sample_capacity(self.plan.columns.dimension, self.options.k),
            moments=self.options.scale == "standard" or self._impute,
            impute=self._impute,
            work=self.work,
            threads=self.runner.threads,
        )
        with self.clock.stage("scan"):
            self.runner.run(lambda p: p | Blocks(self.plan.blocks) | Scan(job))
        return load_summary(self.store, self.work)

    def check(self, summary: Summary) -> None:
        """Raises a DataError if the rows cannot be clustered as asked."""
        options = self.options
        if options.on_bad_row == "fail" and summary.bad_rows:
            raise bad_rows_error(summary.bad_rows, summary.rows, summary.bad)
        if not len(summary.sample.hashes):
            if summary.bad_rows == summary.rows:
                raise DataError(f"all {summary.rows} rows are bad: {_bad_text(summary.bad)}")
            raise DataError(f"weight column {options.names.weight!r} is 0 in every good row")
        distinct = len(summary.sample.hashes)
        if not summary.sample.full and distinct < options.k:
            raise DataError(f"--k {options.k}: there are only {distinct} distinct good rows")
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
        state = latest_state(self.store, self.work)
        if state is not None:
            say(f"resuming after iteration {state.iteration}")
            return state
        with self.clock.stage("seed"):
            state = TrainingState((self._first_trial(frame, summary),))
            save_state(self.store, self.work, state)
        return state

    def train(self, frame: Frame, state: TrainingState) -> TrainingState:
        """Rounds of iterations until the state is done."""
        options = self.options
        if not options.max_iterations:
            return state
        job = self._training_job(frame)
        with (
            self.clock.stage("train"),
            training_progress(self.store, self.work, options.max_iterations, self.plan.rows),
        ):
            while not state.done:
                state = self._round(job, state)
        if state.trials[0].status == DIVERGED:
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
            self.plan.columns.features,
            self.options.on_bad_row,
        )

    @property
    def _impute(self) -> bool:
        return self.options.on_bad_row == "impute"

    def _first_trial(self, frame: Frame, summary: Summary) -> Trial:
        options, given = self.options, self.given
        points = frame.encode(summary.sample.rows).astype(np.float64)
        encoded = given and frame.encode_prototypes(given.rows)
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
                self.plan.columns,
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
            work=self.work,
            configuration=self.work.path,
            cache_bytes=options.run.cache_mb << 20,
            threads=self.runner.threads,
        )

    def _round(self, job: TrainingJob, state: TrainingState) -> TrainingState:
        left = self.options.max_iterations - state.iteration
        iterations = min(self.runner.iterations_per_job, left)

        def build(pipeline: beam.Pipeline) -> None:
            start = pipeline | beam.Create([state])
            blocks = pipeline | Blocks(self.plan.blocks)
            _ = (blocks, start) | Train(job, iterations)

        self.runner.run(build)
        paths = checkpoints(self.store, self.work)
        times = [self.store.version(path).modified for path in paths]
        self.iteration_seconds += (np.diff(times) / 1e9).tolist()
        for path in paths[:-1]:
            self.store.delete(path)
        return latest_state(self.store, self.work)

    def _check_estimate(self, summary: Summary) -> None:
        from kmeans_tf.exact import to_float

        total, estimate = to_float(summary.weight), summary.sample.estimated_weight()
        if abs(estimate - total) > ESTIMATE_WARNING * total:
            self.warnings.append(
                f"the sample that the start is chosen from stands for a weight of {estimate:,.0f}, "
                f"the rows weigh {total:,.0f}: some rows are there very often, and the start may "
                "miss them"
            )
            say(f"warning: {self.warnings[-1]}")


def label_pass(
    store: Store, plan: Plan, model: Model, work: WorkFolder, runner: Runner, clock: Clock
) -> LabelTotals:
    """Writes a label for every row below the work folder, unless that was done.

    Raises:
        DataError: there are bad rows, and the policy is to fail.
    """
    totals = load_manifest(store, work)
    if totals is None:
        schema = label_schema(plan.columns, plan.footers[0])
        job = LabelJob(plan.columns, schema, model, len(plan.blocks), work, runner.threads)
        with clock.stage("label"):
            runner.run(lambda p: p | Blocks(plan.blocks) | Label(job))
        totals = load_manifest(store, work)
    if model.on_bad_row == "fail" and totals.bad_rows:
        raise bad_rows_error(totals.bad_rows, totals.all_rows, totals.bad)
    return totals


def describe_run(
    plan: Plan,
    configuration: dict,
    runner: str,
    totals: LabelTotals,
    clock: Clock,
    warnings: list[str] | None = None,
) -> dict:
    """run.json, less what the results add to it."""
    from kmeans_tf.exact import to_float

    columns = plan.columns
    types = {
        key: str(label_schema(columns, plan.footers[0]).field(key).type) for key in columns.keys
    }
    stages = dict.fromkeys(("scan", "seed", "train", "label"), 0.0) | clock.seconds
    now = datetime.now(timezone.utc)
    return {
        "run_id": f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        "command": [shlex.quote(word) for word in ["kmeans-tf", *sys.argv[1:]]],
        "configuration": configuration | {"runner": runner},
        "schema": {
            "features": list(columns.features),
            "layout": "list" if columns.is_list else "scalars",
            "keys": types,
            "weight": columns.weight,
        },
        "counts": {
            "files": len(plan.footers),
            "row_groups": plan.row_groups,
            "blocks": len(plan.blocks),
            "rows": totals.all_rows,
            "bad_rows": totals.bad_rows,
            "bad": [
                {"file": file, "column": column, "reason": reason, "rows": rows}
                for (file, column, reason), rows in sorted(totals.bad.items())
            ],
            "weight": to_float(sum(totals.weight)),
            "sample_rows": 0,
        },
        "versions": {"python": sys.version.split()[0]} | versions(),
        "input": {"fingerprint": plan.fingerprint(), "bytes": plan.nbytes},
        "seconds": stages | {"iterations": []},
        "warnings": warnings or [],
    }


def bad_rows_error(bad_rows: int, rows: int, bad: Counter) -> DataError:
    """The message for bad rows under the policy to fail."""
    return DataError(
        f"{bad_rows} of {rows} rows are bad: {_bad_text(bad)}: mend them, or choose "
        "--on_bad_row null or impute"
    )


def _bad_text(bad: Counter) -> str:
    shown = sorted(bad.items())[:_BAD_SHOWN]
    parts = [f"{file}: column {column!r}: {n} {reason}" for (file, column, reason), n in shown]
    more = len(bad) - len(shown)
    return "; ".join(parts) + (f"; and {more} more files or columns" if more else "")


def _metric(name: str) -> Metric:
    try:
        return get_metric(name)
    except ValueError as error:
        raise UsageError(f"--metric: {error}") from error


def _k(options: FitOptions, given: GivenPrototypes | None) -> int:
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


def _load_model(store: Store, options: LabelOptions) -> Model:
    folder = options.model.rstrip("/")
    candidates = [folder, f"{folder}/model"]
    found = [path for path in candidates if store.version(f"{path}/saved_model.pb")]
    if not found:
        raise UsageError(f"--model {folder}: no saved_model.pb there or in its model folder")
    try:
        with tempfile.TemporaryDirectory() as copy:
            store.download(found[0], Path(copy))
            model = Model.load(copy)
    except ValueError as error:
        raise UsageError(f"--model {error}") from error
    return _with_policy(model, options)


def _with_policy(model: Model, options: LabelOptions) -> Model:
    policy = options.on_bad_row or model.on_bad_row
    if policy != "impute":
        return replace(model, on_bad_row=policy, frame=replace(model.frame, means=None))
    if model.frame.means is None:
        raise UsageError(
            f"--on_bad_row impute: {options.model} was trained without it and knows no means"
        )
    return replace(model, on_bad_row=policy)


def _model_digest(model: Model) -> str:
    arrays = (model.frame.centre, model.frame.factor, model.prototypes, model.labels)
    return _digest([array.tolist() for array in arrays])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _abandoning(output: Output, work: WorkFolder) -> Iterator[None]:
    """Leaves nothing behind where another attempt would fail alike."""
    try:
        yield
    except (UsageError, DataError):
        output.abandon(work)
        raise
