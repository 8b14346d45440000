"""Training: rounds of unrolled iterations, the state going round as a side input.

What goes round is the state's checkpoint: every iteration writes its state down, and workers read
it from there, once each. It is also what a killed run resumes from, and what the progress line
reads on every runner. The checkpoint reaches the update with the stats, which carry it: as a second
side input it would open two ways through every iteration, and Flink's optimizer walks all 2^n of a
graph.

Beam has no loop. A round unrolls `iterations` of them in one job, and the driver starts another
round while the state is not done.

Sums over many prototypes are cut in slices, so that several workers add up what the bundles found.

Where all bundles are of one process there is nothing to spread, and what Beam does for a stage is
most of an iteration with little data. There the bundles of an iteration take what those before
found as a side input, and the first to come updates the state: one stage instead of four. Sums are
exact, so it does not matter who adds them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import apache_beam as beam
from apache_beam import typehints

from kmeans_tf.advance import advance
from kmeans_tf.exact import ExactVector
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import METRICS, Metric, get_metric
from kmeans_tf.sample import Sample
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import ClusterStats, IterationStats
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from pipeline.data.blocks import BlockRef
from pipeline.errors import UsageError
from pipeline.passes.blocks import BlockRange, fetch_blocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import (
    Checkpoint,
    WorkFolder,
    fetch_state,
    find_checkpoint,
    load_summary,
    save_state,
)
from pipeline.passes.chunks import Chunk, Loader, cached_chunks
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.parcels import Parcel, drop, receive, send
from pipeline.passes.sums import ONLY, PlainDoFn, Sum, SumBlocks, Task

SLICE_BYTES = 8 << 20  # of sums, which one worker adds up
_STATS = (IterationStats, ClusterStats, Sample, ExactVector)


@dataclass(frozen=True)
class TrainSpec:
    """What the training's workers need to know.

    Attributes:
        loader: how blocks become points.
        options: how to train.
        work: where checkpoints are written.
        cache: where a worker keeps blocks.
        slices: how many the sums are cut in.
    """

    loader: Loader
    options: TrainingOptions
    work: WorkFolder
    cache: JobCache
    slices: int = 1


def slices_for(layout: SumLayout, metric: Metric, ks: Sequence[int]) -> int:
    """How many slices the sums of trials with k prototypes each are cut in, by their size alone."""
    limbs = layout.limbs if metric.sums_suffice else layout.gradient_limbs(metric)
    size = 8 * sum(ks) * len(limbs.column) * len(layout.weights.quantum)
    return min(max(ks), -(-size // SLICE_BYTES))


BlockTasks = Callable[[TrainSpec, TrainingState, BlockRef], Iterator[Task]]


def block_tasks(spec: TrainSpec, state: TrainingState, block: BlockRef) -> Iterator[Task]:
    """What there is to do for a block: a step for each of its chunks."""
    for chunk in cached_chunks(spec.loader, block, spec.cache):
        yield partial(_step, spec, state, chunk)


@dataclass
class Train(beam.PTransform):
    """(blocks, checkpoint) -> the checkpoint after a round of `iterations`.

    A state that is done makes the rest of the round free: its stats are empty, and it passes
    through untouched. Iterations are not transforms of their own, because building a composite
    costs Beam more than running it.

    Attributes:
        spec: what the workers need to know.
        iterations: how many are unrolled.
        tasks: what is done for a block.
        gathered: whether the bundles of an iteration gather what those before have found; else a
            combiner adds it up.
    """

    spec: TrainSpec
    iterations: int
    tasks: BlockTasks = block_tasks
    gathered: bool = False

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        return (self._gathered if self.gathered else self._combined)(*inputs)

    def _combined(self, blocks: beam.PCollection, checkpoint: beam.PCollection) -> beam.PCollection:
        stats_of_blocks, update = BlockStats(self.spec, self.tasks), Update(self.spec)
        for i in range(self.iterations):
            known = beam.pvalue.AsSingleton(checkpoint)
            found = blocks | f"BlockStats{i}" >> _typed(beam.ParDo(stats_of_blocks, known), _KEYED)
            stats = self._added(i, found)
            checkpoint = stats | f"Update{i}" >> _typed(beam.ParDo(update), Checkpoint)
        return checkpoint

    def _gathered(self, blocks: beam.PCollection, checkpoint: beam.PCollection) -> beam.PCollection:
        stats_of_blocks = GatheredBlockStats(self.spec, self.tasks)
        found = checkpoint | "Begin" >> _typed(beam.Map(_nothing_found), _KEYED)
        for i in range(self.iterations):
            before = beam.pvalue.AsIter(found)
            found = blocks | f"BlockStats{i}" >> _typed(beam.ParDo(stats_of_blocks, before), _KEYED)
        update = beam.ParDo(GatheredUpdate(self.spec), beam.pvalue.AsIter(found))
        return checkpoint | "Update" >> _typed(update, Checkpoint)

    def _added(self, i: int, found: beam.PCollection) -> beam.PCollection:
        """What all bundles found, as one element."""
        stats = found | f"Sum{i}" >> _typed(beam.CombinePerKey(Sum()), _KEYED)
        if self.spec.slices == 1:
            return stats
        return (
            stats
            | f"AddSlice{i}" >> _typed(beam.ParDo(AddSlice(self.spec)), _KEYED)
            | f"Join{i}" >> _typed(beam.CombinePerKey(Sum()), _KEYED)
        )


@dataclass(frozen=True)
class Iteration:
    """What was found so far for the state of a checkpoint.

    Attributes:
        checkpoint: the state's.
        slices: of the stats, by number.
    """

    checkpoint: Checkpoint
    slices: dict[int, Parcel]

    def __add__(self, other: "Iteration") -> "Iteration":
        slices = dict(self.slices)
        for number, parcel in other.slices.items():
            slices[number] = slices[number] + parcel if number in slices else parcel
        return Iteration(self.checkpoint, slices)


_KEYED = typehints.Tuple[int, Iteration]


def _typed(transform: beam.PTransform, hint: object) -> beam.PTransform:
    """Says what comes out, which Beam would otherwise work out anew for every iteration."""
    return transform.with_output_types(hint)


class BlockStats(SumBlocks):
    """Blocks, with the checkpoint as a side input -> a bundle's share of the iteration."""

    def __init__(self, spec: TrainSpec, block_tasks: BlockTasks = block_tasks):
        super().__init__(Heartbeat("train", spec.work), spec.cache.threads)
        self.spec, self.block_tasks = spec, block_tasks

    def start_bundle(self) -> None:
        super().start_bundle()
        self.checkpoint: Checkpoint | None = None

    def tasks(self, blocks: BlockRange, checkpoint: Checkpoint) -> Iterator[Task]:
        self.checkpoint = checkpoint
        if not checkpoint.done:
            state = fetch_state(self.work, checkpoint)
            for block in fetch_blocks(self.heartbeat, blocks):
                yield from self.block_tasks(self.spec, state, block)

    def sent(self, total: IterationStats | None) -> Iterator[tuple[int, Iteration]]:
        """A slice at a time; the checkpoint alone where there is nothing to do."""
        if self.checkpoint is None:
            return
        if total is None:
            yield ONLY, Iteration(self.checkpoint, {})
            return
        for number, part in enumerate(total.cut(self.spec.slices)):
            yield number, _sent(self.spec, self.checkpoint, number, part)


class AddSlice(PlainDoFn):
    """A slice of all bundles -> the same in one part."""

    def __init__(self, spec: TrainSpec):
        self.spec = spec

    def process(self, summed: tuple[int, Iteration]) -> Iterator[tuple[int, Iteration]]:
        spec, (number, iteration) = self.spec, summed
        parcel = iteration.slices.get(number, Parcel())
        if len(parcel.files) > 1 and not _after(spec, iteration):
            part = receive(spec.work, parcel, _STATS)
            iteration = _sent(spec, iteration.checkpoint, number, part)
        yield ONLY, iteration


class Update(PlainDoFn):
    """A whole iteration -> the next checkpoint, written down."""

    def __init__(self, spec: TrainSpec):
        self.spec = spec

    def process(self, summed: tuple[int, Iteration]) -> Iterator[Checkpoint]:
        yield _updated(self.spec, summed[1])


class GatheredBlockStats(BlockStats):
    """What `BlockStats` does, with what the bundles before found as a side input."""

    def process(self, blocks: BlockRange, found: Iterable[tuple[int, Iteration]]) -> None:
        super().process(blocks, self.checkpoint or _gathered(self.spec, found))


class GatheredUpdate(PlainDoFn):
    """A checkpoint -> that of what the last bundles found, which are a side input."""

    def __init__(self, spec: TrainSpec):
        self.spec = spec

    def process(
        self, _: Checkpoint, found: Iterable[tuple[int, Iteration]]
    ) -> Iterator[Checkpoint]:
        yield _gathered(self.spec, found)


_UPDATING = threading.Lock()  # bundles of one process may run at once


def _gathered(spec: TrainSpec, found: Iterable[tuple[int, Iteration]]) -> Checkpoint:
    """The checkpoint after an iteration of which all bundles have gone."""
    with _UPDATING:
        return _updated(spec, reduce(add, (iteration for _, iteration in found)))


def _nothing_found(checkpoint: Checkpoint) -> tuple[int, Iteration]:
    return ONLY, Iteration(checkpoint, {})


def _updated(spec: TrainSpec, iteration: Iteration) -> Checkpoint:
    """The checkpoint after an iteration, or its own where there was nothing to do."""
    before, parcels = iteration.checkpoint, [p for _, p in sorted(iteration.slices.items())]
    if before.done or not parcels:
        return before
    return _after(spec, iteration) or _advanced(spec, before, parcels)


def _advanced(spec: TrainSpec, before: Checkpoint, parcels: Sequence[Parcel]) -> Checkpoint:
    """The next checkpoint, written down."""

    def summary() -> Summary:
        return load_summary(spec.work).completed(get_metric(spec.options.metric))

    stats = IterationStats.joined([receive(spec.work, parcel, _STATS) for parcel in parcels])
    state = fetch_state(spec.work, before)
    got_on = Heartbeat("train", spec.work).did_a_task
    arguments = spec.loader.layout, spec.options, state, stats, summary, spec.cache.threads
    after = save_state(spec.work, advance(*arguments, got_on))
    if any(parcel.files for parcel in parcels):
        drop(spec.work, spec.work.sums_of(before.iteration))
    return after


def _sent(spec: TrainSpec, checkpoint: Checkpoint, number: int, part: IterationStats) -> Iteration:
    folder = spec.work.sums_of(checkpoint.iteration)
    return Iteration(checkpoint, {number: send(spec.work, folder, part)})


def _after(spec: TrainSpec, iteration: Iteration) -> Checkpoint | None:
    """The next checkpoint, where this is a retry that finds it there, and the sums may be gone."""
    if any(parcel.files for parcel in iteration.slices.values()):
        return find_checkpoint(spec.work, iteration.checkpoint.iteration + 1)
    return None


def _step(
    spec: TrainSpec, state: TrainingState, chunk: Chunk, total: IterationStats | None
) -> IterationStats:
    points = chunk.points()
    try:
        return step(spec.loader.layout, spec.options.metric, state, points, total, chunk.memo)
    except ValueError as error:
        if spec.options.metric in METRICS:
            raise
        raise UsageError(f"--metric: {error}") from error
