"""What workers count for the run report, through Beam's metrics; the answer never depends on it."""

import os
import socket
from collections import Counter

import grpc
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

_NAMESPACE = "kmeans_tf"

TENSORFLOW_STARTS = "tensorflow_starts"  # worker processes that ran their first chunk
BLOCKS_READ = "blocks_read"  # blocks that a training pass read from their files
BLOCKS_CACHED = "blocks_cached"  # blocks that it found in the worker's cache
BLOCKS_BY_WORKER = "blocks_by_worker"  # either, by the HOST:PID of the worker process


def count(name: str) -> None:
    """Adds one, in the bundle that this thread processes."""
    Metrics.counter(_NAMESPACE, name).inc()


def count_block(cached: bool) -> None:
    """Adds one to what a training pass loaded, and to what this process did of it."""
    count(BLOCKS_CACHED if cached else BLOCKS_READ)
    count(f"{BLOCKS_BY_WORKER} {socket.gethostname()}:{os.getpid()}")


def counted(result: PipelineResult) -> Counter:
    """What the workers of a job counted; nothing where the runner does not tell."""
    try:
        counters = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
    except (NotImplementedError, RuntimeError, grpc.RpcError):
        return Counter()
    total: Counter = Counter()
    for metric in counters:
        total[metric.key.metric.name] += metric.result
    return total


def by_name(total: Counter) -> dict[str, int | dict[str, int]]:
    """The counts as the run report has them."""
    named: dict[str, int | dict[str, int]] = {}
    workers: dict[str, int] = {}
    for name, number in sorted(total.items()):
        kind, _, worker = name.partition(" ")
        if worker:
            workers[worker] = number
        else:
            named[kind] = number
    return named | ({BLOCKS_BY_WORKER: workers} if workers else {})
