"""Who a process is, and what it runs with; knows packages by their metadata and imports none."""

import os
import platform
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("kmeans-tf", "tensorflow", "numpy", "apache-beam", "pyarrow")


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    host: str
    pid: int
    python: str
    kmeans_tf: str
    tensorflow: str
    beam: str


def this_worker() -> Worker:
    """The process that asks."""
    minor = ".".join(platform.python_version_tuple()[:2])
    installed = versions()
    return Worker(
        socket.gethostname(),
        os.getpid(),
        minor,
        installed["kmeans-tf"],
        installed["tensorflow"],
        installed["apache-beam"],
    )


def versions() -> dict[str, str]:
    """The version of every package that the job runs on, "not installed" for one it lacks."""
    return {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
