"""What is checked before any data is read: can this job run where it is asked to run?

Each check ends in one message that says what to change. The last is a job of a few elements that
lets the workers themselves report who they are, and whether they reach the input and the output.
"""

import json
import posixpath
import shutil
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import apache_beam as beam

from pipeline.checkpoint import WorkFolder
from pipeline.errors import JobError, RunError, UsageError
from pipeline.identity import Worker, this_worker
from pipeline.runner import Runner
from pipeline.settings import Settings
from pipeline.store import FileVersion, Store

PROBES = 8
_CONNECT_SECONDS = 5
_FOLDER = "preflight"


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
    job, settings = partial(_probe, work, file), runner.settings
    try:
        runner.run(
            lambda p: (
                p
                | beam.Create(range(PROBES)).with_output_types(int)
                | beam.Reshuffle()
                | beam.Map(job).with_output_types(type(None))
            ),
            settings.start_seconds,
        )
    except JobError as error:
        place = f"{settings.runner} (environment: {settings.environment})"
        raise RunError(f"no worker answered on {place}: {error}") from error
    workers = _reports(store, work)
    store.delete(work.file(_FOLDER))
    _check_versions(workers)
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
    found = settings.flink.settings(flags) if settings.flink else {}
    checks = {
        "flinkrunner": _check_flink,
        "sparkrunner": _check_spark,
        "prismrunner": _check_prism,
        "portablerunner": _check_portable,
        "dataflowrunner": _check_dataflow,
    }
    check = checks.get(settings.runner.lower())
    if check:
        check(flags)
    if flags.get("environment_type") == "EXTERNAL":
        _check_pool(flags)
    return replace(settings, found=found)


def _check_flink(flags: dict) -> None:
    if flags.get("job_endpoint"):
        _connect(flags["job_endpoint"], "--job_endpoint")
    elif "flink_submit_uber_jar" not in flags:
        _need_java("Beam's Flink job server")


def _check_spark(flags: dict) -> None:
    if flags.get("job_endpoint"):
        _connect(flags["job_endpoint"], "--job_endpoint")
    else:
        _need_java("Beam's Spark job server")
    master = flags.get("spark_master_url") or ""
    if master.startswith("spark://"):
        _connect(master.removeprefix("spark://"), "--spark_master_url")


def _check_prism(flags: dict) -> None:
    location = flags.get("prism_location")
    if location and "://" not in location and not shutil.which(location):
        raise RunError(f"--prism_location {location}: no program there")


def _check_portable(flags: dict) -> None:
    endpoint = flags.get("job_endpoint")
    if not endpoint:
        raise UsageError("--runner PortableRunner needs --job_endpoint=HOST:PORT")
    if endpoint != "embed":
        _connect(endpoint, "--job_endpoint")


def _check_dataflow(flags: dict) -> None:
    for name in ("project", "region", "temp_location"):
        if not flags.get(name):
            raise UsageError(f"--runner DataflowRunner needs --{name}")


def _check_pool(flags: dict) -> None:
    address = flags.get("environment_config") or ""
    host = address.rpartition(":")[0]
    # Elsewhere "localhost" is the worker's host, which only the workers' own report can tell of.
    if host in ("localhost", "127.0.0.1") and _is_local(flags):
        _connect(
            address,
            "--environment_config",
            "start a worker pool: python -m pipeline.worker_pool --service_port "
            + address.rpartition(":")[2],
        )


def _is_local(flags: dict) -> bool:
    masters = (flags.get("flink_master"), flags.get("spark_master_url"))
    return not any(m and "localhost" not in m and "127.0.0.1" not in m for m in masters)


def _need_java(why: str) -> None:
    if not shutil.which("java"):
        raise RunError(f"{why} needs Java, and there is no java on the PATH")


def _connect(address: str, option: str, mend: str = "is it started?") -> None:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise UsageError(f"{option} {address}: expected HOST:PORT")
    try:
        socket.create_connection((host or "localhost", int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise RunError(f"{option} {address} does not answer ({error}): {mend}") from error


def _probe(work: WorkFolder, file: FileVersion, number: int) -> None:
    """Runs on a worker: reads a byte, and writes down who it is."""
    store = Store()
    with store.open(file) as source:
        source.read(1)
    report = json.dumps(asdict(this_worker())).encode()
    store.write(work.file(posixpath.join(_FOLDER, f"{number}")), report)


def _reports(store: Store, work: WorkFolder) -> list[Worker]:
    files = store.files(work.file(_FOLDER))
    if not files:
        raise RunError(
            f"the workers wrote to a {work.path} that is not the driver's: give an --output that "
            "both reach, on a shared file system or an object store"
        )
    found = {Worker(**json.loads(store.read(file.path))) for file in files}
    return sorted(found, key=lambda worker: (worker.host, worker.pid))


def _check_versions(workers: Sequence[Worker]) -> None:
    mine = this_worker()
    for worker in workers:
        for name in ("python", "kmeans_tf", "tensorflow", "beam"):
            theirs, ours = getattr(worker, name), getattr(mine, name)
            if theirs != ours:
                raise RunError(
                    f"the worker {worker.pid} on {worker.host} has {name} {theirs}, the driver "
                    f"{ours}: install the same on both"
                )
