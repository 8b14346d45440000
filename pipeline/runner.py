"""Running Beam: options, defaults by runner, and what a failure means."""

import json
import logging
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners import create_runner

from pipeline.blocks import BlockRef
from pipeline.counters import counted
from pipeline.errors import JobError, RunError, UsageError, find_failure, without_place
from pipeline.options import RunOptions
from pipeline.sums import default_threads

_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_CONNECT_SECONDS = 5
_LOCAL = ("[", "local")  # a cluster that the runner starts in its own process

# Workers of a cluster are a pool beside each of its hosts, and live through the pauses of a job.
_POOL = {
    "environment_type": "EXTERNAL",
    "environment_config": "localhost:50000",
    "environment_cache_millis": "60000",
}


@dataclass(frozen=True)
class Defaults:
    """What a runner gets where the user says nothing.

    Attributes:
        iterations_per_job: more where a job is dear to start, fewer where a large graph is dear.
        flags: Beam's options by name.
        threads: chunks at once in a worker process; None: the cores, shared by the processes.
    """

    iterations_per_job: int = 10
    flags: dict[str, str] = field(default_factory=dict)
    threads: int | None = 1  # a cluster's slot is a core


_DEFAULTS = {
    "fnapirunner": Defaults(threads=None),
    "directrunner": Defaults(threads=None),
    "prismrunner": Defaults(flags={"environment_type": "LOOPBACK"}, threads=None),
    "flinkrunner": Defaults(flags=_POOL),
    "sparkrunner": Defaults(iterations_per_job=20, flags=_POOL),
    "portablerunner": Defaults(),
    "dataflowrunner": Defaults(iterations_per_job=20, threads=None),
}
_MASTERS = {"flinkrunner": "flink_master", "sparkrunner": "spark_master_url"}


@dataclass(frozen=True)
class Runner:
    """Runs pipelines with the options that the user gave."""

    options: RunOptions

    @property
    def name(self) -> str:
        """The runner's name as the user gave it."""
        return self.options.runner

    @property
    def iterations_per_job(self) -> int:
        return self.options.iterations_per_job or self._defaults.iterations_per_job

    @property
    def threads(self) -> int:
        """Chunks at once in a worker process."""
        wanted = self.options.threads or self._defaults.threads
        if wanted:
            return wanted
        direct = self._pipeline_options().view_as(DirectOptions)
        processes = 1
        if direct.direct_running_mode == "multi_processing":
            processes = direct.direct_num_workers or default_threads()
        return max(1, default_threads() // processes)

    @property
    def flags(self) -> dict[str, str]:
        """Beam's options by name: the user's, and the defaults for what the user left open."""
        words = [word.removeprefix("--").partition("=") for word in _joined(self.options.beam)]
        given = {name: value or "true" for name, _, value in words}
        master = given.get(_MASTERS.get(self.name.lower(), ""), "")
        in_process = self.name.lower() in _MASTERS and (not master or master.startswith(_LOCAL))
        return ({} if in_process else self._defaults.flags) | given

    @property
    def used(self) -> dict[str, object]:
        """What the run report says of how the job ran."""
        return {
            "runner": self.name,
            "iterations_per_job": self.iterations_per_job,
            "threads": self.threads,
            "cache_mb": self.options.cache_mb,
            "beam": [f"--{name}={value}" for name, value in self.flags.items()],
        }

    def check(self) -> None:
        """Raises a UsageError if there is no such runner."""
        try:
            create_runner(self._name)
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"--runner {self.options.runner}: {reason}") from error

    def run(self, build: Callable[[beam.Pipeline], object]) -> Counter:
        """Builds a pipeline, runs it and waits; returns what its workers counted.

        Raises:
            JobError: it failed, for a reason that is told in one line.
        """
        pipeline = beam.Pipeline(options=self._pipeline_options())
        build(pipeline)
        result = None
        try:
            result = pipeline.run()
            result.wait_until_finish()
            return counted(result)
        except KeyboardInterrupt:
            if result is not None:
                result.cancel()
            raise
        except Exception as error:
            raise _explained(error) from error

    @property
    def _defaults(self) -> Defaults:
        return _DEFAULTS.get(self.name.lower(), Defaults())

    @property
    def _name(self) -> str:
        return _FN_API_RUNNER if self.name.lower() == "fnapirunner" else self.name

    def _pipeline_options(self) -> PipelineOptions:
        given = {word.removeprefix("--").partition("=")[0] for word in _joined(self.options.beam)}
        added = [f"--{n}={value}" for n, value in self.flags.items() if n not in given]
        return PipelineOptions([f"--runner={self._name}", *self.options.beam, *added])


def _joined(words: Sequence[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    joined: list[str] = []
    for word in words:
        if word.startswith("--") or not joined:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined


def get_json(url: str, option: str) -> dict:
    """What a cluster's REST interface answers.

    Raises:
        RunError: it does not.
    """
    try:
        with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise RunError(f"{option}: {url} does not answer: {error}") from error


def _explained(error: Exception) -> JobError:
    found = find_failure(error)
    if found is not None:
        return found
    lines = without_place(error).strip().splitlines() or [type(error).__name__]
    return RunError(f"the runner failed: {lines[-1]}")


@beam.ptransform_fn
def Blocks(pipeline: beam.Pipeline, blocks: Sequence[BlockRef]) -> beam.PCollection:  # noqa: N802
    """The blocks as a collection, spread over the workers."""
    created = pipeline | beam.Create(blocks).with_output_types(BlockRef)
    return created | beam.Reshuffle()


def quiet_logs() -> None:
    """Leaves to the job's own one-line messages what libraries would log, stack traces and all."""
    logging.getLogger().setLevel(logging.CRITICAL)  # where job servers' messages go
    for name in ("apache_beam", "tensorflow", "absl", "PrismRunner"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
