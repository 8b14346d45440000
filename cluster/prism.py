"""Prism, Beam's own portable runner: one program, no cluster, a Python worker pool.

Every pipeline starts a Prism of its own from the program built here. Prism starts one worker
per environment of a pipeline and gives it many bundles at once, so a pipeline of one
environment has one worker process, outside the driver.
"""

from pathlib import Path

from cluster import build, processes, worker_pool
from cluster.home import HOST

WORKER_PORT = 50002
WORKERS = 1  # Prism asks for one worker for each environment of a pipeline
POOL = "prism-workers"


def program() -> Path:
    """Prism at the version of the Beam installed here, built if need be."""
    return build.beam_program("go/cmd/prism")


def up() -> None:
    """Builds Prism and starts the worker pool its pipelines use."""
    program()
    worker_pool.start(POOL, WORKER_PORT, WORKERS)


def down() -> None:
    """Ends the worker pool; harmless when there is none."""
    processes.stop(POOL)


def options() -> dict[str, str]:
    """What the job is told, to run on Prism with workers from the pool."""
    return {
        "runner": "PrismRunner",
        "prism_location": str(program()),
        **worker_pool.options(WORKER_PORT),
    }


def jobs() -> list[str]:
    """The processes of the pipelines under way."""
    return [str(pid) for pid in processes.of_program(program())]


def status() -> str:
    """One line on the worker pool's health."""
    up = processes.running(POOL) and processes.listening(WORKER_PORT)
    return f"prism: worker pool up at {HOST}:{WORKER_PORT}" if up else "prism: worker pool down"
