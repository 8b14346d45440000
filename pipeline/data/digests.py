"""Digests of rows that add up: of a table the same however it is cut, in whatever order it comes.

They tell two answers apart. They are no proof against someone who wants them to be equal.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from kmeans_tf.splitmix import FIRST, STEP, mix

_U64 = np.uint64
_NULL, _OTHER = _U64(0x2545F4914F6CDD1D), _U64(0xD6E8FEB86659FD93)
_BASE = 0x5851F42D4C957F2D  # odd: it has an inverse among 64-bit numbers
_INVERSE = pow(_BASE, -1, 1 << 64)
_PIECE = 1 << 15  # items at once, as a core's own memory holds them
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def row_hashes(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) uint64 of n rows, from those of each of their columns (n,), in this order."""
    total = np.zeros_like(columns[0])
    for column in columns:
        total = mix(total * STEP + column)
    return total


def digest_of(hashes: np.ndarray) -> int:
    """The digest of rows with these hashes (n,) uint64: a number below 2**128."""
    sums = (int(part.sum(dtype=np.uint64)) for part in (hashes, mix(hashes ^ _OTHER)))
    return joined(sum(part << shift for part, shift in zip(sums, (64, 0), strict=True)), 0)


def joined(one: int, other: int) -> int:
    """The digest of rows of which two parts have these."""
    low = (1 << 64) - 1
    return (((one >> 64) + (other >> 64)) & low) << 64 | ((one & low) + (other & low)) & low


def hash_values(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) uint64 of values of any type: of equal bits equal ones, whichever layout they have."""
    if isinstance(array, pa.ChunkedArray):
        parts = [hash_values(chunk) for chunk in array.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    hashes = _hash_stored(array)
    if array.null_count:
        hashes = np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, hashes)
    return hashes


def _hash_stored(array: pa.Array) -> np.ndarray:
    """Of values that are null whatever lies in their place."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return hash_values(array.storage)
    if types.is_null(kind):
        return np.zeros(len(array), np.uint64)
    if types.is_dictionary(kind):
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        known = hash_values(array.dictionary)
        return known[indices] if len(known) else np.zeros(len(array), np.uint64)
    if types.is_run_end_encoded(kind):
        return hash_values(pc.run_end_decode(array))
    if types.is_struct(kind):
        return row_hashes(
            [np.zeros(len(array), np.uint64), *(hash_values(field) for field in array.flatten())]
        )
    if types.is_nested(kind):
        return _hash_lists(array)
    if types.is_boolean(kind):
        return _hash_stored(array.cast(pa.uint8()))
    if types.is_fixed_size_binary(kind) or types.is_decimal(kind) or types.is_interval(kind):
        return _hash_fixed(array, kind.bit_width // 8)
    if _is_text(kind):
        return _hash_texts(array)
    return mix(_bits(array, kind.bit_width // 8).astype(np.uint64) + STEP)


def _is_text(kind: pa.DataType) -> bool:
    tests = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in tests) or (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    )


def _bits(array: pa.Array, width: int) -> np.ndarray:
    """(n,) of a primitive type's values, as whole numbers of as many bytes."""
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(len(array), _UNSIGNED[width])
    return np.frombuffer(data, _UNSIGNED[width], len(array), array.offset * width)


def _hash_fixed(array: pa.Array, width: int) -> np.ndarray:
    data = array.buffers()[1]
    count = len(array) * width
    return _hash_runs(_bytes(data, count, array.offset * width), np.full(len(array), width))


def _hash_texts(array: pa.Array) -> np.ndarray:
    plain = array.cast(pa.large_binary())
    _, offsets, data = plain.buffers()
    if not len(plain):
        return np.zeros(0, np.uint64)
    ends = np.frombuffer(offsets, np.int64, len(plain) + 1, plain.offset * 8)
    first, last = int(ends[0]), int(ends[-1])
    return _hash_runs(_bytes(data, last - first, first), np.diff(ends))


def _bytes(data: Any, count: int, first: int) -> np.ndarray:
    there = data is not None and count
    return np.frombuffer(data, np.uint8, count, first) if there else np.zeros(0, np.uint8)


def _hash_lists(array: pa.Array) -> np.ndarray:
    if types.is_map(array.type):
        pairs = pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])
        array = array.cast(pa.list_(pairs))
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    return _hash_runs(hash_values(array.flatten()), lengths.astype(np.int64))


def _hash_runs(items: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n,) uint64 of runs of items, which follow one another: of each, a polynomial in its items.

    Sums over all items up to each give those of all runs at once.
    """
    ends, start, first = np.cumsum(lengths), 0, 0
    found = [np.zeros(0, np.uint64)]
    while first < len(lengths):
        last = max(int(np.searchsorted(ends, start + _PIECE, "right")), first + 1)
        of_piece, stop = ends[first:last] - start, int(ends[last - 1])
        found.append(_polynomials(items[start:stop], of_piece, of_piece - lengths[first:last]))
        start, first = stop, last
    return mix(np.concatenate(found) + lengths.astype(np.uint64) * FIRST)


def _polynomials(items: np.ndarray, ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) uint64 of runs that end and start at such places: several, or one of any length."""
    powers, inverses = _powers(_BASE), _powers(_INVERSE)
    if len(items) > _PIECE:
        powers = np.cumprod(np.full(len(items), _BASE, np.uint64), dtype=np.uint64)
    sums = np.zeros(len(items) + 1, np.uint64)
    np.cumsum((items.astype(np.uint64) + STEP) * powers[: len(items)], out=sums[1:])
    return (sums[ends] - sums[starts]) * inverses[starts]


@cache
def _powers(base: int) -> np.ndarray:
    """(_PIECE + 1,) uint64: the powers of a number from the first on."""
    return np.cumprod(np.full(_PIECE + 1, base, np.uint64), dtype=np.uint64)
