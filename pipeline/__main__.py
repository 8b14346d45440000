"""The command line: `python -m pipeline COMMAND …`, also installed as `kmeans-tf`."""

import os
import sys
import traceback
from collections.abc import Sequence

from pipeline.errors import INTERRUPTED, JobError, RunError, find_failure
from pipeline.options import FitOptions, LabelOptions, ReportOptions, parse
from pipeline.progress import say


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        _run(options)
    except KeyboardInterrupt:
        say("kmeans-tf: interrupted; run the same command again to resume")
        return INTERRUPTED
    except Exception as error:
        return _explain(error)
    return 0


def _run(options: FitOptions | LabelOptions | ReportOptions) -> None:
    # Before NumPy and TensorFlow are loaded: the step has threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipeline import job
    from pipeline.runner import quiet_beam

    quiet_beam()
    if isinstance(options, FitOptions):
        job.fit(options)
    elif isinstance(options, LabelOptions):
        job.label(options)
    else:
        job.report(options)


def _explain(error: Exception) -> int:
    failure = error if isinstance(error, JobError) else find_failure(error)
    if failure is None:
        traceback.print_exception(error)
        say("kmeans-tf: this is a bug of kmeans-tf")
        return JobError.exit_code
    hint = "; run the same command again to resume" if isinstance(failure, RunError) else ""
    say(f"kmeans-tf: error: {failure}{hint}")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
