"""What is checked before any data is read: can this job run where it is asked to run?

Each check ends in one message that says what to change. The last is a job of a few elements that
lets the workers themselves report who they are, and whether they reach the input and the output.
"""

import json
import posixpath
import shutil
import socket
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.checkpoint import WorkFolder
from pipeline.errors import JobError, RunError, UsageError
from pipeline.identity import Worker, this_worker
from pipeline.runner import Runner
from pipeline.settings import EMBEDDED, LOCAL_MASTER, Settings
from pipeline.store import HIDDEN, FileVersion, Store

PROBES = 8
_CONNECT_SECONDS = 5
_FOLDER = "preflight"
_SHARED = "on a shared file system or an object store"
# How the message of a worker's own failure begins, by which the driver knows that one answered.
_WORKER = "the worker "

_ADDRESSES = ("flink_master", "spark_master_url", "job_endpoint")
_BEGIN_IN_DRIVER = ("flinkrunner", "sparkrunner", "prismrunner")
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class _Report:
    """What a worker found.

    Attributes:
        worker: who it is.
        problem: why it cannot read the input; None if it can.
    """

    worker: Worker
    problem: str | None


def preflight(store: Store, runner: Runner, work: WorkFolder, file: FileVersion) -> list[Worker]:
    """Checks the workers of a runner whose endpoints are there.

    Args:
        store: where the workers' reports are read.
        runner: what is checked.
        work: the folder that workers must be able to write.
        file: an input file that workers must be able to read.

    Returns:
        The worker processes that answered, each once.

    Raises:
        UsageError: an option is missing or does not fit.
        RunError: something is not there, or not as it must be.
    """
    attempt = f"{_FOLDER}-{uuid.uuid4().hex}"  # its own: what another left is no report to it
    try:
        _run_probes(runner, partial(_probe, work, attempt, file))
        reports = _reports(store, work.file(attempt))
    finally:
        store.delete(work.file(attempt))
    _check_reached(reports, work)
    workers = sorted({report.worker for report in reports}, key=lambda w: (w.host, w.pid))
    _check_versions(workers)
    _check_read(reports, file)
    return workers


def describe_workers(workers: Sequence[Worker]) -> str:
    """One line about the workers."""
    places = ", ".join(f"{worker.host} pid {worker.pid}" for worker in workers)
    return f"{len(workers)} worker process(es): {places}"


def connect(settings: Settings) -> Settings:
    """The settings, completed by what the cluster says of itself.

    Raises:
        UsageError: an option is missing or does not fit.
        RunError: what the runner needs is not there.
    """
    flags = settings.flags
    found, slots = settings.flink.settings(flags) if settings.flink else ({}, None)
    checks = {
        "flinkrunner": _check_flink,
        "sparkrunner": _check_spark,
        "prismrunner": _check_prism,
        "portablerunner": _check_portable,
        "dataflowrunner": _check_dataflow,
    }
    check = checks.get(settings.kind)
    if check:
        check(flags)
    if flags.get("environment_type") == "EXTERNAL" and _is_local(settings.kind, flags):
        _check_pool(flags)
    return replace(settings, found=found, slots=slots)


def _check_flink(flags: dict[str, str]) -> None:
    if flags.get("job_endpoint"):
        _check_job_endpoint(flags)
        return
    _check_jar(flags, "flink_job_server_jar")
    has_master = not LOCAL_MASTER.fullmatch(flags.get("flink_master", ""))
    if not (has_master and "flink_submit_uber_jar" in flags):
        _check_java(flags, "Beam's Flink job server")


def _check_spark(flags: dict[str, str]) -> None:
    if flags.get("job_endpoint"):
        _check_job_endpoint(flags)
    else:
        _check_jar(flags, "spark_job_server_jar")
        if "spark_submit_uber_jar" not in flags:
            _check_java(flags, "Beam's Spark job server")
        elif not flags.get("spark_rest_url"):
            raise UsageError("--spark_submit_uber_jar needs --spark_rest_url=http://HOST:PORT")
    master = flags.get("spark_master_url") or ""
    if master.startswith("spark://"):
        _connect(master.removeprefix("spark://").split(","), "--spark_master_url")


def _check_prism(flags: dict[str, str]) -> None:
    location = flags.get("prism_location")
    if location and "://" not in location and not shutil.which(location):
        raise RunError(f"--prism_location {location}: no program there")


def _check_portable(flags: dict[str, str]) -> None:
    if not flags.get("job_endpoint"):
        raise UsageError("--runner PortableRunner needs --job_endpoint=HOST:PORT")
    _check_job_endpoint(flags)


def _check_dataflow(flags: dict[str, str]) -> None:
    for name in ("project", "region", "temp_location"):
        if not flags.get(name):
            raise UsageError(f"--runner DataflowRunner needs --{name}")


def _check_job_endpoint(flags: dict[str, str]) -> None:
    if flags["job_endpoint"] != EMBEDDED:
        _connect([flags["job_endpoint"]], "--job_endpoint")


def _check_pool(flags: dict[str, str]) -> None:
    address = flags.get("environment_config") or ""
    if _host(address) in _HERE:
        _connect(
            [address],
            "--environment_config",
            "start a worker pool: python -m pipeline.worker_pool --service_port "
            + address.rpartition(":")[2],
        )


def _check_jar(flags: dict[str, str], option: str) -> None:
    path = flags.get(option)
    if path and "://" not in path and not Path(path).is_file():
        raise RunError(f"--{option} {path}: no file there")


def _check_java(flags: dict[str, str], why: str) -> None:
    launcher = flags.get("job_server_java_launcher")
    if not shutil.which(launcher or "java"):
        if launcher:
            raise RunError(f"--job_server_java_launcher {launcher}: no program there")
        raise RunError(f"{why} needs Java, and there is no java on the PATH")


def _is_local(kind: str, flags: dict[str, str]) -> bool:
    """Whether a worker's localhost is the driver's, as far as the addresses tell.

    Elsewhere localhost is the worker's host, of which only the workers' own reports can tell.
    """
    given = [part for name in _ADDRESSES for part in flags.get(name, "").split(",") if part]
    here = (
        part == EMBEDDED or LOCAL_MASTER.fullmatch(part) or _host(part) in _HERE for part in given
    )
    return all(here) if given else kind in _BEGIN_IN_DRIVER


def _host(address: str) -> str | None:
    """The host of HOST:PORT or of a URL; None if it has none."""
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname
    except ValueError:
        return None


def _connect(addresses: Sequence[str], option: str, mend: str = "is it started?") -> None:
    """Raises an error unless one of the addresses answers."""
    reason: OSError | None = None
    for address in addresses:
        reason = _refusal(_endpoint(address, option))
        if reason is None:
            return
    places = ",".join(addresses)
    raise RunError(f"{option} {places} does not answer ({reason}): {mend}") from reason


def _refusal(endpoint: tuple[str, int]) -> OSError | None:
    """Why nothing at an address accepts a connection; None if something does."""
    try:
        socket.create_connection(endpoint, _CONNECT_SECONDS).close()
    except OSError as error:
        return error
    return None


def _endpoint(address: str, option: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        port = None
    if port is None:
        raise UsageError(f"{option} {address}: expected HOST:PORT")
    return host or "localhost", port


def _run_probes(runner: Runner, probe: partial[None]) -> None:
    settings = runner.settings
    try:
        runner.run(
            lambda p: (
                p
                | beam.Create(range(PROBES)).with_output_types(int)
                | beam.Reshuffle()
                | beam.Map(probe).with_output_types(type(None))
            ),
            settings.start_seconds,
        )
    except JobError as error:
        if str(error).startswith(_WORKER):
            raise
        place = f"{settings.runner} (environment: {settings.environment})"
        raise RunError(f"no worker answered on {place}: {error}") from error


def _probe(work: WorkFolder, attempt: str, file: FileVersion, number: int) -> None:
    """Runs on a worker: reads a byte, and writes down who it is.

    Raises:
        RunError: it cannot be written down.
    """
    store, worker = Store(), this_worker()
    report = asdict(worker) | {"problem": _problem(store, file)}
    try:
        store.write(work.file(posixpath.join(attempt, f"{number}")), json.dumps(report).encode())
    except (JobError, OSError, pa.ArrowException) as error:
        raise RunError(
            f"{_name(worker)} cannot write {work.path}: {_first_line(error)}: give an --output "
            f"that every worker can write, {_SHARED}"
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
    names = (posixpath.basename(file.path) for file in store.files(folder))
    # A worker that was lost while it wrote leaves a hidden file.
    whole = [name for name in names if not name.startswith(HIDDEN)]
    return [_parsed(store.read(posixpath.join(folder, name))) for name in whole]


def _parsed(report: bytes) -> _Report:
    fields = json.loads(report)
    problem = fields.pop("problem")
    return _Report(Worker(**fields), problem)


def _check_reached(reports: Sequence[_Report], work: WorkFolder) -> None:
    if len(reports) == PROBES:
        return
    hosts = ", ".join(sorted({report.worker.host for report in reports}))
    raise RunError(
        f"only {len(reports)} of {PROBES} reports of the workers reached {work.path} here"
        + (f", from hosts {hosts}" if hosts else "")
        + f": give an --output that every worker and the driver reach, {_SHARED}"
    )


def _check_read(reports: Sequence[_Report], file: FileVersion) -> None:
    for report in reports:
        if report.problem:
            raise RunError(
                f"{_name(report.worker)} cannot read {file.path} ({report.problem}): put the "
                f"input {_SHARED}, under the same name"
            )


def _check_versions(workers: Sequence[Worker]) -> None:
    mine = this_worker()
    for worker in workers:
        for name in ("python", "kmeans_tf", "tensorflow", "beam"):
            theirs, ours = getattr(worker, name), getattr(mine, name)
            if theirs != ours:
                raise RunError(
                    f"{_name(worker)} has {name} {theirs}, the driver {ours}: install the same "
                    "on both"
                )
