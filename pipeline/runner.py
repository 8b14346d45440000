"""Running Beam: options, defaults by runner, and what a failure means."""

import contextlib
import hashlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners import create_runner
from apache_beam.runners.runner import PipelineResult

from pipeline import job_service
from pipeline.blocks import BlockRef
from pipeline.counters import counted
from pipeline.errors import JobError, RunError, UsageError, find_failure, without_place
from pipeline.flink import FlinkCluster
from pipeline.options import RunOptions
from pipeline.store import locate
from pipeline.sums import default_threads

_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# A master that the runner starts in its own process: none, [local], [auto], local, local[4].
_LOCAL = re.compile(r"(\[.*|local(\[.*)?)?")
_JOB_NAME = "kmeans-tf"

# What stands before the cause in a job server's message, and how the loss of a worker reads.
_WRAPPERS = re.compile(r"^(Pipeline \S+ failed in state \w+: )?([\w.$]+(Exception|Throwable): )*")
_WORKER_LOST = (
    "StatusRuntimeException: CANCELLED",
    "SDK harness closed connection",
    "Unknown process bundle instruction id",
)

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
    """Runs pipelines with the options that the user gave.

    Attributes:
        options: how to run.
        found: Beam's options by name, where the cluster itself says what they should be.
        work: what the jobs work on, part of their names: one attempt can end another's jobs.
    """

    options: RunOptions
    found: dict[str, str] = field(default_factory=dict)
    work: str = ""

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
        """Beam's options by name: the user's, then the cluster's, then the runner's defaults."""
        defaults = {} if self._in_process else self._defaults.flags
        return defaults | self.found | self._given | {"job_name": self._job_name}

    @property
    def flink(self) -> FlinkCluster | None:
        """The Flink cluster that the jobs run on, where its address is known."""
        if self.name.lower() == "flinkrunner" and not self._is_local(self._master):
            return FlinkCluster(self._master)
        return None

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
        except BaseException as error:
            self._give_up(result)
            if isinstance(error, Exception):
                raise _explained(error) from error
            raise

    def cancel_jobs(self) -> None:
        """Ends what an attempt whose driver or job server was killed has left on the cluster.

        Raises:
            RunError: the cluster does not answer, or a job does not end.
        """
        endpoint = self.flags.get("job_endpoint", "embed")
        if endpoint != "embed":
            job_service.cancel(endpoint, self._job_name)
        if self.flink:
            self.flink.cancel(self._job_name)

    def _give_up(self, result: PipelineResult | None) -> None:
        """Leaves nothing running, as far as what is left of the cluster can be asked."""
        with contextlib.suppress(Exception):
            if result is not None:
                result.cancel()
        with contextlib.suppress(RunError):
            self.cancel_jobs()

    @property
    def _given(self) -> dict[str, str]:
        words = [word.removeprefix("--").partition("=") for word in _joined(self.options.beam)]
        return {name: value or "true" for name, _, value in words}

    @property
    def _master(self) -> str:
        return self._given.get(_MASTERS.get(self.name.lower(), ""), "")

    @property
    def _in_process(self) -> bool:
        """Whether the runner starts a cluster in the driver's own process."""
        is_cluster = self.name.lower() in _MASTERS and "job_endpoint" not in self._given
        return is_cluster and self._is_local(self._master)

    @staticmethod
    def _is_local(master: str) -> bool:
        return _LOCAL.fullmatch(master) is not None

    @property
    def _job_name(self) -> str:
        prefix = self._given.get("job_name", _JOB_NAME)
        digest = hashlib.sha256(locate(self.work)[1].encode()).hexdigest()[:16]
        return f"{prefix}-{digest}"

    @property
    def _defaults(self) -> Defaults:
        return _DEFAULTS.get(self.name.lower(), Defaults())

    @property
    def _name(self) -> str:
        return _FN_API_RUNNER if self.name.lower() == "fnapirunner" else self.name

    def _pipeline_options(self) -> PipelineOptions:
        flags = self.flags
        own = [f"--{name}={value}" for name, value in flags.items() if name not in self._given]
        named = f"--job_name={flags['job_name']}"  # after the user's, which it ends with
        return PipelineOptions([f"--runner={self._name}", *self.options.beam, *own, named])


def _joined(words: Sequence[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    joined: list[str] = []
    for word in words:
        if word.startswith("--") or not joined:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined


def _explained(error: Exception) -> JobError:
    found = find_failure(error)
    if found is not None:
        return found
    if isinstance(error, grpc.RpcError):
        return RunError(f"the job server was lost: {error.details()}")
    lines = without_place(error).strip().splitlines() or [type(error).__name__]
    cause = _WRAPPERS.sub("", lines[-1]).rstrip(".")
    if any(text in lines[-1] for text in _WORKER_LOST):
        return RunError(f"the runner lost a worker process: {cause}")
    return RunError(f"the runner failed: {cause}")


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
    threading.excepthook = _quiet_excepthook


def _quiet_excepthook(raised: threading.ExceptHookArgs) -> None:
    """Beam waits for a job in two threads: what ends one reaches the driver by the other."""
    if raised.thread is None or raised.thread.name != "wait_until_finish_read":
        threading.__excepthook__(raised)
