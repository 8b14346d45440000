"""The commands: fit, label and report, each read from top to bottom as what it does."""

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kmeans_tf import Model, get_metric
from kmeans_tf.metrics import Metric, check_metric
from kmeans_tf.start import INITS
from pipeline.attempt import Attempt
from pipeline.console import say
from pipeline.data.names import ColumnNames, split_list
from pipeline.data.plan import Plan, make_plan
from pipeline.data.store import Store
from pipeline.errors import DataError, UsageError
from pipeline.fit import Fit, resolve_k
from pipeline.metric_identity import metric_identity
from pipeline.options import FitOptions, LabelOptions, ReportOptions
from pipeline.output.publish import Output
from pipeline.output.report import render_report
from pipeline.output.results import Results, write_results
from pipeline.passes.checkpoint import WorkFolder
from pipeline.previous import load_model, model_features, read_prototypes, read_run
from pipeline.runners.identity import Worker
from pipeline.runners.preflight import describe_workers, preflight
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings


def fit(options: FitOptions) -> None:
    """Clusters the input, and labels it.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    has_start = options.init not in INITS
    command = _begin(options, [options.init] if has_start else [])
    metric = _metric("--metric", options.metric)
    plan = command.plan(options.names)
    request = options.configuration() | {"files": plan.fingerprint()} | _metric_code(metric)
    if command.finish_pending(request):
        return
    initial = read_prototypes(command.store, options.init, plan.columns) if has_start else None
    k = resolve_k(options, initial)
    configuration = request | {"k": k}
    if initial:
        configuration["prototypes"] = initial.digest
    command.carry_out(
        plan,
        request,
        configuration,
        lambda attempt: Fit(attempt, options, k, metric, initial).files(),
    )


def label(options: LabelOptions) -> None:
    """Labels the input with a model that was trained before.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    command = _begin(options, [options.model])
    store, output = command.store, command.output
    if store.inside(options.model, output.path):
        raise UsageError(f"--output {output.path} is where --model is: name another folder")
    model = _with_policy(load_model(store, options.model), options)
    features = model_features(options.model, model, options.names.features)
    metric = _metric(f"--model {options.model}", model.metric)
    plan = command.plan(replace(options.names, features=features), model.dimension)
    if plan.columns.dimension != model.dimension:
        raise UsageError(
            f"--model {options.model} takes {model.dimension} features, "
            f"the input has {plan.columns.dimension}"
        )
    configuration = options.configuration() | {"files": plan.fingerprint()}
    configuration |= {"model_content": model.digest} | _metric_code(metric)
    if command.finish_pending(configuration):
        return
    command.carry_out(
        plan, configuration, configuration, lambda attempt: _label_files(attempt, model)
    )


def report(options: ReportOptions) -> None:
    """Draws the report of a run again."""
    store = Store.reaching([options.folder])
    folder = store.plain(options.folder)
    html = render_report(*read_run(store, folder))
    store.write(posixpath.join(folder, "report.html"), html.encode())


@dataclass
class _Command:
    """Where the answer goes and how jobs run, checked as far as the options alone allow."""

    options: FitOptions | LabelOptions
    store: Store
    output: Output
    settings: Settings

    def plan(self, names: ColumnNames, dimension: int | None = None) -> Plan:
        """What will be read; lists have the length `dimension`, where a model says so."""
        plan = make_plan(self.options.input, names, store=self.store, dimension=dimension)
        parts = [self.store.plain(part) for part in split_list(self.options.input)]
        self.output.check_input(parts, [footer.file for footer in plan.footers])
        return plan

    def finish_pending(self, request: dict[str, Any]) -> bool:
        """Whether an earlier run of the same request was killed while publishing; finishes it."""
        if self.options.run.check or not self.output.finish_pending(request):
            return False
        say(f"done: {self.output.path}")
        return True

    def carry_out(
        self,
        plan: Plan,
        request: dict[str, Any],
        configuration: dict[str, Any],
        make_files: Callable[[Attempt], dict[str, str]],
    ) -> None:
        """Makes and publishes the files of the output, or only checks that it could be done."""
        if self.options.run.check:
            self._only_check(plan)
            return
        output, fingerprint = self.output, _digest(configuration)
        runner = Runner(self.settings, output.work_folder(fingerprint).path)
        runner.cancel_jobs()
        work = output.claim(configuration, fingerprint)
        with _abandoning(output, work):
            workers = self._preflight(plan, runner, work)
            attempt = Attempt(plan, work, runner, configuration, workers)
            output.publish(work, request, make_files(attempt))
        say(f"done: {output.path}")

    def _only_check(self, plan: Plan) -> None:
        with self.output.scratch() as work:
            workers = self._preflight(plan, Runner(self.settings, work.path), work)
        say(
            f"ready: {self.settings.runner} (environment: {self.settings.environment}) with "
            f"{describe_workers(workers)}"
        )

    def _preflight(self, plan: Plan, runner: Runner, work: WorkFolder) -> list[Worker]:
        return preflight(runner, work, plan.store, plan.footers[0].file)


def _begin(options: FitOptions | LabelOptions, paths: Sequence[str]) -> _Command:
    """What can be checked before the input is known; `paths` are those beside input and output."""
    store = Store.reaching([*split_list(options.input), options.output.output, *paths])
    output = Output(store, options.output)
    output.check()
    settings = Settings(options.run)
    settings.check()
    return _Command(options, store, output, settings.connect())


def _label_files(attempt: Attempt, model: Model) -> dict[str, str]:
    totals = attempt.label(model)
    results = Results(attempt.plan, model, None, totals, np.empty((0, model.dimension)))
    return write_results(attempt.work, results, attempt.record(results))


def _metric(option: str, name: str) -> Metric:
    try:
        metric = get_metric(name)
        check_metric(metric)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    return metric


def _metric_code(metric: Metric) -> dict[str, str]:
    """What of a metric belongs to the configuration beside its name: the code of a user's own."""
    return {"metric_code": metric_identity(metric)} if ":" in metric.name else {}


def _with_policy(model: Model, options: LabelOptions) -> Model:
    policy = options.on_bad_row or model.on_bad_row
    if policy != "impute":
        return replace(model, on_bad_row=policy, means=None)
    if model.means is None:
        raise UsageError(
            f"--on_bad_row impute: {options.model} was trained without it and knows no means"
        )
    return replace(model, on_bad_row=policy)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _abandoning(output: Output, work: WorkFolder) -> Iterator[None]:
    """Leaves nothing behind where another attempt would fail the same way."""
    try:
        yield
    except (UsageError, DataError):
        output.abandon(work)
        raise
