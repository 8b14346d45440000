"""Who a process is, and what it runs with."""

import os
import platform
import socket
from dataclasses import dataclass
from importlib.metadata import version

import kmeans_tf


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
    return Worker(
        socket.gethostname(),
        os.getpid(),
        minor,
        kmeans_tf.__version__,
        version("tensorflow"),
        version("apache-beam"),
    )
