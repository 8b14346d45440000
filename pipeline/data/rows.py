"""From Parquet to rows of numbers, a bounded number of them at a time; which of them are bad."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmeans_tf.metrics import Metric, good_rows, zero_rows
from kmeans_tf.pages import pages
from pipeline.data.blocks import BlockRef, Span
from pipeline.data.columns import Columns
from pipeline.data.floats import as_lists, as_numbers, fits_float32, to_float64, to_floats
from pipeline.data.pieces import Piece, read_pieces
from pipeline.data.places import Places, Run
from pipeline.data.store import Store
from pipeline.data.streams import grouped
from pipeline.errors import DataError

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
        columns: as read, in any number of chunks.
        numbers: features and weights.
        trained: what the numbers were made of, by column; empty where they were known before.
    """

    places: Places
    columns: Mapping[str, pa.ChunkedArray]
    numbers: Numbers
    trained: Mapping[str, pa.Array] = field(default_factory=dict)

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
    for piece in read_pieces(store, block.spans, columns.wanted(keys=keys), batch_rows):
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
            yield Rows(piece.places, _by_name(piece.table), _taken(left, len(piece.places)))
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
    read = _by_name(piece.table)
    trained = {name: as_numbers(_one_chunk(read[name])) for name in columns.trained}
    if columns.is_list:
        trained[columns.features[0]] = as_lists(trained[columns.features[0]])
    numbers = Numbers(_features(trained, columns), _weights(trained, columns, piece.places))
    return Rows(piece.places, read, numbers, trained)


def _by_name(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _features(read: Mapping[str, pa.Array], columns: Columns) -> np.ndarray:
    if columns.is_list:
        return _list_values(read[columns.features[0]], columns.dimension)
    arrays = [read[name] for name in columns.features]
    kind = np.float32 if all(fits_float32(array.type) for array in arrays) else np.float64
    values = pages((len(arrays[0]), columns.dimension), kind, order="F")
    for j, array in enumerate(arrays):
        values[:, j] = to_floats(array)
    return values


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
            is_null = rows.trained[name].is_null().to_numpy(zero_copy_only=False)
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
    array = rows.trained[name]
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
