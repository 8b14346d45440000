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

from kmeans_tf.exact import LARGEST_PRODUCT, exact_sums, two_product
from kmeans_tf.metrics import get_metric
from kmeans_tf.model import Model
from kmeans_tf.points import chunk_rows
from pipeline.data.blocks import BlockRef, Span
from pipeline.data.columns import LABEL_COLUMNS, PLACE_COLUMNS, Columns
from pipeline.data.files import Footer
from pipeline.data.partitions import partition_values
from pipeline.data.plan import Plan
from pipeline.data.rows import Rows, count_bad, read_block
from pipeline.data.store import Store
from pipeline.errors import DataError
from pipeline.passes.blocks import BlockRange, fetch_blocks
from pipeline.passes.cache import PROCESS_CACHE
from pipeline.passes.checkpoint import WorkFolder, fetch_model, save_manifest, save_model
from pipeline.passes.parcels import Parcel, receive
from pipeline.passes.shared import Shared
from pipeline.passes.sums import Sum, SumBlocks, Task
from pipeline.passes.totals import LabelTotals

_RESCALE = "rescale the columns, or leave the row out"


@dataclass(frozen=True)
class LabelSpec:
    """What the label pass's workers need to know.

    Attributes:
        columns: what to read.
        schema: of the labels: keys (or the row's place), label, distance.
        model: where what to label with lies; bad features are imputed where it has means.
        blocks: how many blocks there are, for the names of the parts.
        work: where parts are written.
        threads: blocks at once in a worker process.
        store: where the files are.
    """

    columns: Columns
    schema: pa.Schema
    model: Shared
    blocks: int
    work: WorkFolder
    threads: int
    store: Store

    @classmethod
    def of(
        cls,
        plan: Plan,
        model: Model,
        work: WorkFolder,
        threads: int = 1,
        distances: type[np.floating] | None = None,
    ) -> "LabelSpec":
        """What it takes to label a plan's rows with a model.

        Args:
            distances: their type; None for what the model says of rows that nothing is known of.
        """
        keys = key_fields(plan.columns, plan.footers[0])
        place = zip(PLACE_COLUMNS, (pa.string(), pa.int64()), strict=True)
        kind = pa.from_numpy_dtype(distances or model.distance_type())
        answer = zip(LABEL_COLUMNS, (pa.int32(), kind), strict=True)
        schema = pa.schema([*(keys or place), *answer])
        shared = save_model(work, model)
        return cls(plan.columns, schema, shared, len(plan.blocks), work, threads, plan.store)


def key_fields(columns: Columns, footer: Footer) -> list[pa.Field]:
    """The keys as the labels have them."""
    folders = dict(columns.partitions)
    return [
        pa.field(key, folders[key] if key in folders else footer.schema.field(key).type)
        for key in columns.keys
    ]


@dataclass
class Label(beam.PTransform):
    """Blocks -> label files, and a manifest that names them."""

    spec: LabelSpec

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.ParDo(LabelBlocks(self.spec)).with_output_types(tuple[int, Parcel])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Parcel])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


class LabelBlocks(SumBlocks):
    """Blocks -> the totals of a bundle; a file is written for each block."""

    def __init__(self, spec: LabelSpec):
        super().__init__(spec.work, spec.threads)
        self.spec = spec

    def tasks(self, blocks: BlockRange) -> Iterator[Task]:
        PROCESS_CACHE.drop(self.work.path)  # nothing is read twice any more
        model = fetch_model(self.work, self.spec.model)
        for block in fetch_blocks(self.work, blocks):
            yield partial(label_block, self.spec, model, block)


def label_block(
    spec: LabelSpec, model: Model, block: BlockRef, others: LabelTotals | None = None
) -> LabelTotals:
    """Labels the rows of a block into a file of its own, a row group for a row group.

    Returns:
        The totals of these and others.
    """
    width = max(5, len(str(spec.blocks)))
    name = f"part-{block.index:0{width}d}-of-{spec.blocks:0{width}d}.parquet"
    path = spec.work.file(posixpath.join("labels", f"{name}.{uuid.uuid4().hex}"))
    total = LabelTotals.zero(len(model.prototypes), {name: path})
    limit = chunk_rows(spec.columns.dimension)
    rows = read_block(spec.store, spec.columns, block, limit, keys=True)
    with (
        spec.work.store.create(path) as stream,
        pq.ParquetWriter(stream, spec.schema, compression="zstd") as writer,
    ):
        for span, batches in groupby(rows, lambda r: r.span):
            tables, totals = zip(*(label_rows(spec, model, r) for r in batches), strict=True)
            writer.write_table(pa.concat_tables(tables), row_group_size=span.rows)
            total = sum(totals, total)
    return others + total if others else total


def label_rows(spec: LabelSpec, model: Model, rows: Rows) -> tuple[pa.Table, LabelTotals]:
    """The labels of some rows, and what they add to the totals."""
    values = rows.values
    good, bad = count_bad(rows, spec.columns, get_metric(model.metric))
    if model.means is not None:
        values = model.impute(values)
        usable = np.flatnonzero(model.good_rows(values))
    else:
        usable = np.flatnonzero(good)
    index, cost, distance = model.nearest(values[usable])
    weights = rows.weights_or_ones[usable]
    held = _held(spec, model, rows, usable, distance)
    _check_costs(rows, usable, weights, cost)
    answer = [
        _nullable(len(rows), usable, model.labels[index]),
        _nullable(len(rows), usable, held),
    ]
    table = pa.Table.from_arrays([*_key_columns(spec, rows), *answer], schema=spec.schema)
    counted, weight, costs = _totals(model, weights, index, cost)
    bad_rows = int(len(rows) - good.sum())
    return table, LabelTotals(counted, weight, costs, len(rows), bad_rows, bad, {})


def _held(
    spec: LabelSpec, model: Model, rows: Rows, places: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Distances (m,) float64 of the rows at some places (m,) in the type of their column.

    Raises:
        DataError: the type does not hold one.
    """
    is_single = pa.types.is_float32(spec.schema.field(LABEL_COLUMNS[1]).type)
    kind = np.float32 if is_single else np.float64
    with np.errstate(over="ignore", under="ignore"):
        held = distances.astype(kind)
    large = ~np.isfinite(held)
    if large.any():
        raise DataError(
            f"{_row(rows, places, large)} is too far from every prototype for its distance to be "
            f"a number: {_RESCALE}"
        )
    small = (distances > 0) & (distances < np.finfo(kind).smallest_normal)
    if small.any() and not get_metric(model.metric).normalize:
        raise DataError(
            f"{_row(rows, places, small)} is too near to its prototype for its distance to be a "
            f"{kind.__name__} number: {_RESCALE}"
        )
    return held


def _check_costs(rows: Rows, places: np.ndarray, weights: np.ndarray, costs: np.ndarray) -> None:
    """Raises a DataError if the cost of a row, times its weight, cannot be added to others."""
    with np.errstate(over="ignore", invalid="ignore"):
        large = ~(weights * np.maximum(costs, 1.0) < LARGEST_PRODUCT)
    if large.any():
        raise DataError(
            f"{_row(rows, places, large)} is too far from every prototype, or too heavy, for its "
            f"cost to be added: {_RESCALE}"
        )


def _row(rows: Rows, places: np.ndarray, which: np.ndarray) -> str:
    """The first of some rows, by its place in its file."""
    return f"{rows.span.file.path}: row {rows.first_row + int(places[np.argmax(which)])}"


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


def _key_columns(spec: LabelSpec, rows: Rows) -> list[pa.Array]:
    if not spec.columns.keys:
        return _place(rows.span, rows.first_row, len(rows))
    folders = _folder_values(spec.columns, rows.span.file.below)
    return [
        pa.repeat(pa.scalar(folders[key], spec.schema.field(key).type), len(rows))
        if key in folders
        else rows.batch.column(key)
        for key in spec.columns.keys
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


def _save(work: WorkFolder, _: int, parcel: Parcel) -> None:
    save_manifest(work, receive(work, parcel, [LabelTotals]))
