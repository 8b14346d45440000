"""The label pass: one row out for every row in, in the input's order."""

import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf.bounds import Bounded, Known
from kmeans_tf.encoding import Encoding
from kmeans_tf.exact import addable, exact_counts, exact_sums, two_product
from kmeans_tf.metrics import get_metric, good_rows
from kmeans_tf.model import Model
from kmeans_tf.points import piece_rows
from pipeline.data.blocks import BlockRef
from pipeline.data.columns import PLACE_COLUMNS, Columns
from pipeline.data.digests import digest_of, hash_values, row_hashes
from pipeline.data.page_sums import WRITING
from pipeline.data.partitions import partition_values
from pipeline.data.places import Places
from pipeline.data.plan import Plan
from pipeline.data.rows import Numbers, Rows, count_bad, read_block, read_keys
from pipeline.data.store import Store
from pipeline.data.streams import grouped, in_order
from pipeline.errors import DataError
from pipeline.passes.blocks import BlockRange, fetch_blocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import WorkFolder, fetch_model, save_manifest, save_model
from pipeline.passes.chunks import bounds_of
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.parcels import Parcel, receive, send
from pipeline.passes.shared import Shared
from pipeline.passes.sums import ONLY, Sum, thread_pool
from pipeline.passes.totals import LABEL_TOTALS, LabelTotals
from pipeline.passes.typical import typical_rows

# Of the points that a part has labels for; between these, a table makes as many parts as `PARTS`.
LEAST_PART_BYTES, PART_BYTES = 8 << 20, 128 << 20
PARTS = 16  # so that a small table keeps several workers busy
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 1 << 20, 64 << 20  # of the labels, at most
_RESCALE = "rescale the columns, or leave the row out"


@dataclass(frozen=True)
class Trained:
    """Where a model comes from, whose training workers may remember.

    Attributes:
        encoding: of the points that it was trained on.
        trial: whose prototypes it has, by its index.
    """

    encoding: Encoding
    trial: int


@dataclass(frozen=True)
class LabelSpec:
    """What the label pass's workers need to know.

    Attributes:
        columns: what to read.
        schema: of the labels: keys (or the row's place), label, distance.
        model: where what to label with lies; bad features are imputed where it has means.
        work: where parts are written.
        store: where the files are.
        cache: where a worker may have kept rows.
        trained: where the model comes from; None: from another job.
    """

    columns: Columns
    schema: pa.Schema
    model: Shared
    work: WorkFolder
    store: Store
    cache: JobCache
    trained: Trained | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        model: Model,
        work: WorkFolder,
        cache: JobCache | None = None,
        distances: type[np.floating] | None = None,
        trained: Trained | None = None,
    ) -> "LabelSpec":
        """What it takes to label a plan's rows with a model.

        Args:
            distances: their type; None for what the model says of rows that nothing is known of.
            trained: see `LabelSpec`.
        """
        place = zip(PLACE_COLUMNS, (pa.string(), pa.int64()), strict=True)
        kind = pa.from_numpy_dtype(distances or model.distance_type())
        answer = zip(plan.columns.answer, (pa.int32(), kind), strict=True)
        schema = pa.schema([*(plan.columns.key_fields or place), *answer])
        return cls(
            plan.columns,
            schema,
            save_model(work, model),
            work,
            plan.store,
            cache or JobCache(work.path),
            trained,
        )

    @property
    def repeating(self) -> list[str]:
        """The columns that are worth a dictionary: of what differs from row to row it is none."""
        different = {self.columns.answer[1], *(() if self.columns.keys else PLACE_COLUMNS[1:])}
        return [name for name in self.schema.names if name not in different]


def part_rows(dimension: int, rows: int) -> int:
    """How many of a table's rows a part of the labels is to have: whoever labels, the same."""
    shared = max(LEAST_PART_BYTES, 4 * dimension * rows // PARTS)
    return min(PART_BYTES, shared) // (4 * dimension)


@dataclass
class Label(beam.PTransform):
    """Blocks -> label files, one for each range, and a manifest that names them."""

    spec: LabelSpec

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | beam.Map(partial(_label, self.spec)).with_output_types(tuple[int, Parcel])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Parcel])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


def _label(spec: LabelSpec, blocks: BlockRange) -> tuple[int, Parcel]:
    spec.cache.drop_points(partial(bounds_of, trial=spec.trained.trial if spec.trained else 0))
    return ONLY, send(spec.work, spec.work.sums, label_part(spec, blocks))


def label_part(spec: LabelSpec, blocks: BlockRange) -> LabelTotals:
    """Labels the rows of some blocks into a file of their own, in the order of the blocks."""
    width = max(5, len(str(blocks.count)))
    name = f"part-{blocks.number:0{width}d}-of-{blocks.count:0{width}d}.parquet"
    path = spec.work.file(posixpath.join("labels", f"{name}.{uuid.uuid4().hex}"))
    model = fetch_model(spec.work, spec.model)
    total = LabelTotals.zero(len(model.prototypes), {name: path})
    with (
        spec.work.store.create(path) as stream,
        pq.ParquetWriter(stream, spec.schema, use_dictionary=spec.repeating, **WRITING) as writer,
    ):
        for group in grouped(_labelled(spec, model, blocks), _row_group_share, ROW_GROUP_BYTES):
            tables, totals = zip(*group, strict=True)
            writer.write_table(pa.concat_tables(tables))
            total = sum(totals, total)
    return total


def _labelled(
    spec: LabelSpec, model: Model, blocks: BlockRange
) -> Iterator[tuple[pa.Table, LabelTotals]]:
    """Labels of the blocks' rows in order; as many chunks as there are threads are ahead."""
    heartbeat = Heartbeat("label", spec.work)
    tasks = (
        (1, partial(label_rows, spec, model, rows, known))
        for rows, known in _rows(spec, model, heartbeat, blocks)
    )
    for labelled in in_order(thread_pool(spec.cache.threads), tasks, spec.cache.threads):
        heartbeat.did_a_task()
        yield labelled


def _rows(
    spec: LabelSpec, model: Model, heartbeat: Heartbeat, blocks: BlockRange
) -> Iterator[tuple[Rows, Known | None]]:
    """The blocks' rows, and what the training knew of them."""
    for block in fetch_blocks(heartbeat, blocks):
        known, done = _known(spec, model, block), 0
        for rows in _block_rows(spec, model, block):
            part = slice(done, done + len(rows))
            yield rows, known and known.part(part)
            done = part.stop


def _block_rows(spec: LabelSpec, model: Model, block: BlockRef) -> Iterator[Rows]:
    limit, metric = piece_rows(spec.columns.dimension), get_metric(model.metric)
    cached = spec.cache.take_rows(block)
    # What is wrong with a row stands in its columns.
    if cached and all(good_rows(metric, numbers.values).all() for numbers in cached):
        return read_keys(spec.store, spec.columns, block, cached, limit)
    return read_block(spec.store, spec.columns, block, limit, keys=True)


def _known(spec: LabelSpec, model: Model, block: BlockRef) -> Known | None:
    """What the training knew of all of a block's rows, if it is still there."""
    parts = spec.cache.take_turned(block)
    if not parts or spec.trained is None:
        return None
    bounded = Bounded.joined(parts)
    left_out = len(bounded.labels) < block.rows  # as bad
    if left_out or bounded.prototypes.shape != model.prototypes.shape:
        return None
    return model.known(spec.trained.encoding, bounded)


def _row_group_share(labelled: tuple[pa.Table, LabelTotals]) -> int:
    """What labels take of a row group: of its bytes, or as much of its rows."""
    table, _ = labelled
    return max(table.nbytes, table.num_rows * (ROW_GROUP_BYTES // ROW_GROUP_ROWS))


def label_rows(
    spec: LabelSpec, model: Model, rows: Rows, known: Known | None = None
) -> tuple[pa.Table, LabelTotals]:
    """The labels of some rows, and what they add to the totals.

    Args:
        known: of the same rows, all of them usable.
    """
    values = rows.values
    good, bad = count_bad(rows, spec.columns, get_metric(model.metric))
    if model.means is not None:
        values = model.impute(values)
        usable = np.flatnonzero(model.good_rows(values))
    else:
        usable = np.flatnonzero(good)
    numbers = Numbers(values, rows.numbers.weights)
    if len(usable) < len(rows):
        numbers = numbers[usable]
    index, cost, distance = model.nearest(numbers.values, known)
    weights = numbers.weights_or_ones
    held = _held(spec, model, rows, usable, distance)
    _check_costs(rows, usable, weights, cost)
    labels = _nullable(len(rows), usable, model.labels[index])
    keys = _key_columns(spec, rows)
    answer = [*map(_plain, keys, spec.schema.types), labels, _nullable(len(rows), usable, held)]
    table = pa.Table.from_arrays(answer, schema=spec.schema)
    digest = digest_of(row_hashes([*map(hash_values, keys), hash_values(labels)]))
    counted, weight, costs = _totals(model, numbers.weights, index, cost)
    bad_rows = int(len(rows) - good.sum())
    keys = table.select(list(range(len(spec.columns.keys))))
    near = typical_rows(index, distance, usable, rows.places, keys)
    return table, LabelTotals(counted, weight, costs, len(rows), bad_rows, bad, {}, digest, near)


def _held(
    spec: LabelSpec, model: Model, rows: Rows, places: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Distances (m,) float64 of the rows at some places (m,) in the type of their column.

    Raises:
        DataError: the type does not hold one.
    """
    is_single = pa.types.is_float32(spec.schema.field(spec.columns.answer[1]).type)
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
    large = ~addable(weights, costs)
    if large.any():
        raise DataError(
            f"{_row(rows, places, large)} is too far from every prototype, or too heavy, for its "
            f"cost to be added: {_RESCALE}"
        )


def _row(rows: Rows, places: np.ndarray, which: np.ndarray) -> str:
    """The first of some rows, by its place in its file."""
    path, row = rows.places.of(int(places[np.argmax(which)]))
    return f"{path}: row {row}"


def _nullable(n: int, places: np.ndarray, values: np.ndarray) -> pa.Array:
    """n values of which those at `places` are given, the others null."""
    if len(places) == n:
        return pa.array(values)
    full, missing = np.zeros(n, values.dtype), np.ones(n, bool)
    full[places], missing[places] = values, False
    return pa.array(full, mask=missing)


def _totals(model: Model, weights: np.ndarray | None, index: np.ndarray, cost: np.ndarray):
    k = len(model.prototypes)
    counted = np.bincount(index, minlength=k)
    if weights is None:
        return counted, exact_counts(counted), tuple(exact_sums(cost, index, k))
    product, error = two_product(weights, cost)
    costs = zip(exact_sums(product, index, k), exact_sums(error, index, k), strict=True)
    return counted, tuple(exact_sums(weights, index, k)), tuple(a + b for a, b in costs)


def _key_columns(spec: LabelSpec, rows: Rows) -> list[pa.Array | pa.ChunkedArray]:
    if not spec.columns.keys:
        return _place_columns(rows.places)
    folders = _folder_columns(spec.columns, rows.places)
    return [folders[key] if key in folders else rows.columns[key] for key in spec.columns.keys]


def _plain(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """A column as a type of the labels has it: what is told once for a run, for each row."""
    return column if column.type == kind else column.cast(kind)


def _place_columns(places: Places) -> list[pa.Array]:
    paths = pa.array([run.file.path for run in places.runs], pa.string())
    return [places.spread(paths), pa.array(places.rows())]


def _folder_columns(columns: Columns, places: Places) -> dict[str, pa.Array]:
    """The values that stand in the names of the rows' folders, by key."""
    if not columns.partitions:
        return {}
    texts = [dict(partition_values(run.file.below)) for run in places.runs]
    return {
        name: places.spread(pa.array([t.get(name) for t in texts], pa.string()).cast(kind))
        for name, kind in columns.partitions
    }


def _save(work: WorkFolder, _: int, parcel: Parcel) -> None:
    save_manifest(work, receive(work, parcel, LABEL_TOTALS))
