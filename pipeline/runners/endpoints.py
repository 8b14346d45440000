"""Whether what a runner is reached by is there: addresses, programs, jars.

Each check takes Beam's options by name, and raises a UsageError where one is missing or does not
fit, a SetupError where what it names is not there.
"""

import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import SetupError, UsageError

EMBEDDED = "embed"  # the job endpoint that is Beam's own, in the driver
# A master that the runner starts in its own process: none, [local], local, local[4].
LOCAL_MASTER = re.compile(r"(\[(local|auto|collection)\]|local(\[.*\])?)?")
_CONNECT_SECONDS = 5
# Beam's words where it cannot fetch one.
_JAR = re.compile(
    r"Unable to fetch remote job server jar at (\S+): (.+?)\. (?:Also failed|If no)", re.S
)
_HERE = ("localhost", "127.0.0.1", "::1")


def check_flink(flags: dict[str, str]) -> None:
    """Beam's Flink job server can be started, or is there."""
    if flags.get("job_endpoint"):
        _check_job_endpoint(flags)
        return
    _check_jar(flags, "flink_job_server_jar")
    has_master = not LOCAL_MASTER.fullmatch(flags.get("flink_master", ""))
    if not (has_master and "flink_submit_uber_jar" in flags):
        _check_java(flags, "Beam's Flink job server")


def check_spark(flags: dict[str, str]) -> None:
    """Beam's Spark job server can be started or is there, and so is Spark's master."""
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


def check_prism(flags: dict[str, str]) -> None:
    """Prism is there, where its place is named."""
    location = flags.get("prism_location")
    if location and "://" not in location and not shutil.which(location):
        raise SetupError(f"--prism_location {location}: no program there")


def check_portable(flags: dict[str, str]) -> None:
    """A job endpoint is named and answers."""
    if not flags.get("job_endpoint"):
        raise UsageError("--runner PortableRunner needs --job_endpoint=HOST:PORT")
    _check_job_endpoint(flags)


def _check_job_endpoint(flags: dict[str, str]) -> None:
    if flags["job_endpoint"] != EMBEDDED:
        _connect([flags["job_endpoint"]], "--job_endpoint")


def check_pool(flags: dict[str, str]) -> None:
    """A worker pool that is named on this machine answers."""
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
        raise SetupError(f"--{option} {path}: no file there")


def jar_failure(error: BaseException, runner: str) -> SetupError | None:
    """The failure to fetch the jar of Beam's job server, if an error is one."""
    jar = _JAR.search(str(error))
    if jar is None:
        return None
    kind = runner.lower().rpartition(".")[2].removesuffix("runner")
    return SetupError(
        f"{jar[1]}, the job server that Beam starts for --runner {runner}, cannot be fetched "
        f"({jar[2]}): give --job_endpoint=HOST:PORT of one that runs, or "
        f"--{kind}_job_server_jar=PATH of a jar of your own"
    )


def _check_java(flags: dict[str, str], why: str) -> None:
    launcher = flags.get("job_server_java_launcher")
    if not shutil.which(launcher or "java"):
        if launcher:
            raise SetupError(f"--job_server_java_launcher {launcher}: no program there")
        raise SetupError(f"{why} needs Java, and there is no java on the PATH")


def is_local(addresses: Sequence[str], *, begins_in_driver: bool) -> bool:
    """Whether a worker's localhost is the driver's, as far as the addresses of a cluster tell.

    Elsewhere localhost is the worker's host, of which only the workers' own reports can tell.
    """
    parts = [part for address in addresses for part in address.split(",") if part]
    here = (
        part == EMBEDDED or LOCAL_MASTER.fullmatch(part) or _host(part) in _HERE for part in parts
    )
    return all(here) if parts else begins_in_driver


def _host(address: str) -> str | None:
    """The host of HOST:PORT or of a URL; None if it has none."""
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname
    except ValueError:
        return None


def _connect(addresses: Sequence[str], option: str, remedy: str = "is it started?") -> None:
    """Raises an error unless one of the addresses answers."""
    reason: OSError | None = None
    for address in addresses:
        reason = _refusal(_endpoint(address, option))
        if reason is None:
            return
    places = ",".join(addresses)
    raise SetupError(f"{option} {places} does not answer ({reason}): {remedy}") from reason


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
