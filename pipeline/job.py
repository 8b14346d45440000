"""The commands: fit, label and report, each read from top to bottom as what it does."""

import contextlib
import hashlib
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kmeans_tf import Model, get_metric
from kmeans_tf.metrics import Metric, check_metric
from kmeans_tf.seeding import INITS
from pipeline.attempt import Attempt
from pipeline.checkpoint import WorkFolder
from pipeline.console import say
from pipeline.errors import DataError, UsageError
from pipeline.fit import Fit, resolve_k
from pipeline.identity import Worker
from pipeline.inputs import split_list
from pipeline.label import label_pass
from pipeline.options import FitOptions, LabelOptions, ReportOptions
from pipeline.output import Output
from pipeline.plan import Plan, make_plan, read_prototypes
from pipeline.preflight import connect, describe_workers, preflight
from pipeline.results import Results, describe_run, draw_report, write_results
from pipeline.runner import Runner
from pipeline.settings import Settings
from pipeline.store import Store, inside


def fit(options: FitOptions) -> None:
    """The whole job.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    store = Store()
    output, settings = _checked(store, options)
    metric = _metric(options.metric)
    plan = make_plan(store, options.input, options.names)
    output.check_input(split_list(options.input), [footer.file for footer in plan.footers])
    request = options.configuration() | {"files": plan.fingerprint()}
    if not options.run.check and output.finish_pending(request):
        say(f"done: {output.path}")
        return
    given = None
    if options.init not in INITS:
        given = read_prototypes(store, options.init, plan.columns)
    options = replace(options, k=resolve_k(options, given))
    configuration = options.configuration() | {"files": plan.fingerprint()}
    if given:
        configuration["prototypes"] = _digest([given.rows.tolist(), given.labels.tolist()])
    if ":" in options.metric:
        configuration["metric_code"] = _digest(inspect.getsource(metric.cost))
    job = _Job(output, settings, plan, request, configuration)
    job.carry_out(lambda attempt: Fit(attempt, options, metric, given).files())


def label(options: LabelOptions) -> None:
    """Labels the input with a model that was trained before.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    store = Store()
    output, settings = _checked(store, options)
    if inside(options.model, output.path):
        raise UsageError(f"--output {output.path} is where --model is: name another folder")
    model = _load_model(store, options)
    features = options.names.features or model.features
    plan = make_plan(store, options.input, replace(options.names, features=features))
    if plan.columns.dimension != model.dimension:
        raise UsageError(
            f"--model {options.model} takes {model.dimension} features, "
            f"the input has {plan.columns.dimension}"
        )
    output.check_input(split_list(options.input), [footer.file for footer in plan.footers])
    configuration = options.configuration() | {"files": plan.fingerprint()}
    configuration["model_content"] = _digest(model.describe())
    if not options.run.check and output.finish_pending(configuration):
        say(f"done: {output.path}")
        return
    job = _Job(output, settings, plan, configuration, configuration)
    job.carry_out(lambda attempt: _label_files(attempt, model))


def report(options: ReportOptions) -> None:
    """Draws the report of a run again."""
    draw_report(Store(), options.folder)


def _checked(store: Store, options: FitOptions | LabelOptions) -> tuple[Output, Settings]:
    """The output and how to run, checked as far as they can be before the input is known."""
    output = Output(store, options.output)
    output.check()
    settings = Settings(options.run)
    settings.check()
    return output, connect(settings)


@dataclass
class _Job:
    """What is to be done, settled before a row is read."""

    output: Output
    settings: Settings
    plan: Plan
    request: dict
    configuration: dict

    def carry_out(self, make_files: Callable[[Attempt], dict[str, str]]) -> None:
        """Makes and publishes the files of the output."""
        if self.settings.options.check:
            self._only_check()
            return
        output, configuration = self.output, self.configuration
        fingerprint = _digest(configuration)
        runner = Runner(self.settings, output.work_folder(fingerprint).path)
        runner.cancel_jobs()
        work = output.claim(configuration, fingerprint)
        with _abandoning(output, work):
            workers = self._preflight(runner, work)
            attempt = Attempt(output.store, self.plan, work, runner, configuration, workers)
            output.publish(work, self.request, make_files(attempt))
        say(f"done: {output.path}")

    def _only_check(self) -> None:
        with self.output.scratch() as work:
            workers = self._preflight(Runner(self.settings, work.path), work)
        say(
            f"ready: {self.settings.runner} (environment: {self.settings.environment}) with "
            f"{describe_workers(workers)}"
        )

    def _preflight(self, runner: Runner, work: WorkFolder) -> list[Worker]:
        return preflight(self.output.store, runner, work, self.plan.footers[0].file)


def _label_files(attempt: Attempt, model: Model) -> dict[str, str]:
    totals = label_pass(attempt, model)
    results = Results(attempt.plan, model, None, totals, np.empty((0, model.dimension)))
    run = describe_run(attempt, totals)
    return write_results(attempt.store, attempt.work, results, run, with_model=False)


def _metric(name: str) -> Metric:
    try:
        metric = get_metric(name)
        check_metric(metric)
    except ValueError as error:
        raise UsageError(f"--metric: {error}") from error
    return metric


def _load_model(store: Store, options: LabelOptions) -> Model:
    folder = options.model.rstrip("/")
    candidates = [folder, f"{folder}/model"]
    found = [path for path in candidates if store.version(f"{path}/saved_model.pb")]
    if not found:
        raise UsageError(f"--model {folder}: no saved_model.pb there or in its model folder")
    with tempfile.TemporaryDirectory() as copy:
        store.download(found[0], Path(copy))
        try:
            model = Model.load(copy)
        except ValueError as error:
            reason = str(error).splitlines()[0].replace(copy, found[0])
            raise UsageError(f"--model {reason}") from error
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
