"""What workers count for the run report, through Beam's metrics; the answer never depends on it."""

from collections import Counter

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

_NAMESPACE = "kmeans_tf"

TENSORFLOW_STARTS = "tensorflow_starts"  # worker processes that ran their first chunk
BLOCKS_READ = "blocks_read"  # blocks that a training pass read from their files
BLOCKS_CACHED = "blocks_cached"  # blocks that it found in the worker's cache


def count(name: str) -> None:
    """Adds one, in the bundle that this thread processes."""
    Metrics.counter(_NAMESPACE, name).inc()


def counted(result: PipelineResult) -> Counter:
    """What the workers of a job counted; nothing where the runner does not tell."""
    try:
        found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
    except (NotImplementedError, RuntimeError):
        return Counter()
    total: Counter = Counter()
    for metric in found:
        total[metric.key.metric.name] += metric.result
    return total
