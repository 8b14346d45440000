"""Training: rounds of unrolled iterations, the state going round as a side input.

The state reaches the update with the stats, which carry it: as a second side input it would open
two ways through every iteration, and Flink's optimizer walks all 2^n of a graph.

Beam has no loop. A round unrolls `iterations` of them in one job, and the driver starts another
round while the state is not done. Every iteration writes its state down: that file is the
checkpoint that a killed run resumes from, and what the progress line reads on every runner.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
from apache_beam import typehints

from kmeans_tf.advance import advance
from kmeans_tf.metrics import METRICS, get_metric
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from pipeline.data.blocks import BlockRef
from pipeline.errors import RunError, UsageError
from pipeline.passes.checkpoint import WorkFolder, load_summary, save_state
from pipeline.passes.chunks import Chunk, Loader, cached_chunks
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.sums import Sum, SumBlocks


@dataclass(frozen=True)
class TrainSpec:
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


BlockTasks = Callable[[TrainSpec, TrainingState, BlockRef], Iterator[Callable[[], IterationStats]]]


def block_tasks(
    spec: TrainSpec, state: TrainingState, block: BlockRef
) -> Iterator[Callable[[], IterationStats]]:
    """What there is to do for a block: a step for each of its chunks."""
    for chunk in cached_chunks(spec.loader, block, spec.work.path, spec.cache_bytes):
        yield partial(_step, spec, state, chunk)


@dataclass
class Train(beam.PTransform):
    """(blocks, state) -> the state after a round of `iterations`.

    A state that is done makes the rest of the round free: its stats are empty, and it passes
    through untouched. Iterations are not transforms of their own, because building a composite
    costs Beam more than running it.

    Attributes:
        spec: what the workers need to know.
        iterations: how many are unrolled.
        tasks: what is done for a block.
    """

    spec: TrainSpec
    iterations: int
    tasks: BlockTasks = block_tasks

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        blocks, state = inputs
        stats_of_blocks = BlockStats(self.spec, self.tasks)
        for i in range(self.iterations):
            known = beam.pvalue.AsSingleton(state)
            state = (
                blocks
                | f"BlockStats{i}" >> _typed(beam.ParDo(stats_of_blocks, known), _KEYED)
                | f"Sum{i}" >> _typed(beam.CombinePerKey(Sum()), _KEYED)
                | f"Update{i}" >> _typed(beam.ParDo(Update(self.spec)), TrainingState)
            )
        return state


@dataclass(frozen=True)
class Iteration:
    """Stats, and the state that they were found for.

    The state is large and the same for every block: the first block's share brings it, and a sum
    keeps whichever is there.
    """

    state: TrainingState | None
    stats: IterationStats

    def __add__(self, other: "Iteration") -> "Iteration":
        return Iteration(self.state or other.state, self.stats + other.stats)


_KEYED = typehints.Tuple[int, Iteration]


def _typed(transform: beam.PTransform, hint: object) -> beam.PTransform:
    """Says what comes out, which Beam would otherwise work out anew for every iteration."""
    return transform.with_output_types(hint)


class BlockStats(SumBlocks):
    """Blocks, with the state as a side input -> a bundle's share of the iteration."""

    def __init__(self, spec: TrainSpec, block_tasks: BlockTasks = block_tasks):
        super().__init__(spec.threads, Heartbeat("train", spec.work))
        self.spec, self.block_tasks = spec, block_tasks

    def tasks(self, block: BlockRef, state: TrainingState) -> Iterator[Callable[[], Iteration]]:
        if block.index == 0:
            yield partial(Iteration, state, IterationStats.zero())
        if not state.done:
            for task in self.block_tasks(self.spec, state, block):
                yield partial(_share, task)


class Update(beam.DoFn):
    """A whole iteration -> the next state, written down."""

    def __init__(self, spec: TrainSpec):
        self.spec = spec

    def process(self, summed: tuple[int, Iteration]) -> Iterator[TrainingState]:
        spec, (_, iteration) = self.spec, summed
        state = iteration.state
        if state is None:
            raise RunError("an iteration lacks its first block: the runner lost an element")
        if not state.done:
            layout = spec.loader.layout
            state = advance(layout, spec.options, state, iteration.stats, self._summary)
            save_state(spec.work, state)
        yield state

    def _summary(self) -> Summary:
        return load_summary(self.spec.work).completed(get_metric(self.spec.options.metric))


def _share(task: Callable[[], IterationStats]) -> Iteration:
    return Iteration(None, task())


def _step(spec: TrainSpec, state: TrainingState, chunk: Chunk) -> IterationStats:
    points = chunk.points()
    try:
        return step(spec.loader.layout, spec.options.metric, state, points)
    except ValueError as error:
        if spec.options.metric in METRICS:
            raise
        raise UsageError(f"--metric: {error}") from error
