"""From the words of a command line to options, or to an error that names what is wrong."""

import argparse
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import date

from pipeline.command_line.dates import TODAY, names_a_day, parse_day
from pipeline.command_line.options import (
    AUTO,
    DEFAULT_K,
    METRIC_NAMES,
    DiffOptions,
    FitOptions,
    LabelOptions,
    Options,
    OutputOptions,
    ReportOptions,
    RunOptions,
    default_init,
)
from pipeline.command_line.parser import (
    CALINSKI_HARABASZ,
    COST,
    SILHOUETTE,
    build_parser,
)
from pipeline.command_line.values import MOST_TRIALS, too_many
from pipeline.command_line.words import beam_options, check_words, spelt
from pipeline.data.names import ColumnNames, split_list, split_names
from pipeline.errors import UsageError

_K_MEANS_PARALLEL = "k-means-parallel"
_OVERSAMPLING_PASSES = 6
_DATED = ("input", "output", "init", "match", "model")
_MEANT = {"predict": "label", "train": "fit", "cluster": "fit", "transform": "label"}


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
        argv = spelt(argv, chosen._option_string_actions)
        check_words(argv, chosen._option_string_actions)
    parsed, rest = parser.parse_known_args(argv)
    if parsed.command is None:
        raise UsageError("say what to do: fit, label, report or diff (--help tells more)")
    if parsed.command == "report":
        return ReportOptions(*_folders(parsed.command, rest, DIR=parsed.folder))
    if parsed.command == "diff":
        return DiffOptions(*_folders(parsed.command, rest, A=parsed.one, B=parsed.other))
    options = {name: command._option_string_actions for name, command in parser.commands.items()}
    others = {option: name for name, known in options.items() for option in known}
    beam = beam_options(rest, options[parsed.command], others)
    return (_fit_options if parsed.command == "fit" else _label_options)(parsed, beam)


def _folders(command: str, rest: Sequence[str], **folders: str) -> list[str]:
    if rest:
        count = "one folder" if len(folders) == 1 else "two folders"
        raise UsageError(f"{command} takes {count} and no option {rest[0]}")
    for name, folder in folders.items():
        if not folder.strip():
            raise UsageError(f"{command}: {name} is empty: is a variable not set?")
    return list(folders.values())


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
        output=_output_options(parsed),
        run=_run_options(parsed, beam),
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
        output=_output_options(parsed),
        run=_run_options(parsed, beam),
        day=_chosen_day(parsed),
    )


def _output_options(parsed: argparse.Namespace) -> OutputOptions:
    return OutputOptions(parsed.output, parsed.overwrite, parsed.resume)


def _run_options(parsed: argparse.Namespace, beam: tuple[str, ...]) -> RunOptions:
    """Those that the command has; the others as they are by default."""
    names = (each.name for each in fields(RunOptions))
    given = {name: getattr(parsed, name) for name in names if hasattr(parsed, name)}
    return RunOptions(**given, beam=beam)


def _chosen_day(parsed: argparse.Namespace) -> date | None:
    """The day that stands in paths; None where none does."""
    texts = (getattr(parsed, name, None) for name in _DATED)
    if any(text and names_a_day(text) for text in texts):
        return parsed.date or parse_day(TODAY)
    if parsed.date:
        raise UsageError(f"--date {parsed.date}: no path has {{date}} or {{yesterday}} in it")
    return None


def _names(parsed: argparse.Namespace) -> ColumnNames:
    features, keys = split_names(parsed.features), split_names(parsed.keys)
    for option, given, names in (
        ("--features", parsed.features, features),
        ("--keys", parsed.keys, keys),
    ):
        if given and not names:
            raise UsageError(f"{option} {given} names no column")
    kinds = tuple(map(_partition_type, split_list(parsed.partition_types)))
    twice = [name for name, count in Counter(name for name, _ in kinds).items() if count > 1]
    if twice:
        raise UsageError(f"--partition_types names {twice[0]!r} more than once")
    return ColumnNames(
        features=tuple(features),
        keys=tuple(keys),
        weight=parsed.weight,
        partition_types=kinds,
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
    if trials > MOST_TRIALS:
        raise UsageError(f"--k, --restarts: {too_many(trials)}")
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
    choice = parsed.choose or (SILHOUETTE if several else COST)
    if choice == CALINSKI_HARABASZ and parsed.metric != "sqeuclidean":
        raise UsageError(
            f"--choose {choice}: it is of squared Euclidean distances, not --metric "
            f"{parsed.metric}: choose {SILHOUETTE}"
        )
    return choice


def _check_threads(parsed: argparse.Namespace) -> None:
    _check_at_least("--threads", parsed.threads, 1)


def _check_at_least(option: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"{option} {value}: expected a whole number from {least}")
