"""What is checked before any data is read: can this job run where it is asked to run?

Each check ends in one message that says what to change. The last is a job of a few elements that
lets the workers themselves report who they are, and whether they reach the input and the output.
"""

import json
import posixpath
import shutil
import socket
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import apache_beam as beam

from pipeline.checkpoint import WorkFolder
from pipeline.errors import JobError, RunError, UsageError
from pipeline.identity import Worker, this_worker
from pipeline.runner import Runner, get_json
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
    job = partial(_probe, work, file)
    try:
        runner.run(
            lambda p: (
                p
                | beam.Create(range(PROBES)).with_output_types(int)
                | beam.Reshuffle()
                | beam.Map(job).with_output_types(type(None))
            )
        )
    except JobError as error:
        raise RunError(f"no worker answered on {runner.name}: {error}") from error
    workers = _reports(store, work)
    store.delete(work.file(_FOLDER))
    _check_versions(workers)
    return workers


def describe_workers(workers: Sequence[Worker]) -> str:
    """One line about the workers."""
    places = ", ".join(f"{worker.host} pid {worker.pid}" for worker in workers)
    return f"{len(workers)} worker process(es): {places}"


def check_endpoints(runner: Runner) -> None:
    """Raises a UsageError or RunError if what the runner needs is not there."""
    options = runner.flags
    checks = {
        "flinkrunner": _check_flink,
        "sparkrunner": _check_spark,
        "prismrunner": _check_prism,
        "portablerunner": _check_portable,
        "dataflowrunner": _check_dataflow,
    }
    check = checks.get(runner.name.lower())
    if check:
        check(options)
    if options.get("environment_type") == "EXTERNAL":
        _check_pool(options)


def _check_flink(options: dict) -> None:
    master = options.get("flink_master") or ""
    if not master or master.startswith("["):
        if not options.get("job_endpoint"):
            _need_java("FlinkRunner without --flink_master starts Flink in a JVM of its own")
        return
    overview = get_json(f"http://{master.removeprefix('http://')}/overview", "--flink_master")
    found = ".".join(overview.get("flink-version", "").split(".")[:2])
    wanted = options.get("flink_version")
    if "flink_version" in options and wanted != found and not options.get("job_endpoint"):
        raise RunError(
            f"--flink_version {wanted}: the cluster at {master} runs {overview['flink-version']}: "
            f"give --flink_version={found}"
        )
    if not overview.get("slots-total"):
        raise RunError(f"the Flink cluster at {master} has no task slot: start a TaskManager")
    if options.get("job_endpoint"):
        _connect(options["job_endpoint"], "--job_endpoint")
    else:
        _need_java("the Flink job server")


def _check_spark(options: dict) -> None:
    if options.get("job_endpoint"):
        _connect(options["job_endpoint"], "--job_endpoint")
    else:
        _need_java("the Spark job server")
    master = options.get("spark_master_url") or ""
    if master.startswith("spark://"):
        _connect(master.removeprefix("spark://"), "--spark_master_url")


def _check_prism(options: dict) -> None:
    location = options.get("prism_location")
    if location and "://" not in location and not shutil.which(location):
        raise RunError(f"--prism_location {location}: no program there")


def _check_portable(options: dict) -> None:
    endpoint = options.get("job_endpoint")
    if not endpoint:
        raise UsageError("--runner PortableRunner needs --job_endpoint=HOST:PORT")
    if endpoint != "embed":
        _connect(endpoint, "--job_endpoint")


def _check_dataflow(options: dict) -> None:
    for name in ("project", "region", "temp_location"):
        if not options.get(name):
            raise UsageError(f"--runner DataflowRunner needs --{name}")


def _check_pool(options: dict) -> None:
    address = options.get("environment_config") or ""
    host = address.rpartition(":")[0]
    # Elsewhere "localhost" is the worker's host, which only the workers' own report can tell of.
    if host in ("localhost", "127.0.0.1") and _is_local(options):
        _connect(
            address,
            "--environment_config",
            "start a worker pool: python -m pipeline.worker_pool --service_port "
            + address.rpartition(":")[2],
        )


def _is_local(options: dict) -> bool:
    masters = (options.get("flink_master"), options.get("spark_master_url"))
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
