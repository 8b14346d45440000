"""How many keys have another label than before: a join of two tables of labels.

Neither table need fit into memory, and rows do not travel. Workers cut each file of labels into
buckets by a hash of the keys, as records of one size in the work folder; through the shuffle go
their places. What is joined is 128 bits of hash, so that keys of any type are compared alike.

A key that a table has several times names no row of it, and a row without a label has none that
could change: neither counts.
"""

import posixpath
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from kmeans_tf.splitmix import mix
from pipeline.data.page_sums import READING
from pipeline.data.store import FileVersion, Store
from pipeline.errors import SetupError
from pipeline.passes.archive import pack, unpack
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.sums import ONLY, Sum

BUCKET_ROWS = 1 << 21  # of both tables, about: what a worker joins at a time
BATCH_ROWS = 1 << 18
TEXT_BYTES = 1 << 20  # of texts that are hashed at a time, but for one that is longer
MOST_BUCKETS = 1 << 12
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("label", "<i4")])
_SEEDS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_BYTE = np.uint64(8)


@dataclass(frozen=True)
class LabelFile:
    """A file of labels.

    Attributes:
        file: it.
        side: 0 for the earlier table, 1 for the later.
        label: what it calls the label.
    """

    file: FileVersion
    side: int
    label: str


@dataclass(frozen=True)
class MovedSpec:
    """What the workers of the join need to know.

    Attributes:
        keys: the columns to join on, which both tables have in the same types.
        buckets: how many the tables are cut in.
        work: where records are written.
        store: where the files are.
    """

    keys: tuple[str, ...]
    buckets: int
    work: WorkFolder
    store: Store

    @classmethod
    def of(cls, keys: Sequence[str], rows: int, work: WorkFolder, store: Store) -> "MovedSpec":
        """For two tables that have so many rows together."""
        return cls(tuple(keys), min(1 + rows // BUCKET_ROWS, MOST_BUCKETS), work, store)


@dataclass(frozen=True)
class Piece:
    """Records of a bucket that lie in a file, one after the other."""

    side: int
    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Moved:
    """How many keys were found in both tables, and how many of them have another label."""

    keys: int
    moved: int

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(self.keys + other.keys, self.moved + other.moved)


@dataclass
class CountMoved(beam.PTransform):
    """A pipeline -> the count, written down."""

    spec: MovedSpec
    files: Sequence[LabelFile]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        create = beam.Create(self.files, reshuffle=False).with_output_types(LabelFile)
        return (
            pipeline
            | create
            | beam.Reshuffle()
            | beam.FlatMap(partial(cut, self.spec)).with_output_types(tuple[int, Piece])
            | beam.GroupByKey()
            | beam.MapTuple(partial(_joined, self.spec)).with_output_types(tuple[int, Moved])
            | beam.CombinePerKey(Sum()).with_output_types(tuple[int, Moved])
            | beam.MapTuple(partial(_save, self.spec.work)).with_output_types(type(None))
        )


def take_moved(work: WorkFolder) -> Moved:
    """What `CountMoved` found, of which nothing is left behind; no key where there was no row."""
    path = _found(work)
    found = (
        unpack(work.store.read(path), [Moved], path) if work.store.version(path) else Moved(0, 0)
    )
    forget_moved(work)
    return found


def forget_moved(work: WorkFolder) -> None:
    """Deletes what it found, and the records that it wrote."""
    work.store.delete(_folder(work))


def cut(spec: MovedSpec, labels: LabelFile) -> Iterator[tuple[int, Piece]]:
    """Writes a file's records by bucket, a batch of rows at a time, and says where they lie."""
    heartbeat = Heartbeat("moved", spec.work)
    heartbeat.began_files(labels.file)
    path = posixpath.join(_folder(spec.work), uuid.uuid4().hex)
    pieces, end = [], 0
    with spec.work.store.create(path) as stream:
        for batch in _batches(spec, labels):
            records = _records(spec, batch, labels.label)
            buckets = records["high"] % np.uint64(spec.buckets)
            order = np.argsort(buckets, kind="stable")
            stream.write(records[order].tobytes())
            bounds = np.searchsorted(buckets[order], np.arange(spec.buckets + 1)) + end
            for bucket, (start, stop) in enumerate(pairwise(bounds.tolist())):
                if start < stop:
                    pieces.append((bucket, Piece(labels.side, path, start, stop)))
            end += len(records)
            heartbeat.did_a_task()
    yield from pieces


def _batches(spec: MovedSpec, labels: LabelFile) -> Iterator[pa.RecordBatch]:
    columns = [*spec.keys, labels.label]
    try:
        with spec.store.open(labels.file) as source:
            yield from pq.ParquetFile(source, **READING).iter_batches(BATCH_ROWS, columns=columns)
    except (pa.ArrowException, OSError) as error:
        remedy = "start again with --resume never" if labels.side else "name another --match"
        reason = str(error).splitlines()[0]
        raise SetupError(f"{labels.file.path} cannot be read ({reason}): {remedy}") from error


def joined(earlier: np.ndarray, later: np.ndarray) -> Moved:
    """The keys that two arrays of records have in common, each once in each."""
    both = _in_order(np.concatenate([_once(earlier), _once(later)]))
    first = np.flatnonzero(_same_as_next(both))
    changed = both["label"][first] != both["label"][first + 1]
    return Moved(len(first), int(changed.sum()))


def hashed(columns: Sequence[pa.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Two hashes (n,) uint64 of the values that stand beside each other in columns of n."""
    high, low = (_hashed(columns, np.uint64(seed)) for seed in _SEEDS)
    return high, low


def _hashed(columns: Sequence[pa.Array], seed: np.uint64) -> np.ndarray:
    total = np.full(len(columns[0]), seed)
    for column in columns:
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        values = mix(_numbers(column) if _is_number(column.type) else _texts(column, seed))
        values[column.is_null().to_numpy(zero_copy_only=False)] = seed
        total = mix(total + values)
    return total


def _is_number(kind: pa.DataType) -> bool:
    number = types.is_integer(kind) or types.is_floating(kind)
    return number or types.is_boolean(kind) or types.is_temporal(kind)


def _numbers(column: pa.Array) -> np.ndarray:
    """(n,) uint64: the values' bits; something for a null."""
    kind = column.type
    if types.is_temporal(kind):
        column = column.cast(f"int{kind.bit_width}")
    elif types.is_boolean(kind):
        column = column.cast(pa.uint8())
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    wide = np.float64 if types.is_floating(kind) else np.int64
    return values.astype(np.uint64 if values.dtype == np.uint64 else wide).view(np.uint64)


def _texts(column: pa.Array, seed: np.uint64) -> np.ndarray:
    """(n,) uint64 of texts or bytes, else of how the values are written; something for a null.

    The sum over a text's bytes of a random number for each byte and place.
    """
    kind = column.type
    if not (types.is_unicode(kind) or types.is_binary(kind)):
        large = types.is_large_unicode(kind) or types.is_large_binary(kind)
        if not (large or types.is_fixed_size_binary(kind)):
            column = pa.array([repr(value) for value in column.to_pylist()], pa.large_string())
    column = pa.concat_arrays([column.cast(pa.large_binary())])
    _, ends, data = column.buffers()
    bounds = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
    letters = np.frombuffer(data or b"", np.uint8)
    values = np.empty(len(column), np.uint64)
    first = 0
    while first < len(column):
        fitting = int(np.searchsorted(bounds, bounds[first] + TEXT_BYTES, "right")) - 1
        last = min(max(fitting, first + 1), len(column))
        values[first:last] = _of_letters(letters, bounds[first : last + 1], seed)
        first = last
    return values


def _of_letters(data: np.ndarray, bounds: np.ndarray, seed: np.uint64) -> np.ndarray:
    """(n,) uint64 of n texts that lie one after the other in bytes, between bounds (n + 1,)."""
    start, stop = int(bounds[0]), int(bounds[-1])
    letters = data[start:stop].astype(np.uint64)
    places = np.arange(stop - start, dtype=np.uint64)
    places -= np.repeat((bounds[:-1] - start).astype(np.uint64), np.diff(bounds))
    sums = np.concatenate([np.zeros(1, np.uint64), mix((places << _BYTE | letters) + seed)])
    np.cumsum(sums, out=sums)
    lengths = np.diff(bounds).astype(np.uint64)
    return sums[bounds[1:] - start] - sums[bounds[:-1] - start] + lengths


def _records(spec: MovedSpec, batch: pa.RecordBatch, label: str) -> np.ndarray:
    """Records of the rows that have a label."""
    labels = batch.column(label)
    records = np.empty(len(batch), _RECORD)
    records["high"], records["low"] = hashed([batch.column(key) for key in spec.keys])
    records["label"] = labels.fill_null(0).to_numpy(zero_copy_only=False)
    return records[labels.is_valid().to_numpy(zero_copy_only=False)]


def _in_order(records: np.ndarray) -> np.ndarray:
    return records[np.lexsort((records["low"], records["high"]))]


def _same_as_next(records: np.ndarray) -> np.ndarray:
    """(n - 1,) bool: which of n records in order have the key of the one behind."""
    high, low = records["high"], records["low"]
    return (high[1:] == high[:-1]) & (low[1:] == low[:-1])


def _once(records: np.ndarray) -> np.ndarray:
    """The records whose key no other has."""
    records = _in_order(records)
    if not len(records):
        return records
    same = _same_as_next(records)
    return records[~(np.append(same, False) | np.append(False, same))]


def _joined(spec: MovedSpec, _: int, pieces: Iterable[Piece]) -> tuple[int, Moved]:
    parts: tuple[list, list] = ([_nothing()], [_nothing()])
    in_files = sorted(pieces, key=attrgetter("path", "start"))
    for path, group in groupby(in_files, attrgetter("path")):
        for piece, records in _read(spec.work.store, path, list(group)):
            parts[piece.side].append(records)
    return ONLY, joined(*map(np.concatenate, parts))


def _nothing() -> np.ndarray:
    return np.empty(0, _RECORD)


def _read(store: Store, path: str, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, np.ndarray]]:
    file = store.version(path)
    if file is None:
        raise FileNotFoundError(f"{path} is gone")
    with store.open(file) as stream:
        for piece in pieces:
            stream.seek(piece.start * _RECORD.itemsize)
            data = stream.read((piece.stop - piece.start) * _RECORD.itemsize)
            yield piece, np.frombuffer(data, _RECORD)


def _folder(work: WorkFolder) -> str:
    return work.file("moved")


def _found(work: WorkFolder) -> str:
    return posixpath.join(_folder(work), "found")


def _save(work: WorkFolder, _: int, moved: Moved) -> None:
    path = _found(work)
    work.store.write(path, pack(moved, path))
