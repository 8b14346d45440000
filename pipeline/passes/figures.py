"""Figures of trials that are over, found in one pass for all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam

from kmeans_tf.figures import FigureSums
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.projected import Projected
from kmeans_tf.state import DIVERGED, Trial
from pipeline.passes.blocks import BlockRange, fetch_blocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import (
    FIGURES,
    Checkpoint,
    TrialSums,
    WorkFolder,
    fetch_state,
    save_figures,
)
from pipeline.passes.chunks import Chunk, Loader, cached_chunks
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.parcels import Parcel, receive
from pipeline.passes.sums import Sum, SumBlocks, Task


@dataclass(frozen=True)
class FiguresSpec:
    """What the workers need to know.

    Attributes:
        loader: how blocks become points.
        checkpoint: of the state with the trials.
        work: where the sums are written.
        cache: where a worker keeps blocks.
    """

    loader: Loader
    checkpoint: Checkpoint
    work: WorkFolder
    cache: JobCache


@dataclass
class FindFigures(beam.PTransform):
    """Blocks -> TrialSums, written down."""

    spec: FiguresSpec

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.ParDo(FigureBlocks(self.spec)).with_output_types(tuple[int, Parcel])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Parcel])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


class FigureBlocks(SumBlocks):
    """Blocks -> the TrialSums of a bundle."""

    def __init__(self, spec: FiguresSpec):
        super().__init__(Heartbeat("figures", spec.work), spec.cache.threads)
        self.spec = spec

    def start_bundle(self) -> None:
        super().start_bundle()
        self.trials: dict[int, tuple[Trial, Projected]] = {}  # let go with the pass

    def tasks(self, blocks: BlockRange) -> Iterator[Task]:
        spec, metric = self.spec, get_metric(self.spec.loader.metric)
        if not self.trials:
            state = fetch_state(self.work, spec.checkpoint)
            self.trials = {
                number: (trial, Projected(metric.project(trial.prototypes)))
                for number, trial in enumerate(state.trials)
                if trial.status != DIVERGED
            }
        for block in fetch_blocks(self.heartbeat, blocks):
            for chunk in cached_chunks(spec.loader, block, spec.cache):
                yield partial(_find, metric, self.trials, chunk)


def _find(
    metric: Metric,
    trials: dict[int, tuple[Trial, Projected]],
    chunk: Chunk,
    others: TrialSums | None = None,
) -> TrialSums:
    points = chunk.points()
    found = TrialSums(
        {
            number: FigureSums.of(metric, points, trial.prototypes, projected)
            for number, (trial, projected) in trials.items()
        }
    )
    return others + found if others else found


def _save(work: WorkFolder, _: int, parcel: Parcel) -> None:
    save_figures(work, receive(work, parcel, FIGURES))
