"""The command line: what it takes, what it refuses and how it says so."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import types

import pytest

import kmeans_tf
from kmeans_tf.oversampling import PASSES
from pipeline.command_line.options import (
    DiffOptions,
    FitOptions,
    LabelOptions,
    ReportOptions,
    RunOptions,
)
from pipeline.command_line.parse import parse
from pipeline.command_line.parser import build_parser
from pipeline.data.names import ColumnNames
from pipeline.errors import UsageError
from pipeline.runners.settings import Settings

FIT = ["fit", "--input=in", "--output=out"]
LABEL = ["label", "--input=in", "--output=out", "--model=m"]

FIT_OPTIONS = {
    "--input",
    "--features",
    "--keys",
    "--weight",
    "--k",
    "--init",
    "--optimizer",
    "--learning_rate",
    "--reduction",
    "--metric",
    "--scale",
    "--precision",
    "--on_bad_row",
    "--partition_types",
    "--max_iterations",
    "--tolerance",
    "--deadline",
    "--match",
    "--gate",
    "--date",
    "--iterations_per_job",
    "--seed",
    "--restarts",
    "--choose",
    "--runner",
    "--check",
    "--threads",
    "--stall_timeout",
    "--tensorboard",
    "--mlflow",
    "--log_format",
    "--cache_mb",
    "--stage",
    "--overwrite",
    "--resume",
    "--output",
    "--label_column",
    "--distance_column",
}
LABEL_OPTIONS = {
    "--input",
    "--date",
    "--features",
    "--keys",
    "--weight",
    "--partition_types",
    "--on_bad_row",
    "--model",
    "--metric",
    "--output",
    "--overwrite",
    "--resume",
    "--runner",
    "--check",
    "--threads",
    "--stall_timeout",
    "--log_format",
    "--label_column",
    "--distance_column",
}


@pytest.mark.parametrize(
    ("command", "expected"),
    [("fit", FIT_OPTIONS), ("label", LABEL_OPTIONS), ("report", set()), ("diff", set())],
)
def test_a_command_has_these_options_and_no_other(command, expected):
    assert {*build_parser().commands[command]._option_string_actions} == expected | {"-h", "--help"}


def test_defaults_are_the_documented_ones():
    options = parse(FIT)
    assert isinstance(options, FitOptions)
    assert options.names == ColumnNames((), (), None)
    assert (options.k, options.init, options.metric, options.scale) == (
        None,
        "auto",
        "sqeuclidean",
        "none",
    )
    assert (options.optimizer, options.learning_rate, options.reduction) == ("lloyd", None, "sum")
    assert (options.max_iterations, options.tolerance) == (100, 1e-4)
    assert (options.on_bad_row, options.seed) == ("fail", 0)
    assert (options.run.runner, options.run.cache_mb) == ("FnApiRunner", None)
    assert options.run.iterations_per_job is None
    assert (options.output.overwrite, options.output.resume) == (False, "auto")


def test_oversampling_leaves_an_iteration_for_the_training(run):
    start = [*FIT, "--init=k-means-parallel"]
    assert parse([*start, f"--max_iterations={PASSES + 1}"]).max_iterations == PASSES + 1
    ran = run(*start, f"--max_iterations={PASSES}")
    assert ran.code == 2
    assert f"--max_iterations {PASSES}: --init k-means-parallel takes {PASSES}" in ran.stderr


@pytest.mark.parametrize(
    ("option", "field", "expected"),
    [
        ("--features=a,b", "names.features", ("a", "b")),
        ("--keys=a\\, b , c", "names.keys", ("a, b ", " c")),
        ("--weight=a, b", "names.weight", "a, b"),
        ("--k=5", "k", (5,)),
        ("--k=16, 8,8", "k", (8, 16)),
        ("--k=4:20:8,6", "k", (4, 6, 12, 20)),
        ("--k=3:5", "k", (3, 4, 5)),
        ("--k=4,8", "choose", "silhouette"),
        ("--k=4", "choose", "cost"),
        ("--init=random", "init", "random"),
        ("--init=some/path.npy", "init", "some/path.npy"),
        ("--metric=module:function", "metric", "module:function"),
        ("--scale=standard", "scale", "standard"),
        ("--on_bad_row=impute", "on_bad_row", "impute"),
        ("--max_iterations=0", "max_iterations", 0),
        ("--tolerance=0", "tolerance", 0.0),
        ("--seed=-3", "seed", -3),
        ("--iterations_per_job=7", "run.iterations_per_job", 7),
        ("--cache_mb=0", "run.cache_mb", 0),
        ("--cache_mb=auto", "run.cache_mb", None),
        ("--stage=never", "run.stage", "never"),
        ("--runner=FlinkRunner", "run.runner", "FlinkRunner"),
        ("--overwrite", "output.overwrite", True),
        ("--resume=require", "output.resume", "require"),
        ("--direct_num_workers=3", "run.beam", ("--direct_num_workers=3",)),
    ],
)
def test_an_option_is_taken(option, field, expected):
    value = parse([*FIT, "--optimizer=adam", "--learning_rate=0.1", option])
    for name in field.split("."):
        value = getattr(value, name)
    assert value == expected


def test_options_of_label():
    options = parse([*LABEL, "--on_bad_row=null", "--features=a", "--direct_num_workers=3"])
    assert isinstance(options, LabelOptions)
    assert (options.model, options.on_bad_row, options.names.features) == ("m", "null", ("a",))
    assert parse(LABEL).on_bad_row is None, "the model's own, unless said"


def test_report_takes_a_folder():
    assert parse(["report", "out"]) == ReportOptions("out")


def test_what_only_says_how_the_job_runs_is_no_part_of_the_configuration():
    one = parse([*FIT, "--cache_mb=1", "--iterations_per_job=3", "--overwrite"])
    assert one.configuration() == parse(FIT).configuration()
    assert parse([*FIT, "--seed=1"]).configuration() != parse(FIT).configuration()


@pytest.mark.parametrize(
    ("unknown", "offered"),
    [
        ("--max_iteration=3", "--max_iterations"),
        ("--feature=a", "--features"),
        ("--direct_num_worker=2", "--direct_num_workers"),
        ("--flink_mastr=x", "--flink_master"),
    ],
)
def test_an_unknown_option_offers_the_nearest_name(run, unknown, offered):
    ran = run(*FIT, unknown)
    assert ran.code == 2
    assert ran.stderr == (
        f"kmeans-tf: error: unknown option {unknown.split('=')[0]}: did you mean {offered}?\n"
    )


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fit", "--inputs=a", "--output=o"], "--input"),
        (["label", "--input", "a", "--out-put", "o", "--model=m"], "--output"),
        (["label", "--input=a", "--output=o", "--modle=m"], "--model"),
        (["fit", "--INPUT=a", "--output=o"], "--input"),
    ],
)
def test_a_misspelt_option_that_has_to_be_there_is_told_so(words, offered):
    with pytest.raises(UsageError, match=f"unknown option .*: did you mean {offered}\\?$"):
        parse(words)
    with pytest.raises(UsageError, match="required: --input, --output"):
        parse(["fit", "--keys=a"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["\N{EM DASH}keys", "a"], "\N{EM DASH}keys begins with a long dash: write --keys"),
        (["\N{EN DASH}max-iterations=3"], "write --max-iterations, with two short"),
        (["--features", "-x"], "--features: expected one argument, with = before one that begins"),
        (["--"], "unexpected argument '--'"),
        (["--Seed=3"], "unknown option --Seed: did you mean --seed"),
    ],
)
def test_dashes_and_capitals_that_are_not_meant(words, told):
    with pytest.raises(UsageError, match=told):
        parse([*FIT, *words])


@pytest.mark.parametrize("word", ["--quiet", "--verbose", "--epochs=3"])
def test_an_option_that_is_like_none_offers_none(word):
    with pytest.raises(UsageError, match=f"^unknown option {word.partition('=')[0]}$"):
        parse([*FIT, word])


def test_options_are_taken_with_dashes():
    words = ["--on-bad-row=null", "--max-iterations", "3", "--label-column=a-b"]
    options = parse([*FIT, *words, "--direct-num-workers=2", "--job-server-timeout=9"])
    assert isinstance(options, FitOptions)
    assert (options.on_bad_row, options.max_iterations) == ("null", 3)
    assert options.names.label_column == "a-b", "values are left alone"
    assert options.run.beam == ("--direct_num_workers=2", "--job-server-timeout=9")


@pytest.mark.parametrize("option", ["--dry-run", "--dry_run", "--dry-run=true"])
def test_a_dry_run_leads_to_check(run, option):
    ran = run(*FIT, option)
    name = option.partition("=")[0]
    assert ran == (2, f"kmeans-tf: error: unknown option {name}: did you mean --check?\n")


@pytest.mark.parametrize("command", [FIT, LABEL], ids=["fit", "label"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--input=more"], "--input"),
        (["--output", "more"], "--output"),
        (["--keys=a", "--keys", "b"], "--keys"),
        (["--on-bad-row=null", "--on_bad_row=fail"], "--on_bad_row"),
        (["--overwrite", "--overwrite"], "--overwrite"),
        (["--flink_master=a:1", "--flink-master", "b:1"], "--flink_master"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_given_twice_is_refused(run, command, words, name):
    ran = run(*command, *words)
    assert ran.code == 2
    assert f"{name} is given twice" in ran.stderr


def test_what_beam_collects_may_be_given_twice():
    words = ("--experiments=a", "--experiments=b", "--labels=a=b", "--labels=c=d")
    options = parse([*FIT, *words])
    assert isinstance(options, FitOptions)
    assert options.run.beam == words


@pytest.mark.parametrize("command", ["fit", "label"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--features", ""], "--features"),
        (["--keys="], "--keys"),
        (["--on-bad-row="], "--on_bad_row"),
        (["--stall_timeout", " "], "--stall_timeout"),
        (["--weight", ""], "--weight"),
        (["--flink_master="], "--flink_master"),
        (["--flink-master", ""], "--flink_master"),
        (["--output", "", "--check"], "--output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_empty_option_is_refused(run, command, words, name):
    needed = {"--input": "in", "--output": "out"} | ({"--model": "m"} if command == "label" else {})
    given = [f"{key}={value}" for key, value in needed.items() if key not in words]
    ran = run(command, *given, *words)
    assert ran.code == 2
    assert f"{name} is empty" in ran.stderr


def test_a_report_of_nothing_is_refused(run):
    assert run("report", "").code == 2


@pytest.mark.parametrize(
    ("runner", "offered"),
    [("FlinkRuner", "FlinkRunner"), ("sparc", "SparkRunner"), ("direct-runner", "DirectRunner")],
)
def test_an_unknown_runner_offers_the_nearest_name(runner, offered):
    with pytest.raises(UsageError, match=f"--runner {runner}: .*did you mean {offered}"):
        Settings(RunOptions(runner)).check()


def test_an_unknown_option_without_a_near_name_offers_none(run):
    ran = run(*FIT, "--xyzzyplugh=1")
    assert ran == (2, "kmeans-tf: error: unknown option --xyzzyplugh\n")


REFUSED = [
    (["--k=0"], ["--k", "'0'", "from 1"]),
    (["--k=-4"], ["--k", "'-4'"]),
    (["--k=9:4"], ["--k", "'9:4'", "no smaller"]),
    (["--k=1:100000"], ["--k", "100,000 trials"]),
    (["--k=1:100", "--restarts=20"], ["--restarts", "2,000 trials"]),
    (["--restarts=0"], ["--restarts 0"]),
    (
        ["--metric=cosine", "--choose=calinski_harabasz"],
        ["--choose calinski_harabasz", "cosine", "silhouette"],
    ),
    (["--k=many"], ["--k", "'many'", "whole number"]),
    (["--k=2.5"], ["--k", "'2.5'"]),
    (["--max_iterations=-1"], ["--max_iterations -1"]),
    (["--tolerance=-0.1"], ["--tolerance -0.1"]),
    (["--tolerance=nan"], ["--tolerance nan"]),
    (["--tolerance=inf"], ["--tolerance inf"]),
    (["--iterations_per_job=0"], ["--iterations_per_job 0"]),
    (["--cache_mb=-1"], ["--cache_mb", "'-1'", "auto"]),
    (["--stage=maybe"], ["--stage", "'maybe'", "always"]),
    (["--cache_mb=many"], ["--cache_mb", "'many'", "auto"]),
    (["--seed=1.5"], ["--seed", "1.5"]),
    (["--on_bad_row=drop"], ["--on_bad_row", "drop", "null", "impute"]),
    (["--scale=minmax"], ["--scale", "minmax", "standard"]),
    (["--precision=half"], ["--precision", "half", "double"]),
    (["--optimizer=newton"], ["--optimizer", "newton", "lloyd", "sgd", "adam"]),
    (["--reduction=max"], ["--reduction", "max", "mean"]),
    (["--resume=maybe"], ["--resume", "maybe", "require"]),
    (["--metric=l1"], ["--optimizer lloyd", "--metric l1", "--optimizer adam"]),
    (["--metric=a:b"], ["--optimizer lloyd", "--metric a:b", "--optimizer adam"]),
    (["--learning_rate=1"], ["--learning_rate", "lloyd"]),
    (["--optimizer=sgd"], ["--optimizer sgd", "--learning_rate"]),
    (["--optimizer=adam", "--learning_rate=0"], ["--learning_rate", "0"]),
    (["--optimizer=adam", "--learning_rate=nan"], ["--learning_rate", "nan"]),
    (["--optimizer=adam", "--learning_rate=inf"], ["--learning_rate", "inf"]),
    (["stray"], ["stray"]),
    (["--features=,"], ["--features ,", "names no column"]),
    (["--keys", ", ,"], ["--keys , ,", "names no column"]),
    (["--direct_num_workers=two"], ["--direct_num_workers", "two"]),
    (["--direct_num_workers"], ["--direct_num_workers"]),
    (["--direct_running_mode=sideways"], ["--direct_running_mode", "sideways"]),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=[" ".join(args) for args, _ in REFUSED])
def test_a_value_that_means_nothing_is_refused_by_name(run, capfd, options, words):
    ran = run(*FIT, *options)
    assert ran.code == 2
    assert ran.stderr.startswith("kmeans-tf: error: ")
    assert ran.stderr.count("\n") == 1
    for word in words:
        assert word in ran.stderr
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("command", [FIT, LABEL])
@pytest.mark.parametrize(
    ("given", "seconds"), [("10m", 600), ("90s", 90), ("1h", 3600), ("0", 0), ("1.5m", 90)]
)
def test_a_duration(command, given, seconds):
    assert parse([*command, f"--stall_timeout={given}"]).run.stall_timeout == seconds


@pytest.mark.parametrize("given", ["90", "-1s", "10 m", "soon"])
def test_what_is_no_duration(given):
    with pytest.raises(UsageError, match=f"--stall_timeout: '{given}': expected 10m, 90s, 1h"):
        parse([*FIT, f"--stall_timeout={given}"])


@pytest.mark.parametrize("command", [FIT, LABEL], ids=["fit", "label"])
@pytest.mark.parametrize("threads", [0, -3])
def test_every_command_that_has_threads_needs_one(command, threads):
    with pytest.raises(UsageError, match=f"--threads {threads}: expected a whole number from 1"):
        parse([*command, f"--threads={threads}"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["fit", "label", "report", "diff"]),
        (["train"], ["train", "fit"]),
        (["fit", "--output=out"], ["--input"]),
        (["fit", "--input=in"], ["--output"]),
        (["label", "--input=in", "--output=out"], ["--model"]),
        ([*LABEL, "--k=3"], ["--k is an option of fit"]),
        ([*LABEL, "--gate=bad_rows<=0"], ["--gate is an option of fit: leave it out here"]),
        ([*FIT, "--model=out"], ["--model is an option of label"]),
        ([*LABEL, "--cache_mb=3"], ["--cache_mb"]),
        (["report"], ["DIR"]),
        (["report", "out", "--k=3"], ["--k"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_line_that_says_too_little_or_too_much(run, argv, words):
    ran = run(*argv)
    assert ran.code == 2
    for word in words:
        assert word in ran.stderr


def test_parse_raises_a_usage_error_and_does_not_exit():
    with pytest.raises(UsageError, match="'0'"):
        parse([*FIT, "--k=0"])


def test_help_tells_of_every_option_that_is_there(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["fit", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in FIT_OPTIONS:
        assert option in told


def test_an_interrupt_says_how_to_go_on(run, monkeypatch):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.driver.commands.fit", interrupt)
    ran = run(*FIT)
    assert ran.code == 130
    assert "run the same command again to resume" in ran.stderr
    for option in ("--check", "--resume=never"):
        assert run(*FIT, option) == (130, "kmeans-tf: interrupted\n")


def with_a_fit_of(body):
    """A program that is the command with another `fit`, in a process that loads no library."""
    return f"""
import atexit, sys, threading, types
from pipeline import __main__
from pipeline.console import say

def fit(options):
{textwrap.indent(body, "    ")}
    raise KeyboardInterrupt

sys.modules["pipeline.driver.commands"] = types.SimpleNamespace(fit=fit)
atexit.register(print, "cleaned up", flush=True)
__main__.command()
"""


def test_an_interrupt_ends_the_process_though_threads_go_on():
    """Beam's threads may, where the interrupt met the line between their start and their end."""
    code = with_a_fit_of("threading.Thread(target=threading.Event().wait).start()")
    done = subprocess.run(
        [sys.executable, "-c", code, *FIT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130, done.stderr
    assert done.stdout == "cleaned up\n"


def test_a_terminal_that_is_gone_does_not_end_the_job():
    code = with_a_fit_of("""
threading.Thread(target=threading.Event().wait).start()
for _ in range(3):
    say("one line")
print("at the end", flush=True)
""")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", code, *FIT], stdout=subprocess.PIPE, stderr=stderr, timeout=60
        )
    assert (done.returncode, done.stdout) == (130, b"at the end\ncleaned up\n")


def test_librarys_logs_are_kept_from_the_terminal():
    """Also those of a logger that has a level of its own, as Prism's is given when it starts."""
    code = """
import logging
from pipeline import console
console.quiet_logs()
logging.basicConfig()
logger = logging.getLogger("server")
logger.setLevel(logging.INFO)
logger.error("a line")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""


def test_a_bug_of_ours_is_called_one(run, monkeypatch):
    def fail(options):
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("pipeline.driver.commands.fit", fail)
    ran = run(*FIT)
    assert ran.code == 1
    assert "ZeroDivisionError: one over nothing" in ran.stderr
    assert "this is a bug of kmeans-tf" in ran.stderr


def test_a_partition_has_one_type():
    with pytest.raises(UsageError, match="--partition_types names 'day' more than once"):
        parse(["fit", "--input=in", "--output=out", "--partition_types=day:date32,h:int8,day:int8"])


def test_partition_types_are_names_and_types():
    options = parse(
        ["fit", "--input=in", "--output=out", "--partition_types=hour:int64,a:b:date32"]
    )
    assert options.names.partition_types == (("hour", "int64"), ("a:b", "date32"))
    assert options.configuration()["partition_types"] == options.names.partition_types


@pytest.mark.parametrize("text", ["hour", "hour:", ":int64"])
def test_a_partition_type_that_is_none(text):
    with pytest.raises(UsageError, match=f"--partition_types '{text}': expected NAME:TYPE"):
        parse(["fit", "--input=in", "--output=out", f"--partition_types={text}"])


def test_the_version(capsys):
    with pytest.raises(SystemExit) as exit:
        parse(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"kmeans-tf {kmeans_tf.__version__}\n"


def help_of(capsys, *command):
    with pytest.raises(SystemExit) as ended:
        parse([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "codes", "kinds"),
    [
        ((), {0, 1, 2, 3, 4, 5, 130}, [FitOptions, LabelOptions]),
        (("fit",), {0, 1, 2, 3, 4, 5, 130}, [FitOptions] * 2),
        (("label",), {0, 1, 2, 3, 5, 130}, [LabelOptions] * 2),
        (("report",), {0, 1, 2, 5, 130}, [ReportOptions] * 2),
        (("diff",), {0, 1, 2, 130}, [DiffOptions] * 2),
    ],
    ids=lambda value: value[0] if value and isinstance(value, tuple) else None,
)
def test_help_tells_exit_codes_and_examples(capsys, command, codes, kinds):
    told = help_of(capsys, *command)
    assert max(map(len, told.splitlines())) <= 100
    _, _, end = told.partition("\nexit codes:\n")
    told_codes, _, examples = end.partition("\n\nexamples:\n")
    assert {int(line.split()[0]) for line in told_codes.splitlines()} == codes
    words = [shlex.split(line)[1:] for line in examples.splitlines()]
    assert [type(parse(line)) for line in words] == kinds


@pytest.mark.parametrize("command", ["fit", "label"])
def test_help_tells_every_default(capsys, command):
    told = help_of(capsys, command).partition("exit codes:")[0]
    options = re.split(r"^  (?=--)", told.partition("\ninput:\n")[2], flags=re.M)[1:]
    assert len(options) > 10
    for option in options:
        name = option.split()[0]
        flag = name in ("--overwrite", "--check")
        needed = name in ("--input", "--output", "--model")
        assert ("default: " in " ".join(option.split())) != (flag or needed), option
        assert "default: None" not in " ".join(option.split())


def test_predict_leads_to_label(run):
    ran = run("predict", "--input=in")
    assert ran.code == 2
    assert ran.stderr.endswith("unknown command predict: it is called label here\n")


def test_a_shell_that_completes_is_answered(monkeypatch):
    asked = types.ModuleType("argcomplete")
    asked.autocomplete = lambda parser: sys.exit(parser.prog)
    monkeypatch.setitem(sys.modules, "argcomplete", asked)
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    with pytest.raises(SystemExit, match="kmeans-tf"):
        parse(["fi"])


def test_lines_of_json(run, capsys):
    ran = run(*FIT, "--log_format=json")
    (line,) = ran.stderr.splitlines()
    assert json.loads(line)["exit_code"] == ran.code != 0
