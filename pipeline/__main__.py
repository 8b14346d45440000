"""The command line: `python -m pipeline COMMAND …`, also installed as `kmeans-tf`."""

import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from pipeline import environment
from pipeline.command_line.options import (
    JSON,
    NEVER,
    DiffOptions,
    FitOptions,
    LabelOptions,
    Options,
    ReportOptions,
)
from pipeline.command_line.parse import parse
from pipeline.console import log_json, quiet_logs, say
from pipeline.data.addresses import masked
from pipeline.errors import INTERRUPTED, JobError, RunError, find_failure, is_interrupt
from pipeline.passes.loading import loading, without

DIFFERENT = 1  # what diff exits with, as other programs of this name do


def command() -> NoReturn:
    """Where the process begins: runs the command that it was given, and exits with its code.

    SIGTERM, with which schedulers and containers end a job, interrupts it as Ctrl-C does.
    """
    environment.prepare_process()
    signal.signal(signal.SIGTERM, _interrupt)
    _leave(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    if argv is not None:
        environment.start_clock()
    environment.prepare()
    quiet_logs()
    options = None
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        log_json(isinstance(options, FitOptions | LabelOptions) and options.run.log_format == JSON)
        return _run(options)
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, resumes=_leaves_what_can_be_resumed(options))
    finally:
        log_json(False)  # for what runs in this process afterwards


def _run(options: Options) -> int:
    with loading(), without():
        import pyarrow as pa

        from pipeline.driver import commands

        pa.array([])  # pyarrow looks for pandas when it is first given a list, and then no more
    if isinstance(options, FitOptions):
        commands.fit(options)
    elif isinstance(options, LabelOptions):
        commands.label(options)
    elif isinstance(options, ReportOptions):
        commands.report(options)
    else:
        return 0 if commands.diff(options) else DIFFERENT
    return 0


def _leaves_what_can_be_resumed(options: Options | None) -> bool:
    """Whether the same command takes up what it did before it failed."""
    if options is None or isinstance(options, ReportOptions | DiffOptions):
        return False
    return not options.run.check and options.output.resume != NEVER


def _explain(error: BaseException, *, resumes: bool) -> int:
    if is_interrupt(error):
        say(f"kmeans-tf: interrupted{RunError.hint if resumes else ''}")
        return INTERRUPTED
    failure = error if isinstance(error, JobError) else find_failure(error)
    if failure is None:
        print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        say("kmeans-tf: this is a bug of kmeans-tf")
        return JobError.exit_code
    if not resumes:
        failure.hint = ""
    say(failure.told, exit_code=failure.exit_code)
    return failure.exit_code


def _leave(code: int) -> NoReturn:
    """Exits without waiting for other threads: one may still load TensorFlow, for nobody any more.

    Beam's can have no end where a job was ended.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    command()
