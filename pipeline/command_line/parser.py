"""The parser of the command line, with its help.

Nothing here imports Beam, TensorFlow or pyarrow, so that `--help` is quick.
"""

import argparse
from collections.abc import Mapping
from typing import NoReturn

from pipeline.command_line import values
from pipeline.command_line.help import HelpFormatter, epilog, epilog_of_all
from pipeline.command_line.options import (
    ALWAYS,
    AUTO,
    DEFAULT_K,
    DEFAULT_RUNNER,
    JSON,
    NEVER,
    TEXT,
    RunOptions,
)
from pipeline.data.names import LABEL_COLUMNS
from pipeline.errors import UsageError

COST, SILHOUETTE, CALINSKI_HARABASZ = "cost", "silhouette", "calinski_harabasz"
CHOICES = (COST, SILHOUETTE, "davies_bouldin", CALINSKI_HARABASZ)


class _Version(argparse.Action):
    """Says the version, which is in a package that loads NumPy."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from kmeans_tf import __version__

        print(parser.prog, __version__)
        parser.exit()


class _Parser(argparse.ArgumentParser):
    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += ", with = before one that begins with a dash"
        raise UsageError(message)


def build_parser() -> _Parser:
    """The parser of all commands."""
    parser = _Parser(
        prog="kmeans-tf",
        description="Clusters Parquet tables: a Beam pipeline around a TensorFlow step.",
        epilog=epilog_of_all(),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say it and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    parser.commands = commands.choices

    def add_command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=epilog(name),
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )

    fit = add_command("fit", "the whole job: scan, seed, train, label, model, report")
    _add_input(fit)
    _add_clustering(fit)
    _add_training(fit)
    _add_output(fit)
    _add_run(fit, training=True)
    label = add_command("label", "only the last pass, with a model trained before")
    _add_input(label)
    label.add_argument("--model", required=True, help="an earlier output folder of fit")
    label.add_argument(
        "--metric",
        help="of a model with a metric of your own: that this may run; default: none may",
    )
    _add_output(label)
    _add_run(label, training=False)
    report = add_command("report", "draw the report of a run again")
    report.add_argument("folder", metavar="DIR", help="an output folder")
    diff = add_command("diff", "say what differs between two outputs")
    diff.add_argument("one", metavar="A", help="an output folder")
    diff.add_argument("other", metavar="B", help="another")
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    add = group.add_argument
    add("--input", required=True, help="Parquet files, globs or folders, comma-separated")
    add("--features", default="", help="numeric columns, or one list column; default: all numeric")
    add("--keys", default="", help="columns copied into the labels; default: file and row")
    add("--weight", help="a column of row weights, none negative; default: all are 1")
    add(
        "--partition_types",
        default="",
        metavar="NAME:TYPE",
        help="types of partition columns, comma-separated: hour:int64; default: text",
    )
    add(
        "--date",
        type=values.day,
        metavar="DAY",
        help="what {date} stands for in paths, and {yesterday} for the day before: YYYY-MM-DD, "
        "today or yesterday; default: today, UTC's",
    )
    policies = ("fail", "null", "impute")
    default = "fail" if parser.prog.endswith("fit") else None
    text = "a null, NaN, infinite or wrong-length feature: stop, label it null, or take the mean"
    text += "" if default else "; default: as the model was trained"
    add("--on_bad_row", choices=policies, default=default, help=text)


def _add_clustering(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clustering")
    add = group.add_argument
    add(
        "--k",
        type=values.ks,
        metavar="K",
        help="how many clusters, or several to choose from: 8,16,32, or 4:20:4 for 4 to 20 in "
        f"steps of 4; default: {DEFAULT_K}",
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
    add("--learning_rate", type=float, help="the step of sgd and adam; default: none")
    add("--reduction", choices=("sum", "mean"), default="sum", help="of the gradient")
    add("--max_iterations", type=int, default=100, help="stop after so many")
    add("--tolerance", type=float, default=1e-4, help="stop when |change| <= tolerance * cost")
    add(
        "--deadline",
        type=values.deadline,
        metavar="TIME",
        help="stop training in time to have labelled and published by then: 30m, 05:30, or ISO; "
        "default: none",
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
            type=values.gate,
            action="append",
            default=[],
            metavar="BOUND",
            help="publish only if it holds, any number of them: 'cost_increase<=0.10', "
            "'moved_share<=0.2', 'smallest_cluster>=100', 'bad_rows<=0.01', 'silhouette>=0.2'; "
            "default: none",
        )
    for name in LABEL_COLUMNS:
        add(f"--{name}_column", default=name, help=f"what the labels call the {name}")


def _add_run(parser: argparse.ArgumentParser, *, training: bool) -> None:
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--runner", default=DEFAULT_RUNNER, help="Beam's name of a runner")
    add("--check", action="store_true", help="only check that the job could run")
    add("--threads", type=int, help="chunks at once in a worker process; default: by runner")
    add(
        "--stall_timeout",
        type=values.duration,
        metavar="DURATION",
        help="end a job in which nothing has moved for so long: 10m, 90s, 1h; 0: never; "
        "default: 10m, and 30m on Dataflow",
    )
    add(
        "--log_format",
        choices=(TEXT, JSON),
        default=TEXT,
        help="of the lines on standard error; json: an object each, for schedulers",
    )
    if training:
        add(
            "--tensorboard",
            metavar="DIR",
            help="write cost, sizes and prototypes for TensorBoard; default: nowhere",
        )
        add(
            "--mlflow",
            metavar="URI",
            help="log the answer there, a tracking server or a folder; default: nowhere",
        )
        add(
            "--iterations_per_job",
            type=int,
            help="iterations unrolled in one Beam job; default: by runner",
        )
        add(
            "--cache_mb",
            type=values.megabytes,
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
