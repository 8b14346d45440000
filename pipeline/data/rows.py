"""From Parquet to rows of numbers, a bounded number of them at a time; which of them are bad."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from kmeans_tf.metrics import Metric, good_rows, zero_rows
from kmeans_tf.pages import pages
from pipeline.data.blocks import BlockRef, Span
from pipeline.data.columns import Columns
from pipeline.data.pieces import Piece, read_pieces
from pipeline.data.places import Places, Run
from pipeline.data.store import Store
from pipeline.data.streams import grouped
from pipeline.errors import DataError

_WHOLE = 1 << 53  # up to here every integer is a float64
_EXACT_POWER = 22  # up to here every power of ten is one
_NAMED_LENGTHS = 8

NULL, NAN, INFINITE, LENGTH, ZERO = "null", "NaN", "infinite", "wrong length", "zero row"


@dataclass(frozen=True)
class Numbers:
    """What the passes compute with of some rows.

    Attributes:
        values: (n, d) features, float32 where their types all fit in it, else float64; NaN for
            what is null or of the wrong length.
        weights: (n,) float64; None without a weight column.
    """

    values: np.ndarray
    weights: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | np.ndarray) -> "Numbers":
        return Numbers(self.values[rows], None if self.weights is None else self.weights[rows])

    @classmethod
    def joined(cls, parts: "Sequence[Numbers]") -> "Numbers":
        """Those of some rows behind those of others."""
        if len(parts) == 1:
            return parts[0]
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate(weights) if weights else None,
        )

    @property
    def row_bytes(self) -> int:
        """The memory of a row."""
        of_weight = 0 if self.weights is None else self.weights.itemsize
        return self.values.itemsize * self.values.shape[1] + of_weight

    @property
    def weights_or_ones(self) -> np.ndarray:
        return np.ones(len(self)) if self.weights is None else self.weights


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows of a block.

    Attributes:
        places: where they come from.
        columns: as read, the keys in any number of chunks.
        numbers: features and weights.
    """

    places: Places
    columns: Mapping[str, pa.Array | pa.ChunkedArray]
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def values(self) -> np.ndarray:
        """The features; see `Numbers`."""
        return self.numbers.values


def read_block(
    store: Store, columns: Columns, block: BlockRef, batch_rows: int, *, keys: bool = False
) -> Iterator[Rows]:
    """The rows of a block, as many at a time as row groups make at most `batch_rows`.

    Args:
        keys: whether to read the key columns too.

    Raises:
        DataError: a file changed, cannot be decoded or lacks rows, or a weight is not a weight.
    """
    wanted = list(dict.fromkeys([*columns.trained, *(columns.stored_keys if keys else [])]))
    for piece in read_pieces(store, block.spans, wanted, batch_rows):
        yield _rows(piece, columns)


def read_keys(
    store: Store,
    columns: Columns,
    block: BlockRef,
    numbers: Sequence[Numbers],
    batch_rows: int,
) -> Iterator[Rows]:
    """The rows of a block whose numbers are known; of the files only the key columns are read.

    Raises:
        DataError: a file changed, cannot be decoded or lacks rows.
    """
    left = deque(numbers)
    if columns.stored_keys:
        for piece in read_pieces(store, block.spans, columns.stored_keys, batch_rows):
            read = dict(zip(piece.table.column_names, piece.table.columns, strict=True))
            yield Rows(piece.places, read, _taken(left, len(piece.places)))
        return
    for file, _ in groupby(block.spans, lambda span: span.file):
        store.check(file)
    for places in grouped(_cut(block.spans, batch_rows), len, batch_rows):
        joined = Places.joined(places)
        yield Rows(joined, {}, _taken(left, len(joined)))


def _cut(spans: Iterable[Span], rows: int) -> Iterator[Places]:
    """The places of some spans, at most so many rows at a time."""
    for span in spans:
        for start in range(0, span.rows, rows):
            count = min(rows, span.rows - start)
            yield Places((Run(span.file, span.first_row + start, count),))


def _taken(numbers: deque[Numbers], count: int) -> Numbers:
    """The first so many of what is left of some numbers."""
    taken = []
    while count:
        first = numbers.popleft()
        if len(first) > count:
            numbers.appendleft(first[count:])
            first = first[:count]
        taken.append(first)
        count -= len(first)
    return Numbers.joined(taken)


def _rows(piece: Piece, columns: Columns) -> Rows:
    read = dict(zip(piece.table.column_names, piece.table.columns, strict=True))
    read |= {name: _one_chunk(read[name]) for name in columns.trained}
    numbers = Numbers(_features(read, columns), _weights(read, columns, piece.places))
    return Rows(piece.places, read, numbers)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _features(read: Mapping[str, pa.Array], columns: Columns) -> np.ndarray:
    if columns.is_list:
        return _list_values(read[columns.features[0]], columns.dimension)
    arrays = [read[name] for name in columns.features]
    kind = np.float32 if all(_fits_float32(array.type) for array in arrays) else np.float64
    values = pages((len(arrays[0]), columns.dimension), kind, order="F")
    for j, array in enumerate(arrays):
        values[:, j] = to_floats(array)
    return values


def _fits_float32(kind: pa.DataType) -> bool:
    """Whether every number of a type is a float32 number."""
    if types.is_floating(kind):
        return kind.bit_width <= 32
    return types.is_boolean(kind) or (types.is_integer(kind) and kind.bit_width <= 16)


def to_floats(array: pa.Array) -> np.ndarray:
    """Any numeric array (n,) as (n,) float32 where its type fits in that, else `to_float64`."""
    if not _fits_float32(array.type):
        return to_float64(array)
    if not array.null_count and not types.is_float16(array.type):
        return array.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return array.cast(pa.float32()).to_numpy(zero_copy_only=False)


def to_float64(array: pa.Array) -> np.ndarray:
    """Any numeric array (n,) as (n,) float64, each the nearest to its number; null as NaN."""
    kind = array.type
    if types.is_decimal(kind):
        return _decimals(array)
    if not array.null_count and (types.is_integer(kind) or types.is_floating(kind)):
        return array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    if types.is_float16(kind):
        array = array.cast(pa.float32())
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _decimals(array: pa.Array) -> np.ndarray:
    """Decimals as the float64 nearest to each; Arrow's own cast is off by one bit in many."""
    scale, valid = array.type.scale, array.is_valid().to_numpy(zero_copy_only=False)
    words = _words(array)
    first = words[:, 0]
    small = (first >= -_WHOLE) & (first <= _WHOLE) & (words[:, 1:] == first[:, None] >> 63).all(1)
    small &= abs(scale) <= _EXACT_POWER
    values = np.full(len(array), np.nan)
    power = 10.0 ** min(abs(scale), _EXACT_POWER)
    # Both operands are exact, so their quotient or product is rounded once.
    values[small] = first[small] / power if scale >= 0 else first[small] * power
    large = valid & ~small
    values[large] = _nearest(words[large], scale)
    values[~valid] = np.nan
    return values


def _words(array: pa.Array) -> np.ndarray:
    """The whole numbers (n, words) int64 of decimals, least significant word first."""
    width = array.type.bit_width
    buffer = array.buffers()[1] or b""
    kind = np.dtype("<i4" if width == 32 else "<i8")
    words = np.frombuffer(buffer, kind, len(buffer) // kind.itemsize)
    per_value = max(width // 64, 1)
    inside = words[array.offset * per_value : (array.offset + len(array)) * per_value]
    return inside.reshape(-1, per_value).astype(np.int64, copy=False)


def _nearest(words: np.ndarray, scale: int) -> list[float]:
    """The float64 nearest to each: Python divides and converts integers of any size correctly."""
    data, size = words.tobytes(), words.shape[1] * words.itemsize
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    wholes = [int.from_bytes(piece, "little", signed=True) for piece in pieces]
    power = 10 ** abs(scale)
    if scale >= 0:
        return [whole / power for whole in wholes]
    return [_float(whole * power) for whole in wholes]


def _float(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def _list_values(array: pa.Array, d: int) -> np.ndarray:
    right = _list_lengths(array) == d
    if right.all():
        return to_floats(array.flatten()).reshape(-1, d)
    found = to_floats(array.filter(pa.array(right)).flatten()).reshape(-1, d)
    values = np.full((len(array), d), np.nan, found.dtype)
    values[right] = found
    return values


def _list_lengths(array: pa.Array) -> np.ndarray:
    """The length of each list, -1 for null."""
    return array.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)


def _weights(read: Mapping[str, pa.Array], columns: Columns, places: Places) -> np.ndarray | None:
    if columns.weight is None:
        return None
    weights = to_float64(read[columns.weight])
    wrong = ~((weights >= 0) & np.isfinite(weights))
    if wrong.any():
        first = int(wrong.argmax())
        path, row = places.of(first)
        raise DataError(
            f"{path}: row {row}: weight column {columns.weight!r} holds "
            f"{read[columns.weight][first].as_py()}, expected a finite number that is not negative"
        )
    return weights


def count_bad(rows: Rows, columns: Columns, metric: Metric) -> tuple[np.ndarray, Counter]:
    """Which rows are good (n,) bool, and the bad ones by (file, column, reason).

    A row with several bad features counts once for each column.
    """
    good = good_rows(metric, rows.values)
    if good.all():
        return good, Counter()
    reasons: dict[tuple[str, str], np.ndarray] = {}
    if columns.is_list:
        name = columns.features[0]
        reasons |= _list_reasons(rows, name, columns.dimension)
    else:
        for j, name in enumerate(columns.features):
            is_null = rows.columns[name].is_null().to_numpy(zero_copy_only=False)
            reasons |= _number_reasons(name, rows.values[:, j : j + 1], is_null)
    if metric.normalize:
        reasons[", ".join(columns.features), ZERO] = zero_rows(rows.values)
    counts = {
        (path, column, reason): count
        for (column, reason), mask in reasons.items()
        for path, count in rows.places.count(mask).items()
    }
    return good, Counter(counts)


def _number_reasons(name: str, values: np.ndarray, is_null: np.ndarray):
    return {
        (name, NULL): is_null,
        (name, NAN): np.isnan(values).any(1) & ~is_null,
        (name, INFINITE): np.isinf(values).any(1),
    }


def _list_reasons(rows: Rows, name: str, d: int):
    array = rows.columns[name]
    lengths = _list_lengths(array)
    right = lengths == d
    is_null = np.zeros(len(rows), bool)
    inside = pc.is_null(array.filter(pa.array(right)).flatten()).to_numpy(zero_copy_only=False)
    is_null[right] = inside.reshape(-1, d).any(1)
    reasons = _number_reasons(name, rows.values, is_null | ~right)
    reasons[name, NULL] = is_null | (lengths == -1)
    return reasons | _length_reasons(name, lengths, d)


def _length_reasons(name: str, lengths: np.ndarray, d: int):
    """Lists of another length than d, by length; under one reason if of more than a few."""
    wrong = (lengths != d) & (lengths != -1)
    several = np.unique(lengths[wrong])
    if len(several) > _NAMED_LENGTHS:
        return {(name, f"{LENGTH} (many, not {d})"): wrong}
    return {(name, f"{LENGTH} ({length}, not {d})"): lengths == length for length in several}
