"""The job's warm worker pool, beside a cluster's TaskManagers or executors.

A runner with `--environment_type=EXTERNAL` asks this pool for a worker instead of starting a
container. On one machine one pool serves all; on several there is one on every host, at the
same port, because the runner asks at the one address the job names.
"""

import sys

from cluster import processes
from cluster.home import HOST, REPOSITORY

WORKER_POOL_COMMAND = (
    sys.executable,
    "-m",
    "pipeline.worker_pool",
    "--service_port={port}",
    "--slots={workers}",
)
START_SECONDS = 60.0


def start(name: str, port: int, workers: int) -> None:
    """Starts a worker pool of so many worker processes and waits until it listens."""
    processes.require_port(name, port)
    command = [part.format(port=port, workers=workers) for part in WORKER_POOL_COMMAND]
    processes.start(name, command, environment())
    processes.wait_healthy(
        [name], lambda: processes.listening(port), f"{name} on port {port}", START_SECONDS
    )


def environment() -> dict[str, str]:
    """Makes the repository importable in every worker."""
    return {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


def options(port: int) -> dict[str, str]:
    """The Beam options that send a job's workers to the pool."""
    return {"environment_type": "EXTERNAL", "environment_config": f"{HOST}:{port}"}
