"""Training: rounds of unrolled iterations, the state going round as a side input.

Beam has no loop. A round unrolls `iterations` of them in one job, and the driver starts another
round while the state is not done. Every iteration writes its state down: that file is the
checkpoint that a killed job resumes from, and what the progress line reads on every runner.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np

from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.update import update
from pipeline.blocks import BlockRef
from pipeline.checkpoint import WorkFolder, load_summary, save_state
from pipeline.chunks import Chunk, Loader, cached_chunks
from pipeline.store import Store
from pipeline.sums import Sum, SumBlocks


@dataclass(frozen=True)
class TrainingJob:
    """What the training's workers need to know.

    Attributes:
        loader: how blocks become points.
        options: how to train.
        work: where checkpoints are written.
        configuration: names the job's blocks in a worker's cache.
        cache_bytes: how much a worker process may cache.
        threads: chunks at once in a worker process.
    """

    loader: Loader
    options: TrainingOptions
    work: WorkFolder
    configuration: str
    cache_bytes: int
    threads: int


@dataclass
class Train(beam.PTransform):
    """(blocks, state) -> the state after a round of `iterations`.

    A state that is done passes through the rest of the round untouched. Iterations are not
    transforms of their own: building a composite costs Beam more than running it.
    """

    job: TrainingJob
    iterations: int

    def expand(self, inputs):
        blocks, state = inputs
        for i in range(self.iterations):
            stats = (
                blocks
                | f"BlockStats{i}" >> _block_stats(self.job, state)
                | f"Sum{i}" >> beam.CombinePerKey(Sum()).with_output_types(_KeyedStats)
            )
            state = state | f"Update{i}" >> _update(self.job, stats)
        return state


_KeyedStats = tuple[int, IterationStats]


def _block_stats(job: TrainingJob, state: beam.PCollection) -> beam.ParDo:
    side_input = beam.pvalue.AsSingleton(state)
    return beam.ParDo(BlockStats(job), side_input).with_output_types(_KeyedStats)


def _update(job: TrainingJob, stats: beam.PCollection) -> beam.ParDo:
    return beam.ParDo(Update(job), beam.pvalue.AsIter(stats)).with_output_types(TrainingState)


class BlockStats(SumBlocks):
    """Blocks, with the state as a side input -> the stats of a bundle."""

    def __init__(self, job: TrainingJob):
        super().__init__(job.threads)
        self.job = job

    def tasks(self, block: BlockRef, state: TrainingState) -> Iterator[partial]:
        if state.done:
            return
        job = self.job
        for chunk in cached_chunks(job.loader, block, job.configuration, job.cache_bytes):
            yield partial(_step, job, state, chunk)


class Update(beam.DoFn):
    """The state, with the iteration's stats as a side input -> the next state, written down."""

    def __init__(self, job: TrainingJob):
        self.job = job

    def process(
        self, state: TrainingState, stats: Iterable[tuple[int, IterationStats]]
    ) -> Iterator[TrainingState]:
        if not state.done:
            job = self.job
            total = sum((summed for _, summed in stats), IterationStats.zero())
            state = update(job.loader.frame, job.options, state, total, self._sample_points)
            save_state(Store(), job.work, state)
        yield state

    def _sample_points(self) -> np.ndarray:
        rows = load_summary(Store(), self.job.work).sample.rows
        return self.job.loader.frame.encode(rows).astype(np.float64)


def _step(job: TrainingJob, state: TrainingState, chunk: Chunk) -> IterationStats:
    return step(job.loader.frame, job.options.metric, state, chunk.points())
