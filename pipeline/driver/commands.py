"""The commands: fit, label and report, each read from top to bottom as what it does.

What is wrong with the options, the files and their schema is told at once: what is here needs
neither Beam nor TensorFlow, which take seconds to load. `jobs` does.
"""

import contextlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from kmeans_tf import METRICS, Metric, Model, get_metric
from kmeans_tf.metrics import check_metric
from kmeans_tf.notices import native_notices_hidden
from kmeans_tf.runtime import load_ahead
from kmeans_tf.start import INITS
from pipeline import environment
from pipeline.command_line.dates import on
from pipeline.command_line.options import (
    DiffOptions,
    FitOptions,
    LabelOptions,
    ReportOptions,
    RunOptions,
)
from pipeline.console import SAYING, say, tell
from pipeline.data.addresses import is_uri
from pipeline.data.columns import Columns
from pipeline.data.file_table import FileTable
from pipeline.data.files import Footers, find_files, read_footers
from pipeline.data.names import ColumnNames, split_list
from pipeline.data.plan import Plan, make_plan
from pipeline.data.store import Store
from pipeline.driver.checks import check_size
from pipeline.driver.metric_identity import metric_identity
from pipeline.errors import JobError, UsageError
from pipeline.nights.night import take_up
from pipeline.nights.previous import (
    InitialPrototypes,
    find_model,
    load_model,
    metric_of,
    model_features,
    read_prototypes,
    read_run,
    resolve_ks,
)
from pipeline.output.mlflow_log import check_mlflow, log_to_mlflow
from pipeline.output.publish import Output
from pipeline.passes.cores import cores
from pipeline.passes.loading import loading, without

if TYPE_CHECKING:
    from pipeline.driver.jobs import Job
    from pipeline.driver.workplace import Workplace

FEW_FILES = 10_000  # of which the driver reads the footers, whoever else works


def fit(options: FitOptions) -> None:
    """Clusters the input, and labels it.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    if options.run.mlflow is not None:
        check_mlflow()
    options = replace(options, metric=_placed(options.metric), **_dated(options))
    output = _output(options, _other_places(options))
    with output.held():
        _fit(options, output)
    if options.run.mlflow is not None and not options.run.check:
        _log(options.run.mlflow, output)


def _fit(options: FitOptions, output: Output) -> None:
    connect = _workplace(options, output)
    plan = _plan(options, output, connect, options.names)
    metric = _metric("--metric", options.metric, options.run)
    request = options.configuration() | {"files": plan.files.fingerprint()} | _metric_code(metric)
    asked = request | {"gates": [gate.text for gate in options.gates]}
    if _finish_pending(options, output, asked):
        return
    taken = take_up(output.store, options)
    options, night = taken.options, taken.night
    for warning in taken.warnings:
        say(f"warning: {warning}")
    initial = _initial(output.store, options, plan.columns)
    ks = resolve_ks(options, initial)
    _check_size(sum(ks) * options.restarts, plan, options.run)
    configuration = request | {"k": list(ks), "init": options.init, "match": options.match}
    if initial:
        configuration["prototypes"] = initial.digest
    if night:
        read_prototypes(output.store, night.path, plan.columns, "--match")
        configuration["matched_run"] = night.run.run_id
    job = _job(options, connect, plan, asked, configuration, taken.warnings)
    job.fit(options, ks, metric, initial, night)


def label(options: LabelOptions) -> None:
    """Labels the input with a model that was trained before.

    Raises:
        JobError: it failed, for a reason that is told in one line.
    """
    options = replace(options, model=on(options.day, options.model), **_dated(options))
    output = _output(options, [options.model])
    store = output.store
    options = replace(options, model=store.plain(options.model))
    if store.inside(options.model, output.path):
        raise UsageError(f"--output {output.path} is where --model is: name another folder")
    with output.held():
        _label(options, output)


def _label(options: LabelOptions, output: Output) -> None:
    store = output.store
    folder = find_model(store, options.model)
    find_files(store, options.input)  # of which columns the model says
    _load_tensorflow(options.run, metric_of(store, folder))
    model = _with_policy(load_model(store, folder), options)
    model = _with_metric(model, options)
    features = model_features(options.model, model, options.names.features)
    metric = _metric(f"--model {options.model}", model.metric, options.run)
    names = replace(options.names, features=features)
    connect = _workplace(options, output)
    plan = _plan(options, output, connect, names, model.dimension)
    if plan.columns.dimension != model.dimension:
        raise UsageError(
            f"--model {options.model} takes {model.dimension} features, "
            f"the input has {plan.columns.dimension}"
        )
    _check_size(0, plan, options.run)  # the model is there already
    configuration = options.configuration() | {"files": plan.files.fingerprint()}
    configuration |= {"model_content": model.digest} | _metric_code(metric)
    if not _finish_pending(options, output, configuration):
        _job(options, connect, plan, configuration, configuration).label(model)


def report(options: ReportOptions) -> None:
    """Draws the report of a run again."""
    from pipeline.output.report import render_report

    store = _reached([options.folder])
    folder = store.plain(options.folder)
    read = read_run(store, folder, "report")
    with _of_this_job(f"report {folder}: its"):
        html = render_report(*read)
    page = posixpath.join(folder, "report.html")
    store.write(page, html.encode())
    say(f"wrote {page}")


def diff(options: DiffOptions) -> bool:
    """Says what differs between two outputs; whether their answers are the same.

    Raises:
        UsageError: one is no output, or damaged.
    """
    from pipeline.nights.diff import Outputs

    store = _reached([options.one, options.other])
    one, other = map(store.plain, (options.one, options.other))
    outputs = Outputs.read(store, one, other)
    with _of_this_job(f"diff {one} {other}: their"):
        lines = [*outputs.lines()]
    for line in lines:
        tell(line)
    return outputs.same


@contextlib.contextmanager
def _of_this_job(whose: str) -> Iterator[None]:
    """Raises a UsageError where files turn out to be none that this job writes."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{whose} files are not what this job wrote: {type(error).__name__}: {error}"
        ) from error


def _log(uri: str, output: Output) -> None:
    """Tells MLflow of an answer, which is complete whatever comes of it."""
    try:
        log_to_mlflow(uri, output.store, output.path)
    except (Exception, KeyboardInterrupt) as error:  # whatever a server, or its client, has to say
        reason = ": ".join([type(error).__name__, *filter(None, [str(error)])])
        say(f"warning: --mlflow {uri}: not logged: {reason}")


def _dated(options: FitOptions | LabelOptions) -> dict[str, Any]:
    """Input and output with the day in their paths, which is said."""
    if options.day:
        say(f"date: {options.day}")
    output = replace(options.output, output=on(options.day, options.output.output))
    return {"input": on(options.day, options.input), "output": output}


def _other_places(options: FitOptions) -> list[str]:
    """The paths beside input and output."""
    places = [options.match, None if options.init in INITS else options.init]
    return [on(options.day, place) for place in places if place]


def _initial(store: Store, options: FitOptions, columns: Columns) -> InitialPrototypes | None:
    return None if options.init in INITS else read_prototypes(store, options.init, columns)


def _output(options: FitOptions | LabelOptions, paths: Sequence[str]) -> Output:
    """Where the answer goes; `paths` are those beside input and output."""
    store = _reached([*split_list(options.input), options.output.output, *paths])
    output = Output(store, options.output)
    output.check()
    return output


def _reached(paths: Sequence[str]) -> Store:
    """The store of the paths, once it has answered for each."""
    store = Store.reaching(paths)
    far = [path for path in paths if is_uri(store.plain(path))]
    if far:
        _check_reached(store, far)
    return store


def _check_reached(store: Store, paths: Sequence[str]) -> None:
    """Asks the store of each path once; what programs write that it starts is no matter.

    Raises:
        UsageError, SetupError: one refuses, or does not answer.
    """
    failure = None
    with native_notices_hidden(SAYING):  # Azure's client has a shell look for `az`
        try:
            for path in paths:
                store.check_reached(path)
        except JobError as error:  # is no reason to let out what was written
            failure = error
    if failure:
        raise failure


def _workplace(options: FitOptions | LabelOptions, output: Output) -> Callable[[], "Workplace"]:
    """The only way from here to Beam: loads it, and reaches the runner, when first called."""

    @cache
    def connected() -> "Workplace":
        with loading(), without():
            from pipeline.driver.workplace import Workplace
        return Workplace.connected(options.run, output)

    return connected


def _plan(
    options: FitOptions | LabelOptions,
    output: Output,
    connect: Callable[[], "Workplace"],
    names: ColumnNames,
    dimension: int | None = None,
) -> Plan:
    """What will be read; lists have the length `dimension`, where a model says so."""

    def read(store: Store, files: FileTable) -> Footers:
        few = len(files) <= FEW_FILES
        return read_footers(store, files) if few else connect().read_footers(files)

    store = output.store
    plan = make_plan(options.input, names, store=store, dimension=dimension, read=read, tell=say)
    parts = [store.plain(part) for part in split_list(options.input)]
    output.check_input(parts, plan.files)
    return plan


def _check_size(prototypes: int, plan: Plan, run: RunOptions) -> None:
    check_size(prototypes, plan.columns.dimension, plan.rows, run.threads or cores())


def _finish_pending(
    options: FitOptions | LabelOptions, output: Output, request: dict[str, Any]
) -> bool:
    """Whether an earlier run of the same request was killed while publishing; finishes it."""
    if options.run.check or not output.finish_pending(request):
        return False
    say(f"done: {output.path}")
    return True


def _job(
    options: FitOptions | LabelOptions,
    connect: Callable[[], "Workplace"],
    plan: Plan,
    request: dict[str, Any],
    configuration: dict[str, Any],
    warnings: Sequence[str] = (),
) -> "Job":
    """What does the rest."""
    with loading(), without():
        from pipeline.driver.jobs import Job
    job = Job(connect(), plan, request, configuration, warnings)
    _load_tensorflow(options.run, configuration.get("metric"))
    return job


def _load_tensorflow(run: RunOptions, metric: str | None) -> None:
    """Begins to load it, in a thread for which others wait; Beam is not loaded meanwhile.

    Args:
        metric: a name; None where it is not known. Only a user's own may be made of Keras.
    """
    known = metric in METRICS
    if known:
        environment.prepare(environment.WITHOUT_KERAS)

    @contextlib.contextmanager
    def quietly() -> Iterator[None]:
        unused = without() if known else contextlib.nullcontext()
        with native_notices_hidden(SAYING), loading(), unused:
            yield

    load_ahead(run.threads or cores(), quietly)


def _placed(metric: str) -> str:
    """A metric's name, of which a file is where every process on this machine finds it."""
    place, colon, function = metric.rpartition(":")
    return f"{Store.plain(place)}:{function}" if colon and place.endswith(".py") else metric


def _metric(option: str, name: str, run: RunOptions) -> Metric:
    """A metric, which is tried if it is the user's own."""
    if name in METRICS:
        return METRICS[name]
    environment.reach_working_folder()
    _load_tensorflow(run, name)
    try:
        metric = get_metric(name)
        check_metric(metric)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    return metric


def _metric_code(metric: Metric) -> dict[str, str]:
    """What of a metric belongs to the configuration beside its name: the code of a user's own."""
    return {"metric_code": metric_identity(metric)} if ":" in metric.name else {}


def _with_metric(model: Model, options: LabelOptions) -> Model:
    """The model with the metric that the user lets run, where it is code.

    Raises:
        UsageError: it is code that the user did not name, or the user names another.
    """
    named = options.metric and _placed(options.metric)
    if ":" not in model.metric:
        if named and named != model.metric:
            raise UsageError(f"--metric {named}: --model {options.model} has {model.metric}")
        return model
    if named is None:
        raise UsageError(
            f"--model {options.model} has a metric that is code: say --metric {model.metric} if "
            "that is to run"
        )
    if _function(named) != _function(model.metric):
        raise UsageError(f"--metric {named}: --model {options.model} has {model.metric}")
    return replace(model, metric=named)


def _function(metric: str) -> tuple[str, str]:
    """The names of a metric's module and function, wherever the module lies."""
    place, _, function = metric.rpartition(":")
    return posixpath.basename(place).removesuffix(".py").rpartition(".")[2], function


def _with_policy(model: Model, options: LabelOptions) -> Model:
    policy = options.on_bad_row or model.on_bad_row
    if policy != "impute":
        return replace(model, on_bad_row=policy, means=None)
    if model.means is None:
        raise UsageError(
            f"--on_bad_row impute: {options.model} was trained without it and knows no means"
        )
    return replace(model, on_bad_row=policy)
