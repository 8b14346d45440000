"""The command line: every option, its default and what it may hold.

What this parser does not know is Beam's; what neither knows is an error that offers the nearest
name. Nothing here imports Beam or TensorFlow, so that `--help` is quick.
"""

import argparse
import difflib
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import NoReturn

from pipeline.data.addresses import masked
from pipeline.data.names import LABEL_COLUMNS, ColumnNames, split_list, split_names
from pipeline.dates import TODAY, names_a_day, parse_day
from pipeline.deadline import now, parse_moment
from pipeline.errors import UsageError
from pipeline.gates import Bound

DEFAULT_K = 8
DEFAULT_RUNNER = "FnApiRunner"
METRIC_NAMES = ("sqeuclidean", "cosine", "l1")
AUTO, ALWAYS, NEVER = "auto", "always", "never"
TEXT, JSON = "text", "json"
_K_MEANS_PARALLEL = "k-means-parallel"
_OVERSAMPLING_PASSES = 6
_COST, _SILHOUETTE, _CALINSKI_HARABASZ = "cost", "silhouette", "calinski_harabasz"
CHOICES = (_COST, _SILHOUETTE, "davies_bouldin", _CALINSKI_HARABASZ)
_MOST_TRIALS = 1000
_INSTEAD = {"--dry_run": "--check"}  # Beam's, of another meaning
_LISTS = ("--input", "--features", "--keys")
_ONE_VALUE = argparse._StoreAction | argparse._StoreConstAction  # others collect what they get
_UNITS = {"s": 1, "m": 60, "h": 3600}
_DATED = ("input", "output", "init", "match", "model")


@dataclass(frozen=True)
class RunOptions:
    """How the job runs; nothing here changes the answer.

    Attributes:
        runner: Beam's name of a runner.
        stage: when points go to files in the work folder: auto, always or never.
        cache_mb: megabytes of decoded blocks kept in a worker process; None: by its memory.
        iterations_per_job: iterations unrolled in one Beam job; None: by runner.
        threads: chunks at once in a worker process; None: by runner.
        check: only check that the job could run.
        stall_timeout: seconds that a job may stand still; 0: for ever; None: by runner.
        log_format: of the lines on standard error: text or json.
        tensorboard: a folder for TensorBoard; None for none.
        mlflow: where MLflow is told of the answer; None: nowhere.
        beam: Beam's own options, as they were parsed.
    """

    runner: str = DEFAULT_RUNNER
    stage: str = AUTO
    cache_mb: int | None = None
    iterations_per_job: int | None = None
    threads: int | None = None
    check: bool = False
    stall_timeout: float | None = None
    log_format: str = TEXT
    tensorboard: str | None = None
    mlflow: str | None = None
    beam: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputOptions:
    """Where the answer goes, and what to do with what is there."""

    output: str
    overwrite: bool = False
    resume: str = "auto"


@dataclass(frozen=True)
class FitOptions:
    """The options of `fit`."""

    input: str
    names: ColumnNames
    k: tuple[int, ...] | None
    init: str
    optimizer: str
    learning_rate: float | None
    reduction: str
    metric: str
    scale: str
    precision: str
    on_bad_row: str
    max_iterations: int
    tolerance: float
    seed: int
    restarts: int
    choose: str
    output: OutputOptions
    run: RunOptions
    match: str | None = None
    gates: tuple[Bound, ...] = ()
    deadline: float | None = None  # seconds since 1970
    day: date | None = None  # that stands in paths

    def configuration(self) -> dict:
        """The options that the answer depends on, by name.

        Not the deadline: a resumed run may have another.
        """
        skipped = ("output", "run", "names", "gates", "deadline", "day")
        chosen = {name: value for name, value in asdict(self).items() if name not in skipped}
        match = masked(self.match) if self.match else None
        places = {"input": masked(self.input), "init": masked(self.init), "match": match}
        return chosen | places | asdict(self.names)


@dataclass(frozen=True)
class LabelOptions:
    """The options of `label`."""

    input: str
    model: str
    metric: str | None
    names: ColumnNames
    on_bad_row: str | None
    output: OutputOptions
    run: RunOptions
    day: date | None = None  # that stands in paths

    def configuration(self) -> dict:
        """The options that the answer depends on, by name."""
        places = {"input": masked(self.input), "model": masked(self.model)}
        return places | {"on_bad_row": self.on_bad_row} | asdict(self.names)


@dataclass(frozen=True)
class ReportOptions:
    """The options of `report`."""

    folder: str


@dataclass(frozen=True)
class DiffOptions:
    """The options of `diff`."""

    one: str
    other: str


Options = FitOptions | LabelOptions | ReportOptions | DiffOptions


_EPILOG = """\
exit codes:
  0 done   1 a bug of kmeans-tf   2 the command   3 the data   4 a gate said no
  5 the runner or the disk: the same command resumes   130 interrupted

examples:
  kmeans-tf fit --input events/ --output out/monday --k 8 --keys id --scale standard
  kmeans-tf label --input tuesday/ --model out/monday --output out/tuesday --keys id
"""
_MEANT = {"predict": "label", "train": "fit", "cluster": "fit", "transform": "label"}


class _Version(argparse.Action):
    """Says the version, which is in a package that loads NumPy."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from kmeans_tf import __version__

        print(parser.prog, __version__)
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Tells the default of every option that has one and does not tell of it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_none = action.default in (None, "", argparse.SUPPRESS, False)
        if has_none or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: {action.default})".strip()


class _Parser(argparse.ArgumentParser):
    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(argv: Sequence[str]) -> Options:
    """Reads a command line.

    Raises:
        UsageError: a message that names the option.
    """
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks, for which argcomplete answers
        import argcomplete

        argcomplete.autocomplete(parser)
    if argv and argv[0] in _MEANT:
        raise UsageError(f"unknown command {argv[0]}: it is called {_MEANT[argv[0]]} here")
    chosen = parser.commands.get(argv[0]) if argv else None
    if chosen:
        argv = _spelt(argv, chosen._option_string_actions)
        _check_words(argv, chosen._option_string_actions)
    parsed, rest = parser.parse_known_args(argv)
    if parsed.command is None:
        raise UsageError("say what to do: fit, label, report or diff (--help tells more)")
    if parsed.command == "report":
        return ReportOptions(*_folders(parsed.command, rest, DIR=parsed.folder))
    if parsed.command == "diff":
        return DiffOptions(*_folders(parsed.command, rest, A=parsed.one, B=parsed.other))
    beam = _beam_options(rest, option_names(parsed.command))
    return (_fit_options if parsed.command == "fit" else _label_options)(parsed, beam)


def _folders(command: str, rest: Sequence[str], **folders: str) -> list[str]:
    if rest:
        count = "one folder" if len(folders) == 1 else "two folders"
        raise UsageError(f"{command} takes {count} and no option {rest[0]}")
    for name, folder in folders.items():
        if not folder.strip():
            raise UsageError(f"{command}: {name} is empty: is a variable not set?")
    return list(folders.values())


def build_parser() -> _Parser:
    """The parser of all commands."""
    parser = _Parser(
        prog="kmeans-tf",
        description="Clusters Parquet tables: a Beam pipeline around a TensorFlow step.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say it and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    parser.commands = commands.choices
    fit = commands.add_parser(
        "fit",
        help="the whole job: scan, seed, train, label, model, report",
        allow_abbrev=False,
        formatter_class=_Help,
        epilog="Options of Beam and of its runners pass through.",
    )
    _add_input(fit)
    _add_clustering(fit)
    _add_training(fit)
    _add_output(fit)
    _add_run(fit, training=True)
    label = commands.add_parser(
        "label",
        help="only the last pass, with a model trained before",
        allow_abbrev=False,
        formatter_class=_Help,
    )
    _add_input(label)
    label.add_argument("--model", required=True, help="an earlier output folder of fit")
    label.add_argument("--metric", help="of a model with a metric of your own: that this may run")
    _add_output(label)
    _add_run(label, training=False)
    report = commands.add_parser(
        "report", help="draw the report of a run again", allow_abbrev=False
    )
    report.add_argument("folder", metavar="DIR", help="an output folder")
    diff = commands.add_parser(
        "diff", help="say what differs between two outputs", allow_abbrev=False
    )
    diff.add_argument("one", metavar="A", help="an output folder")
    diff.add_argument("other", metavar="B", help="another")
    return parser


def option_names(command: str) -> set[str]:
    """The options of a command, also those that its --help keeps to itself."""
    actions = build_parser().commands[command]._actions
    return {name for action in actions for name in action.option_strings}


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    add = group.add_argument
    add("--input", required=True, help="Parquet files, globs or folders, comma-separated")
    add("--features", default="", help="numeric columns, or one list column; default: all numeric")
    add("--keys", default="", help="columns copied into the labels; default: file and row")
    add("--weight", help="a column of row weights, none negative")
    add(
        "--partition_types",
        default="",
        metavar="NAME:TYPE",
        help="types of partition columns, comma-separated: hour:int64; default: text",
    )
    add(
        "--date",
        type=_day,
        metavar="DAY",
        help="what {date} stands for in paths, and {yesterday} for the day before: YYYY-MM-DD, "
        "today or yesterday; default: today, UTC's",
    )
    policies = ("fail", "null", "impute")
    default = "fail" if parser.prog.endswith("fit") else None
    text = "a null, NaN, infinite or wrong-length feature: stop, label it null, or take the mean"
    add("--on_bad_row", choices=policies, default=default, help=text)


def _add_clustering(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clustering")
    add = group.add_argument
    add(
        "--k",
        type=_ks,
        metavar="K",
        help="how many clusters, or several to choose from: 8,16,32, or 4:20:4 for 4 to 20 in "
        f"steps of 4; default {DEFAULT_K}",
    )
    add(
        "--init",
        default=AUTO,
        help="auto (trained on a sample, proven on all rows; k-means++ for other optimizers than "
        "lloyd), k-means++, k-means-parallel, random, or a path: prototypes (Parquet, npy) or an "
        "earlier output, whose labels are kept",
    )
    add(
        "--match",
        metavar="DIR",
        help="an earlier output of fit: its clusters keep their labels; default: the one of --init",
    )
    add(
        "--metric",
        default="sqeuclidean",
        help="sqeuclidean, cosine, l1, or your own: module:function or path/to/module.py:function",
    )
    add("--scale", choices=("none", "standard"), default="none", help="of the features")
    add(
        "--precision",
        choices=("auto", "single", "double"),
        default="auto",
        help="points of float32 or of float64 numbers; auto: as the rows ask for",
    )
    add("--seed", type=int, default=0, help="of the sample and the start")
    add("--restarts", type=int, default=1, help="how many starts of each k, all in the same reads")
    add(
        "--choose",
        choices=CHOICES,
        help="the figure that the best of several is chosen by; default: cost, or for several k "
        "silhouette",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--optimizer", choices=("lloyd", "sgd", "adam"), default="lloyd", help="of the cost")
    add("--learning_rate", type=float, help="the step of sgd and adam")
    add("--reduction", choices=("sum", "mean"), default="sum", help="of the gradient")
    add("--max_iterations", type=int, default=100, help="stop after so many")
    add("--tolerance", type=float, default=1e-4, help="stop when |change| <= tolerance * cost")
    add(
        "--deadline",
        type=_deadline,
        metavar="TIME",
        help="stop training in time to have labelled and published by then: 30m, 05:30, or ISO",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--output", required=True, metavar="DIR", help="a new or an empty folder")
    add("--overwrite", action="store_true", help="replace a finished output")
    add(
        "--resume",
        choices=("auto", "never", "require"),
        default="auto",
        help="take up what an attempt of the same configuration has left",
    )
    if parser.prog.endswith("fit"):
        add(
            "--gate",
            type=_gate,
            action="append",
            default=[],
            metavar="BOUND",
            help="publish only if it holds, any number of them: 'cost_increase<=0.10', "
            "'moved_share<=0.2', 'smallest_cluster>=100', 'bad_rows<=0.01', 'silhouette>=0.2'",
        )
    for name in LABEL_COLUMNS:
        add(f"--{name}_column", default=name, help=f"what the labels call the {name}")


def _add_run(parser: argparse.ArgumentParser, *, training: bool) -> None:
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--runner", default=DEFAULT_RUNNER, help="Beam's name of a runner")
    add("--check", action="store_true", help="only check that the job could run")
    add("--threads", type=int, help="chunks at once in a worker process")
    add(
        "--stall_timeout",
        type=_duration,
        metavar="DURATION",
        help="end a job in which nothing has moved for so long: 10m, 90s, 1h; 0: never",
    )
    add(
        "--log_format",
        choices=(TEXT, JSON),
        default=TEXT,
        help="of the lines on standard error; json: an object each, for schedulers",
    )
    if training:
        add("--tensorboard", metavar="DIR", help="write cost, sizes and prototypes for TensorBoard")
        add("--mlflow", metavar="URI", help="log the answer there, a tracking server or a folder")
        add("--iterations_per_job", type=int, help="iterations unrolled in one Beam job")
        add(
            "--cache_mb",
            type=_megabytes,
            metavar="MB",
            default=AUTO,
            help="decoded blocks kept in a worker process; auto: as its memory allows",
        )
        add(
            "--stage",
            choices=(AUTO, ALWAYS, NEVER),
            default=RunOptions.stage,
            help="what memory does not hold, in files that are mapped; auto: on this machine",
        )


def _ks(text: str) -> tuple[int, ...]:
    """Each k that is named, in order."""
    ks = set[int]()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?::(\d+)(?::(\d+))?)?\s*", part)
        if not match:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected a whole number, several with commas, or FIRST:LAST:STEP"
            )
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not (0 < first <= last and step):
            raise argparse.ArgumentTypeError(
                f"{part!r}: expected numbers from 1, the last no smaller than the first"
            )
        if (last - first) // step >= _MOST_TRIALS:
            raise argparse.ArgumentTypeError(_too_many((last - first) // step + 1))
        ks.update(range(first, last + 1, step))
    return tuple(sorted(ks))


def _too_many(trials: int) -> str:
    return f"{trials:,} trials, at most {_MOST_TRIALS:,} go together: give fewer k or restarts"


def _megabytes(text: str) -> int | None:
    """A number from 0; None for auto."""
    if text == AUTO:
        return None
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected auto or a whole number from 0")
    return int(text)


def _duration(text: str) -> float:
    """Seconds."""
    if text == "0":
        return 0.0
    seconds = _seconds(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 10m, 90s, 1h or the like, or 0")
    return seconds


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    return float(match[1]) * _UNITS[match[2]] if match else None


def _deadline(text: str) -> float:
    """Seconds since 1970."""
    seconds = _seconds(text)
    if seconds is not None:
        return now() + seconds
    try:
        return parse_moment(text)
    except ValueError as error:
        passed = "it has passed; " if "passed" in str(error) else ""
        raise argparse.ArgumentTypeError(
            f"{text!r}: {passed}expected 30m or the like, 05:30, or 2026-07-14T05:30Z"
        ) from error


def _day(text: str) -> date:
    try:
        return parse_day(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected YYYY-MM-DD, today or yesterday"
        ) from error


def _gate(text: str) -> Bound:
    try:
        return Bound.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _fit_options(parsed: argparse.Namespace, beam: tuple[str, ...]) -> FitOptions:
    _check_training(parsed)
    _check_threads(parsed)
    return FitOptions(
        input=parsed.input,
        names=_names(parsed),
        k=parsed.k,
        init=default_init(parsed.optimizer) if parsed.init == AUTO else parsed.init,
        optimizer=parsed.optimizer,
        learning_rate=parsed.learning_rate,
        reduction=parsed.reduction,
        metric=parsed.metric,
        scale=parsed.scale,
        precision=parsed.precision,
        on_bad_row=parsed.on_bad_row,
        max_iterations=parsed.max_iterations,
        tolerance=parsed.tolerance,
        seed=parsed.seed,
        restarts=parsed.restarts,
        choose=_choice(parsed),
        output=OutputOptions(parsed.output, parsed.overwrite, parsed.resume),
        run=RunOptions(
            parsed.runner,
            stage=parsed.stage,
            cache_mb=parsed.cache_mb,
            iterations_per_job=parsed.iterations_per_job,
            threads=parsed.threads,
            check=parsed.check,
            stall_timeout=parsed.stall_timeout,
            log_format=parsed.log_format,
            tensorboard=parsed.tensorboard,
            mlflow=parsed.mlflow,
            beam=beam,
        ),
        match=parsed.match,
        gates=tuple(parsed.gate),
        deadline=parsed.deadline,
        day=_chosen_day(parsed),
    )


def _label_options(parsed: argparse.Namespace, beam: tuple[str, ...]) -> LabelOptions:
    _check_threads(parsed)
    return LabelOptions(
        input=parsed.input,
        model=parsed.model,
        metric=parsed.metric,
        names=_names(parsed),
        on_bad_row=parsed.on_bad_row,
        output=OutputOptions(parsed.output, parsed.overwrite, parsed.resume),
        run=RunOptions(
            parsed.runner,
            threads=parsed.threads,
            check=parsed.check,
            stall_timeout=parsed.stall_timeout,
            log_format=parsed.log_format,
            beam=beam,
        ),
        day=_chosen_day(parsed),
    )


def _chosen_day(parsed: argparse.Namespace) -> date | None:
    """The day that stands in paths; None where none does."""
    texts = (getattr(parsed, name, None) for name in _DATED)
    if any(text and names_a_day(text) for text in texts):
        return parsed.date or parse_day(TODAY)
    if parsed.date:
        raise UsageError(f"--date {parsed.date}: no path has {{date}} or {{yesterday}} in it")
    return None


def default_init(optimizer: str) -> str:
    """The start where none is asked for."""
    return AUTO if optimizer == "lloyd" else "k-means++"


def _names(parsed: argparse.Namespace) -> ColumnNames:
    features, keys = split_names(parsed.features), split_names(parsed.keys)
    for option, given, names in (
        ("--features", parsed.features, features),
        ("--keys", parsed.keys, keys),
    ):
        if given and not names:
            raise UsageError(f"{option} {given} names no column")
    return ColumnNames(
        features=tuple(features),
        keys=tuple(keys),
        weight=parsed.weight,
        partition_types=tuple(map(_partition_type, split_list(parsed.partition_types))),
        label_column=parsed.label_column,
        distance_column=parsed.distance_column,
    )


def _partition_type(text: str) -> tuple[str, str]:
    name, _, kind = text.rpartition(":")
    if not (name and kind):
        raise UsageError(f"--partition_types {text!r}: expected NAME:TYPE, as hour:int64")
    return name, kind


def _check_training(parsed: argparse.Namespace) -> None:
    _check_at_least("--restarts", parsed.restarts, 1)
    trials = len(parsed.k or (DEFAULT_K,)) * parsed.restarts
    if trials > _MOST_TRIALS:
        raise UsageError(f"--k, --restarts: {_too_many(trials)}")
    _check_at_least("--max_iterations", parsed.max_iterations, 0)
    _check_at_least("--iterations_per_job", parsed.iterations_per_job, 1)
    if not (0 <= parsed.tolerance < math.inf):
        raise UsageError(f"--tolerance {parsed.tolerance}: expected a number from 0")
    if ":" not in parsed.metric and parsed.metric not in METRIC_NAMES:
        names = ", ".join(METRIC_NAMES)
        raise UsageError(f"--metric {parsed.metric!r}: expected {names} or module:function")
    if parsed.init == _K_MEANS_PARALLEL and parsed.max_iterations <= _OVERSAMPLING_PASSES:
        raise UsageError(
            f"--max_iterations {parsed.max_iterations}: --init {_K_MEANS_PARALLEL} takes "
            f"{_OVERSAMPLING_PASSES} iterations before the first of the training: give more"
        )
    rate = parsed.learning_rate
    if parsed.optimizer == "lloyd":
        if parsed.metric not in ("sqeuclidean", "cosine"):
            raise UsageError(
                f"--optimizer lloyd cannot minimise --metric {parsed.metric}: use --optimizer adam"
            )
        if rate is not None:
            raise UsageError("--learning_rate means nothing to --optimizer lloyd: leave it out")
    elif rate is None or not 0 < rate < math.inf:
        raise UsageError(
            f"--optimizer {parsed.optimizer} needs a --learning_rate above 0, not {rate}"
        )


def _choice(parsed: argparse.Namespace) -> str:
    """What the best trial is chosen by.

    Raises:
        UsageError: the metric has no such figure.
    """
    several = parsed.k is not None and len(parsed.k) > 1
    choice = parsed.choose or (_SILHOUETTE if several else _COST)
    if choice == _CALINSKI_HARABASZ and parsed.metric != "sqeuclidean":
        raise UsageError(
            f"--choose {choice}: it is of squared Euclidean distances, not --metric "
            f"{parsed.metric}: choose {_SILHOUETTE}"
        )
    return choice


def _check_threads(parsed: argparse.Namespace) -> None:
    _check_at_least("--threads", parsed.threads, 1)


def _check_at_least(option: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"{option} {value}: expected a whole number from {least}")


def _spelt(words: Sequence[str], known: Collection[str]) -> list[str]:
    """A command line in which options are spelt as they are known, with dashes or underscores."""
    return [_as_known(word, known) for word in words]


def _as_known(word: str, known: Collection[str]) -> str:
    name, equals, value = word.partition("=")
    spellings = (name, _underscored(name), f"--{name[2:].replace('_', '-')}")
    is_option = name.startswith("--")
    spelt = next((s for s in spellings if is_option and s in known), name)
    return f"{spelt}{equals}{value}"


def _underscored(name: str) -> str:
    return f"--{name[2:].replace('-', '_')}"


def _check_words(words: Sequence[str], actions: Mapping[str, argparse.Action]) -> None:
    """Raises a UsageError for an option that is given twice, is empty, or that another stands for.

    The last would win, and an empty one is a script's variable that is not set.
    """
    seen = set[str]()
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            continue
        if _underscored(name) in _INSTEAD:
            raise UsageError(f"unknown option {name}: did you mean {_INSTEAD[_underscored(name)]}?")
        if name not in actions:
            continue
        action = actions[name]
        if not equals and action.nargs != 0:
            value = words[i + 1] if i + 1 < len(words) else "missing"  # which the parser says
        if (equals or action.nargs != 0) and not value.strip():
            raise UsageError(f"{name} is empty: is a variable not set? Else leave it out")
        if action.dest in seen and isinstance(action, _ONE_VALUE):
            once = "put commas between its values" if name in _LISTS else "give it once"
            raise UsageError(f"{name} is given twice: {once}")
        seen.add(action.dest)


def _beam_options(rest: Sequence[str], own: set[str]) -> tuple[str, ...]:
    """Beam's options as it spells them.

    Raises:
        UsageError: Beam does not know one either, or it is given twice or empty.
    """
    if not rest:
        return ()
    _check_words(rest, {})
    from pipeline.beam_options import beam_parser

    parser = beam_parser()
    words = _spelt(rest, parser._option_string_actions)
    _check_words(words, parser._option_string_actions)
    try:
        _, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    if unknown:
        raise UsageError(_unknown(unknown[0], own | {*parser._option_string_actions}))
    return tuple(words)


def _unknown(word: str, known: Collection[str]) -> str:
    if not word.startswith("--"):
        return f"unexpected argument {word!r}"
    name = word.partition("=")[0]
    nearest = difflib.get_close_matches(_underscored(name), known, 1)
    return f"unknown option {name}" + (f": did you mean {nearest[0]}?" if nearest else "")
