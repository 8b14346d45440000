"""The scan: one read of everything, for counts, ranges and the sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np

from kmeans_tf.metrics import get_metric
from kmeans_tf.points import chunk_rows
from kmeans_tf.summary import Summary
from pipeline.data.blocks import BlockRef
from pipeline.data.columns import Columns
from pipeline.data.rows import Rows, count_bad, read_block
from pipeline.data.store import Store
from pipeline.passes.checkpoint import WorkFolder, save_summary
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.sums import Sum, SumBlocks


@dataclass(frozen=True)
class ScanSpec:
    """What the scan's workers need to know.

    Attributes:
        columns: what to read.
        metric: a name for `get_metric`; it decides which rows are bad.
        seed: of the sample.
        capacity: the largest sample.
        moments: whether the columns' moments are wanted.
        impute: whether bad rows will be used.
        work: where the summary is written.
        threads: chunks at once in a worker process.
        store: where the files are.
    """

    columns: Columns
    metric: str
    seed: int
    capacity: int
    moments: bool
    impute: bool
    work: WorkFolder
    threads: int
    store: Store


@dataclass
class Scan(beam.PTransform):
    """Blocks -> one Summary, written down."""

    spec: ScanSpec

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.ParDo(SummarizeBlocks(self.spec)).with_output_types(tuple[int, Summary])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Summary])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


class SummarizeBlocks(SumBlocks):
    """Blocks -> the Summary of a bundle."""

    def __init__(self, spec: ScanSpec):
        super().__init__(spec.threads, Heartbeat("scan", spec.work))
        self.spec = spec

    def tasks(self, block: BlockRef) -> Iterator[partial]:
        columns = self.spec.columns
        for rows in read_block(self.spec.store, columns, block, chunk_rows(columns.dimension)):
            highest = self.total.sample.highest if self.total else None
            yield partial(summarize, self.spec, rows, highest)


def summarize(spec: ScanSpec, rows: Rows, highest: int | None = None) -> Summary:
    """The Summary of some rows, their sample without hashes above `highest`."""
    good, bad = count_bad(rows, spec.columns, get_metric(spec.metric))
    incomplete = ~np.isfinite(rows.values).all(1)
    return Summary.of(
        rows.values,
        rows.weights_or_ones,
        good,
        seed=spec.seed,
        capacity=spec.capacity,
        moments=spec.moments,
        used=good | incomplete if spec.impute else good,
        bad=bad,
        highest=highest,
    )


def _save(work: WorkFolder, _: int, summary: Summary) -> None:
    save_summary(work, summary)
