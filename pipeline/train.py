"""Training: rounds of unrolled iterations, the state going round as a side input.

The state reaches the update with the stats, which carry it: as a second side input it would open
two ways through every iteration, and Flink's optimizer walks all 2^n of a graph.

Beam has no loop. A round unrolls `iterations` of them in one job, and the driver starts another
round while the state is not done. Every iteration writes its state down: that file is the
checkpoint that a killed job resumes from, and what the progress line reads on every runner.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
from apache_beam import typehints

from kmeans_tf.metrics import METRICS
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.update import update
from pipeline.blocks import BlockRef
from pipeline.checkpoint import WorkFolder, load_summary, save_state
from pipeline.chunks import Chunk, Loader, cached_chunks
from pipeline.errors import UsageError
from pipeline.store import Store
from pipeline.sums import Sum, SumBlocks


@dataclass(frozen=True)
class TrainingJob:
    """What the training's workers need to know.

    Attributes:
        loader: how blocks become points.
        options: how to train.
        work: where checkpoints are written; names the job's blocks in a worker's cache.
        cache_bytes: how much a worker process may cache.
        threads: chunks at once in a worker process.
    """

    loader: Loader
    options: TrainingOptions
    work: WorkFolder
    cache_bytes: int
    threads: int


@dataclass
class Train(beam.PTransform):
    """(blocks, state) -> the state after a round of `iterations`.

    A state that is done makes the rest of the round free: its stats are empty, and it passes
    through untouched. Iterations are not transforms of their own, because building a composite
    costs Beam more than running it.
    """

    job: TrainingJob
    iterations: int

    def expand(self, inputs):
        blocks, state = inputs
        for i in range(self.iterations):
            known = beam.pvalue.AsSingleton(state)
            state = (
                blocks
                | f"BlockStats{i}" >> _typed(beam.ParDo(BlockStats(self.job), known), _KEYED)
                | f"Sum{i}" >> _typed(beam.CombinePerKey(Sum()), _KEYED)
                | f"Update{i}" >> _typed(beam.ParDo(Update(self.job)), TrainingState)
            )
        return state


@dataclass(frozen=True)
class Iteration:
    """Stats, and the state that they were found for."""

    state: TrainingState
    stats: IterationStats

    def __add__(self, other: "Iteration") -> "Iteration":
        return Iteration(self.state, self.stats + other.stats)


_KEYED = typehints.Tuple[int, Iteration]


def _typed(transform: beam.PTransform, hint: object) -> beam.PTransform:
    """Says what comes out, which Beam would otherwise work out anew for every iteration."""
    return transform.with_output_types(hint)


class BlockStats(SumBlocks):
    """Blocks, with the state as a side input -> a bundle's share of the iteration."""

    def __init__(self, job: TrainingJob):
        super().__init__(job.threads)
        self.job = job

    def tasks(self, block: BlockRef, state: TrainingState) -> Iterator[Callable]:
        if state.done:
            yield partial(Iteration, state, IterationStats.zero())
            return
        job = self.job
        for chunk in cached_chunks(job.loader, block, job.work.path, job.cache_bytes):
            yield partial(_iteration, job, state, chunk)


class Update(beam.DoFn):
    """A whole iteration -> the next state, written down."""

    def __init__(self, job: TrainingJob):
        self.job = job

    def process(self, summed: tuple[int, Iteration]) -> Iterator[TrainingState]:
        job, (_, iteration) = self.job, summed
        state, stats = iteration.state, iteration.stats
        if not state.done:
            state = update(job.loader.frame, job.options, state, stats, self._sample_points)
            save_state(Store(), job.work, state)
        yield state

    def _sample_points(self) -> np.ndarray:
        rows = load_summary(Store(), self.job.work).sample.rows
        return self.job.loader.frame.encode(rows).astype(np.float64)


def _iteration(job: TrainingJob, state: TrainingState, chunk: Chunk) -> Iteration:
    return Iteration(state, _step(job, state, chunk))


def _step(job: TrainingJob, state: TrainingState, chunk: Chunk) -> IterationStats:
    points = chunk.points()
    try:
        return step(job.loader.frame, job.options.metric, state, points)
    except ValueError as error:
        if job.options.metric in METRICS:
            raise
        raise UsageError(f"--metric: {error}") from error
