"""Beam's job server beside a cluster: it takes pipelines in and hands them to the engine.

A pipeline can also start one for itself from the same jar. One that stays saves every job the
start of a JVM, and lets a job be looked up after its driver has gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster import processes
from cluster.home import HOST, folder

START_SECONDS = 60.0
NO_EXPANSION_SERVICE = -1


@dataclass(frozen=True)
class Ports:
    """Where pipelines and their files are taken in."""

    job: int
    artifact: int


def start(
    name: str,
    command: Sequence[str],
    engine: Sequence[str],
    ports: Ports,
    env: Mapping[str, str] | None = None,
) -> None:
    """Starts a job server and waits until it listens.

    Args:
      name: the process's name.
      command: the JVM with the job server's main class.
      engine: the arguments that name the cluster.
      ports: where it listens on this machine.
      env: variables added to this process's own.
    """
    processes.require_port(name, ports.job)
    arguments = {
        "--job-host": HOST,
        "--job-port": ports.job,
        "--artifact-port": ports.artifact,
        "--expansion-port": NO_EXPANSION_SERVICE,
        "--artifacts-dir": folder("artifacts", name),
    }
    own = [str(part) for pair in arguments.items() for part in pair]
    processes.start(name, [*command, *engine, *own], env)
    processes.wait_healthy(
        [name], lambda: processes.listening(ports.job), f"{name} on port {ports.job}", START_SECONDS
    )
