"""Running Beam, and what a failure means."""

import contextlib
import hashlib
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import apache_beam as beam
import grpc
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipeline.console import ends_of_workers, forget_ends_of_workers, say
from pipeline.errors import JobError, MemoryLackError, RunError, find_failure, without_place
from pipeline.passes.counters import counted
from pipeline.runners import job_service
from pipeline.runners.alarm import Alarm
from pipeline.runners.endpoints import jar_failure
from pipeline.runners.memory import lack_of_memory
from pipeline.runners.settings import Settings
from pipeline.runners.watchdog import LOOK_SECONDS, Watchdog

_JOB_NAME = "kmeans-tf"

# What stands before the cause in a job server's message, and how the loss of a worker reads.
_WRAPPERS = re.compile(r"^(Pipeline \S+ failed in state \w+: )?([\w.$]+(Exception|Throwable): )*")
_STACK = re.compile(r"\s+at |\s+Suppressed: |\s*\.\.\. \d+ more|Driver stacktrace:|\s*$")
_CHANNEL_CLOSED, _END_SECONDS = "Channel closed prematurely", 1.0  # until the process is known to
_WORKER_LOST = (
    _CHANNEL_CLOSED,
    "StatusRuntimeException: CANCELLED",
    "SDK harness closed connection",
    "Unknown process bundle instruction id",
)


@dataclass(frozen=True)
class Runner:
    """Runs pipelines.

    Attributes:
        settings: how.
        work: what they work on, part of their names: one attempt can end another's jobs.
    """

    settings: Settings
    work: str = ""

    def run(
        self,
        build: Callable[[beam.Pipeline], object],
        watchdog: Watchdog | None = None,
        alarm: Alarm | None = None,
    ) -> Counter:
        """Builds a pipeline, runs it and waits; returns what its workers counted.

        Args:
            build: applies the transforms.
            watchdog: tells whether it moves; without one it may stand still.
            alarm: ends it, in the place of the watchdog's.

        Raises:
            JobError: it failed or stood still, for a reason that is told in one line.
        """
        alarm = alarm or _alarm(watchdog)
        forget_ends_of_workers()
        result = None
        try:
            pipeline = beam.Pipeline(options=self.settings.beam(f"--job_name={self._job_name}"))
            build(pipeline)
            if watchdog:
                watchdog.start()
            with alarm:
                result = _run(pipeline)
                result.wait_until_finish()
            return counted(result)
        except BaseException as error:
            if not (alarm.reason or isinstance(error, Exception)):
                self._give_up(result)
                raise
            failures = self._failures()  # of a job that is not gone yet
            self._give_up(result)
            if not alarm.reason:
                raise self._explained(error, watchdog, failures) from error
        # Not while the interrupt is handled: what came of one passes for the user's.
        raise self._run_error(alarm.reason, failures)

    def cancel_jobs(self) -> None:
        """Ends what an attempt whose driver or job server was killed has left on the cluster.

        Raises:
            RunError: the cluster does not answer, or a job does not end.
        """
        if self.settings.flink:
            self.settings.flink.cancel(self._name_end)
        if self.settings.job_endpoint:
            job_service.cancel(self.settings.job_endpoint, self._name_end)

    def _give_up(self, result: PipelineResult | None) -> None:
        """Leaves nothing running, as far as what is left of the cluster can be asked."""
        if _is_over(result):
            return
        if result is not None and not self.settings.job_endpoint:
            with contextlib.suppress(Exception):  # whatever a runner's own way of ending raises
                result.cancel()
        try:
            self.cancel_jobs()
        except (RunError, KeyboardInterrupt) as error:
            say(f"warning: {self._job_name} may still run on {self.settings.runner}: {error}")

    def _explained(
        self, error: BaseException, watchdog: Watchdog | None, failures: str
    ) -> JobError:
        """The failure as the user is told it: the cluster's cause, and what its workers add."""
        if type(error) is RunError:  # said of the job, and not by its workers
            return self._run_error(str(error), failures)
        failure = jar_failure(error, self.settings.runner) or find_failure(error)
        if failure is not None:
            return failure
        words = watchdog.last_words() if watchdog else []
        cause = _cause(error)
        ends = ends_of_workers(_END_SECONDS if _CHANNEL_CLOSED in cause else 0.0)
        return self._run_error("; ".join([cause, *words]), f"{error} {failures} {ends}")

    def _run_error(self, told: str, failures: str) -> RunError:
        """The message, with what lacks if it is memory."""
        lack = lack_of_memory(f"{told} {failures}", self.settings.kind)
        return MemoryLackError(f"{told}: {lack}") if lack else RunError(told)

    def _failures(self) -> str:
        """What the cluster itself says of the job, whose own message may be of what came of it."""
        with contextlib.suppress(RunError):
            return self.settings.flink.failures(self._name_end) if self.settings.flink else ""
        return ""

    @property
    def _job_name(self) -> str:
        return self.settings.flags.get("job_name", _JOB_NAME) + self._name_end

    @property
    def _name_end(self) -> str:
        return f"-{hashlib.sha256(self.work.encode()).hexdigest()[:16]}"


def _run(pipeline: beam.Pipeline) -> PipelineResult:
    """Runs it, and lets an interrupt be one: Beam's own handler must not be interrupted again."""
    if threading.current_thread() is not threading.main_thread():
        return pipeline.run()
    handler = signal.getsignal(signal.SIGINT)
    try:
        return pipeline.run()
    finally:
        signal.signal(signal.SIGINT, handler)


def _is_over(result: PipelineResult | None) -> bool:
    """Whether the job has ended by itself, as far as can be known."""
    with contextlib.suppress(Exception):  # the one to ask is gone
        return result is not None and PipelineState.is_terminal(result.state)
    return False


def lost_worker() -> str | None:
    """That a worker process ended before its time, for which Beam may wait for ever."""
    ends = ends_of_workers()
    return f"the runner lost a worker process: {ends}" if ends else None


def _alarm(watchdog: Watchdog | None) -> Alarm:
    if watchdog is None:
        return Alarm(lost_worker, LOOK_SECONDS)
    seconds = watchdog.look_seconds or LOOK_SECONDS
    return Alarm(lambda: lost_worker() or watchdog.look(), seconds)


def _cause(error: BaseException) -> str:
    if isinstance(error, grpc.RpcError):
        return f"the job server was lost: {error.details()}"
    text = without_place(error).strip().splitlines()
    lines = [line for line in text if not _STACK.match(line)] or [type(error).__name__]
    cause = _WRAPPERS.sub("", lines[-1]).rstrip(".")
    if "failed in state CANCELLED" in lines[-1]:
        return "the job was cancelled on the cluster"
    if any(text in lines[-1] for text in _WORKER_LOST):
        return f"the runner lost a worker process: {cause}"
    return f"the runner failed: {cause}"
