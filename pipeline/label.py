"""The label pass: one row out for every row in, in the input's order."""

import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf.exact import exact_sums, two_product
from kmeans_tf.metrics import get_metric
from kmeans_tf.model import Model
from kmeans_tf.points import Points, chunk_rows
from pipeline.attempt import Attempt
from pipeline.blocks import BlockRef, Span
from pipeline.cache import PROCESS_CACHE
from pipeline.checkpoint import LabelTotals, WorkFolder, load_manifest, save_manifest
from pipeline.errors import bad_rows_error
from pipeline.inputs import PLACE_COLUMNS, Columns, Footer, partition_values
from pipeline.rows import Rows, count_bad, read_block
from pipeline.runner import Blocks
from pipeline.store import Store
from pipeline.sums import Sum, SumBlocks


@dataclass(frozen=True)
class LabelJob:
    """What the label pass's workers need to know.

    Attributes:
        columns: what to read.
        schema: of the labels.
        model: what to label with; bad features are imputed where its frame has means.
        blocks: how many blocks there are, for the names of the parts.
        work: where parts are written.
        threads: blocks at once in a worker process.
    """

    columns: Columns
    schema: pa.Schema
    model: Model
    blocks: int
    work: WorkFolder
    threads: int


def label_schema(columns: Columns, footer: Footer) -> pa.Schema:
    """The schema of the labels: keys (or the row's place), label, distance."""
    folders = dict(columns.partitions)
    keys = [
        pa.field(key, folders[key] if key in folders else footer.schema.field(key).type)
        for key in columns.keys
    ]
    place = [pa.field(PLACE_COLUMNS[0], pa.string()), pa.field(PLACE_COLUMNS[1], pa.int64())]
    found = [pa.field("label", pa.int32()), pa.field("distance", pa.float32())]
    return pa.schema([*(keys or place), *found])


@dataclass
class Label(beam.PTransform):
    """Blocks -> label files, and a manifest that names them."""

    job: LabelJob

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.ParDo(LabelBlocks(self.job)).with_output_types(tuple[int, LabelTotals])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, LabelTotals])
            | beam.MapTuple(partial(_save, self.job.work)).with_output_types(type(None))
        )


class LabelBlocks(SumBlocks):
    """Blocks -> the totals of a bundle; a file is written for each block."""

    def __init__(self, job: LabelJob):
        super().__init__(job.threads)
        self.job = job

    def tasks(self, block: BlockRef) -> Iterator[partial]:
        PROCESS_CACHE.drop(self.job.work.path)  # nothing is read twice any more
        yield partial(label_block, self.job, block)


def label_block(job: LabelJob, block: BlockRef) -> LabelTotals:
    """Labels the rows of a block into a file of its own, a row group for a row group."""
    store = Store()
    width = max(5, len(str(job.blocks)))
    name = f"part-{block.index:0{width}d}-of-{job.blocks:0{width}d}.parquet"
    path = job.work.file(posixpath.join("labels", f"{name}.{uuid.uuid4().hex}"))
    total = LabelTotals.zero(len(job.model.prototypes), {name: path})
    rows = read_block(store, job.columns, block, chunk_rows(job.columns.dimension), keys=True)
    with (
        store.create(path) as stream,
        pq.ParquetWriter(stream, job.schema, compression="zstd") as writer,
    ):
        for span, batches in groupby(rows, lambda r: r.span):
            tables, totals = zip(*(label_rows(job, r) for r in batches), strict=True)
            writer.write_table(pa.concat_tables(tables), row_group_size=span.rows)
            total = sum(totals, total)
    return total


def label_rows(job: LabelJob, rows: Rows) -> tuple[pa.Table, LabelTotals]:
    """The labels of some rows, and what they add to the totals."""
    model = job.model
    values = rows.values
    good, bad = count_bad(rows, job.columns, get_metric(model.metric))
    if model.frame.means is not None:
        values = model.frame.impute(values)
        usable = np.flatnonzero(model.good_rows(values))
    else:
        usable = np.flatnonzero(good)
    index, cost = model.nearest(Points.encode(model.frame, values[usable], None))
    found = [
        _nullable(len(rows), usable, model.labels[index]),
        _nullable(len(rows), usable, model.distance(cost).astype(np.float32)),
    ]
    table = pa.Table.from_arrays([*_key_columns(job, rows), *found], schema=job.schema)
    counted, weight, costs = _totals(model, rows.weights_or_ones[usable], index, cost)
    bad_rows = int(len(rows) - good.sum())
    return table, LabelTotals(counted, weight, costs, len(rows), bad_rows, bad, {})


def _nullable(n: int, places: np.ndarray, values: np.ndarray) -> pa.Array:
    """n values of which those at `places` are given, the others null."""
    full, missing = np.zeros(n, values.dtype), np.ones(n, bool)
    full[places], missing[places] = values, False
    return pa.array(full, mask=missing)


def _totals(model: Model, weights: np.ndarray, index: np.ndarray, cost: np.ndarray):
    k = len(model.prototypes)
    product, error = two_product(weights, cost)
    costs = zip(exact_sums(product, index, k), exact_sums(error, index, k), strict=True)
    return (
        np.bincount(index, minlength=k),
        tuple(exact_sums(weights, index, k)),
        tuple(a + b for a, b in costs),
    )


def _key_columns(job: LabelJob, rows: Rows) -> list[pa.Array]:
    if not job.columns.keys:
        return _place(rows.span, rows.first_row, len(rows))
    folders = _folder_values(job.columns, rows.span.file.below)
    return [
        pa.repeat(pa.scalar(folders[key], job.schema.field(key).type), len(rows))
        if key in folders
        else rows.batch.column(key)
        for key in job.columns.keys
    ]


def _place(span: Span, first_row: int, count: int) -> list[pa.Array]:
    numbers = np.arange(first_row, first_row + count, dtype=np.int64)
    return [pa.repeat(pa.scalar(span.file.path), count), pa.array(numbers)]


def _folder_values(columns: Columns, path: str) -> dict:
    texts = dict(partition_values(path))
    return {
        name: pa.scalar(texts.get(name), pa.string()).cast(kind).as_py()
        for name, kind in columns.partitions
    }


def _save(work: WorkFolder, _: int, totals: LabelTotals) -> None:
    save_manifest(Store(), work, totals)


def label_pass(attempt: Attempt, model: Model) -> LabelTotals:
    """Writes a label for every row below the work folder, unless that was done.

    Raises:
        DataError: there are bad rows, and the policy is to fail.
    """
    totals = load_manifest(attempt.store, attempt.work)
    if totals is None:
        plan, runner = attempt.plan, attempt.runner
        schema = label_schema(plan.columns, plan.footers[0])
        job = LabelJob(
            plan.columns, schema, model, len(plan.blocks), attempt.work, runner.settings.threads
        )
        with attempt.clock.stage("label"):
            attempt.run(lambda p: p | Blocks(plan.blocks) | Label(job))
        totals = load_manifest(attempt.store, attempt.work)
    if model.on_bad_row == "fail" and totals.bad_rows:
        raise bad_rows_error(totals.bad_rows, totals.all_rows, totals.bad)
    return totals
