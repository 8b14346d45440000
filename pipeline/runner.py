"""Running Beam: options, defaults by runner, and what a failure means."""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners import create_runner

from pipeline.blocks import BlockRef
from pipeline.errors import JobError, RunError, UsageError, find_failure
from pipeline.options import RunOptions
from pipeline.sums import default_threads

ITERATIONS_PER_JOB = 10
_IN_PROCESS = ("fnapirunner",)
_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def beam_parser() -> argparse.ArgumentParser:
    """A parser of every option that Beam and its runners know."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, add_help=False, conflict_handler="resolve", exit_on_error=False
    )
    for kind in _subclasses(PipelineOptions):
        kind._add_argparse_args(parser)
    return parser


def _subclasses(kind: type) -> list[type]:
    below = [kind for child in kind.__subclasses__() for kind in [child, *_subclasses(child)]]
    return [child for child in below if "_add_argparse_args" in vars(child)]


@dataclass(frozen=True)
class Runner:
    """Runs pipelines with the options that the user gave."""

    options: RunOptions

    @property
    def iterations_per_job(self) -> int:
        return self.options.iterations_per_job or ITERATIONS_PER_JOB

    @property
    def threads(self) -> int:
        """Chunks at once in a worker process: the cores, shared by the processes beside it."""
        direct = self._pipeline_options().view_as(DirectOptions)
        processes = 1
        if direct.direct_running_mode == "multi_processing":
            processes = direct.direct_num_workers or default_threads()
        return max(1, default_threads() // processes)

    def check(self) -> None:
        """Raises a UsageError if there is no such runner."""
        try:
            create_runner(self._name)
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"--runner {self.options.runner}: {reason}") from error

    def run(self, build: Callable[[beam.Pipeline], object]) -> None:
        """Builds a pipeline, runs it and waits.

        Raises:
            JobError: it failed, for a reason that is told in one line.
        """
        pipeline = beam.Pipeline(options=self._pipeline_options())
        build(pipeline)
        result = None
        try:
            result = pipeline.run()
            result.wait_until_finish()
        except KeyboardInterrupt:
            if result is not None:
                result.cancel()
            raise
        except Exception as error:
            raise _explained(error) from error

    @property
    def _name(self) -> str:
        name = self.options.runner
        return _FN_API_RUNNER if name.lower() in _IN_PROCESS else name

    def _pipeline_options(self) -> PipelineOptions:
        return PipelineOptions([f"--runner={self._name}", *self.options.beam])


def _explained(error: Exception) -> JobError:
    found = find_failure(error)
    if found is not None:
        return found
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(f"the runner failed: {lines[-1]}")


@beam.ptransform_fn
def Blocks(pipeline: beam.Pipeline, blocks: Sequence[BlockRef]) -> beam.PCollection:  # noqa: N802
    """The blocks as a collection, spread over the workers."""
    created = pipeline | beam.Create(blocks).with_output_types(BlockRef)
    return created | beam.Reshuffle()


def quiet_logs() -> None:
    """Leaves to the job's own one-line messages what libraries would log, stack traces and all."""
    logging.getLogger().setLevel(logging.ERROR)
    for name in ("apache_beam", "tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
