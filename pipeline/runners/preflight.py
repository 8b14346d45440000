"""What is checked before any data is read: can this job run where it is asked to run?

A job of a few elements lets the workers themselves report who they are, and whether they reach the
input and the output. A check that fails ends in one message that says what to change. Where driver
and workers are one process, it reports by itself.
"""

import contextlib
import json
import posixpath
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.data.store import FileVersion, Store, is_hidden
from pipeline.errors import (
    SHARED_OUTPUT,
    FullDiskError,
    JobError,
    RunError,
    SetupError,
    disk_failure,
)
from pipeline.passes.checkpoint import WorkFolder
from pipeline.runners.alarm import Alarm
from pipeline.runners.identity import Worker, this_worker
from pipeline.runners.runner import Runner, lost_worker
from pipeline.runners.watchdog import LOOK_SECONDS

PROBES = 8
_FOLDER = "preflight"
_SHARED = "on a shared file system or an object store"
# How the message of a worker's own failure begins, by which the driver knows that one answered.
_WORKER = "the worker "


@dataclass(frozen=True)
class _Report:
    """What a worker found.

    Attributes:
        worker: who it is.
        problem: why it cannot read the input; None if it can.
    """

    worker: Worker
    problem: str | None


def preflight(
    runner: Runner, work: WorkFolder, store: Store, file: FileVersion | None
) -> list[Worker]:
    """Checks the workers of a runner whose endpoints are there.

    Args:
        runner: what is checked.
        work: the folder that workers must be able to write.
        store: where the file is.
        file: an input file that workers must be able to read, if there is one.

    Returns:
        The worker processes that answered, each once.

    Raises:
        UsageError: an option is missing or does not fit.
        RunError: something is not there, or not as it must be.
    """
    attempt = f"{_FOLDER}-{uuid.uuid4().hex}"  # its own: what another left is no report to it
    try:
        sent = _run_probes(runner, work, attempt, partial(probe, work, attempt, store, file))
        reports = _reports(work.store, work.file(attempt))
    finally:
        work.store.delete(work.file(attempt))
    _check_reached(reports, sent, work)
    workers = sorted({report.worker for report in reports}, key=lambda w: (w.host, w.pid))
    _check_versions(workers)
    if file is not None:
        _check_read(reports, file)
    return workers


def describe_workers(workers: Sequence[Worker]) -> str:
    """One line about the workers."""
    places = ", ".join(f"{worker.host} pid {worker.pid}" for worker in workers)
    return f"{len(workers)} worker process(es): {places}"


def _run_probes(runner: Runner, work: WorkFolder, attempt: str, probe: partial[None]) -> int:
    """How many reports have been written."""
    settings = runner.settings
    if settings.one_process:
        probe(0)
        return 1
    place = f"{settings.runner} (environment: {settings.environment})"

    def complaint(reason: object) -> str:
        return f"{_answered(work, attempt)} on {place}: {reason}"

    late = f"the job was not over after {settings.start_seconds} s"
    deadline = time.monotonic() + settings.start_seconds

    def look() -> str | None:
        reason = lost_worker() or (late if time.monotonic() >= deadline else None)
        return complaint(reason) if reason else None

    alarm = Alarm(look, min(LOOK_SECONDS, settings.start_seconds))
    try:
        runner.run(
            lambda p: (
                p
                | beam.Create(range(PROBES)).with_output_types(int)
                | beam.Reshuffle()
                | beam.Map(probe).with_output_types(type(None))
            ),
            alarm=alarm,
        )
    except JobError as error:
        if alarm.reason or str(error).startswith(_WORKER):
            raise
        kind = type(error) if isinstance(error, RunError) else RunError
        raise kind(complaint(error)) from error
    return PROBES


def _answered(work: WorkFolder, attempt: str) -> str:
    """How many workers have, of a job that came to nothing."""
    count = 0
    with contextlib.suppress(JobError, OSError):  # what fails here is not what is to be told
        count = len(_report_names(work.store, work.file(attempt)))
    return (
        f"only {count} of {PROBES} reports of the workers came" if count else "no worker answered"
    )


def probe(
    work: WorkFolder, attempt: str, store: Store, file: FileVersion | None, number: int
) -> None:
    """Runs on a worker: reads a byte of a file, if there is one, and writes down who it is.

    Raises:
        RunError: it cannot be written down.
    """
    worker = this_worker()
    problem = None if file is None else _problem(store, file)
    report = json.dumps(asdict(worker) | {"problem": problem})
    try:
        work.store.write(work.file(posixpath.join(attempt, f"{number}")), report.encode())
    except (JobError, OSError, pa.ArrowException) as error:
        told = f"{_name(worker)} cannot write {work.path}: {_first_line(error)}"
        if isinstance(disk_failure(error), FullDiskError):
            raise FullDiskError(told) from error
        raise SetupError(
            f"{told}: give an --output that every worker can write, {_SHARED}"
        ) from error


def _problem(store: Store, file: FileVersion) -> str | None:
    """Why this worker cannot read the file that the driver saw; None if it can."""
    try:
        now = store.version(file.path)
        if now is None:
            return "there is no such file"
        if now != file:
            return f"another version: {_describe(now)}, the driver's is {_describe(file)}"
        with store.open(file) as source:
            source.read(1)
    except (JobError, OSError, pa.ArrowException) as error:
        return _first_line(error)
    return None


def _describe(file: FileVersion) -> str:
    """Size and time, to the nanosecond: a copy may differ in no more than that."""
    when = f"{np.datetime64(file.modified, 'ns')}Z" if file.modified else "unknown"
    return f"{file.size} bytes, modified {when}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _name(worker: Worker) -> str:
    return f"{_WORKER}{worker.pid} on {worker.host}"


def _reports(store: Store, folder: str) -> list[_Report]:
    names = _report_names(store, folder)
    return [_parsed(store.read(posixpath.join(folder, name))) for name in names]


def _report_names(store: Store, folder: str) -> list[str]:
    names = (posixpath.basename(file.path) for file in store.files(folder))
    # A worker that was lost while it wrote leaves a hidden file.
    return [name for name in names if not is_hidden(name)]


def _parsed(report: bytes) -> _Report:
    fields = json.loads(report)
    problem = fields.pop("problem")
    return _Report(Worker(**fields), problem)


def _check_reached(reports: Sequence[_Report], sent: int, work: WorkFolder) -> None:
    if len(reports) == sent:
        return
    hosts = ", ".join(sorted({report.worker.host for report in reports}))
    raise SetupError(
        f"only {len(reports)} of {sent} reports of the workers reached {work.path} here"
        + (f", from hosts {hosts}" if hosts else "")
        + f": {SHARED_OUTPUT}, {_SHARED}"
    )


def _check_read(reports: Sequence[_Report], file: FileVersion) -> None:
    for report in reports:
        if report.problem:
            raise SetupError(
                f"{_name(report.worker)} cannot read {file.path} ({report.problem}): put the "
                f"input {_SHARED}, under the same name"
            )


def _check_versions(workers: Sequence[Worker]) -> None:
    mine = this_worker()
    for worker in workers:
        for name in ("python", "kmeans_tf", "tensorflow", "beam"):
            theirs, ours = getattr(worker, name), getattr(mine, name)
            if theirs != ours:
                raise SetupError(
                    f"{_name(worker)} has {name} {theirs}, the driver {ours}: install the same "
                    "on both"
                )
