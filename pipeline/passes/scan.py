"""The scan: one read of everything, for counts, ranges and the sample."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np

from kmeans_tf.metrics import get_metric
from kmeans_tf.points import scan_rows
from kmeans_tf.summary import Summary, beside
from pipeline.data.columns import Columns
from pipeline.data.rows import Rows, count_bad, read_block
from pipeline.data.store import Store
from pipeline.passes.blocks import BlockRange, fetch_blocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import SUMMARY, WorkFolder, save_summary
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.parcels import Parcel, receive
from pipeline.passes.sums import Sum, SumBlocks, Task


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
        store: where the files are.
        cache: where a worker keeps rows for the passes that come.
    """

    columns: Columns
    metric: str
    seed: int
    capacity: int
    moments: bool
    impute: bool
    work: WorkFolder
    store: Store
    cache: JobCache


@dataclass
class Scan(beam.PTransform):
    """Blocks -> one Summary, written down."""

    spec: ScanSpec

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.ParDo(SummarizeBlocks(self.spec)).with_output_types(tuple[int, Parcel])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Parcel])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


class SummarizeBlocks(SumBlocks):
    """Blocks -> the Summary of a bundle."""

    def __init__(self, spec: ScanSpec):
        super().__init__(Heartbeat("scan", spec.work), spec.cache.threads)
        self.spec = spec

    def tasks(self, blocks: BlockRange) -> Iterator[Task]:
        spec, limit = self.spec, scan_rows(self.spec.columns.dimension)
        for block in fetch_blocks(self.heartbeat, blocks):
            read = read_block(spec.store, spec.columns, block, limit)
            for rows in spec.cache.keep_rows(block, read):
                yield partial(summarize, spec, rows)

    def sent(self, total: list[Summary] | None) -> Iterable[tuple[int, Parcel]]:
        return super().sent(Summary.joined(total) if total else None)


def summarize(spec: ScanSpec, rows: Rows, others: list[Summary] | None = None) -> list[Summary]:
    """The Summary of some rows beside others; see `kmeans_tf.summary.beside`."""
    others = others or []
    good, bad = count_bad(rows, spec.columns, get_metric(spec.metric))
    summary = Summary.of(
        rows.values,
        rows.numbers.weights_or_ones,
        good,
        seed=spec.seed,
        capacity=spec.capacity,
        moments=spec.moments,
        used=good | ~np.isfinite(rows.values).all(1) if spec.impute else good,
        bad=bad,
        highest=others[0].sample.highest if others else None,
    )
    return beside(others, summary)


def _save(work: WorkFolder, _: int, parcel: Parcel) -> None:
    save_summary(work, receive(work, parcel, SUMMARY))
