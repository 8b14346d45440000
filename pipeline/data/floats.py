"""Numbers of any type as floating point, and columns of other layouts as numbers."""

import math
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from pipeline.data.kinds import is_list, is_tensor, is_vector, plain

_WHOLE = 1 << 53  # up to here every integer is a float64
_EXACT_POWER = 22  # up to here every power of ten is one
_SPARSE = 0  # the type of such a vector

Data = TypeVar("Data", pa.Array, pa.ChunkedArray)


def fits_float32(kind: pa.DataType) -> bool:
    """Whether every number of a type is a float32 number."""
    if types.is_floating(kind):
        return kind.bit_width <= 32
    if types.is_null(kind):
        return True
    return types.is_boolean(kind) or (types.is_integer(kind) and kind.bit_width <= 16)


def to_floats(array: pa.Array) -> np.ndarray:
    """Any numeric array (n,) as (n,) float32 where its type fits in that, else `to_float64`."""
    if not fits_float32(array.type):
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


def as_numbers(array: pa.Array) -> pa.Array:
    """A column (n,) of numbers, or lists of them, as one of `plain(array.type)`.

    Raises:
        ArrowInvalid: a sparse vector has numbers outside its size.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return as_numbers(array.storage) if plain(kind) != kind else array
    if types.is_dictionary(kind):
        return as_numbers(array.dictionary_decode())
    if is_vector(kind):
        return _vectors(array)
    if types.is_struct(kind) and is_tensor(kind):
        return pc.struct_field(array, 0)
    return array


def _vectors(array: pa.StructArray) -> pa.LargeListArray:
    """Spark ML's vectors with all their zeros."""
    kind, size, indices, values = (
        pc.struct_field(array, name) for name in ("type", "size", "indices", "values")
    )
    stored = _integers(values.value_lengths())
    lengths = np.where(_integers(kind) == _SPARSE, _integers(size), stored)
    rows = np.repeat(np.arange(len(array)), stored)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(stored) - stored, stored)
    sparse = (_integers(kind) == _SPARSE)[rows]
    given = _integers(indices.flatten())
    if len(given) != sparse.sum():
        raise pa.ArrowInvalid("a sparse vector has not as many indices as values")
    places[sparse] = given
    if ((places < 0) | (places >= lengths[rows])).any():
        raise pa.ArrowInvalid("a sparse vector has an index beyond its size")
    ends = np.cumsum(lengths)
    full = np.zeros(lengths.sum())
    full[(ends - lengths)[rows] + places] = to_float64(values.flatten())
    return _lists(lengths, pa.array(full), array)


def _lengths(array: pa.Array) -> np.ndarray:
    """Of each list (n,); 0 for null."""
    return _integers(array.value_lengths()) * array.is_valid().to_numpy(zero_copy_only=False)


def _integers(array: pa.Array) -> np.ndarray:
    """(n,) int64; 0 for null."""
    return array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)


def _lists(lengths: np.ndarray, values: pa.Array, like: pa.Array) -> pa.LargeListArray:
    """Lists of some lengths (n,), null where another array (n,) is."""
    offsets = pa.array(np.append(0, np.cumsum(lengths)))
    return pa.LargeListArray.from_arrays(offsets, values, mask=like.is_null())


def as_floats(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Plain numbers, or lists of them, as float32 or float64; what is null stays so."""
    if types.is_null(array.type):
        return array
    if is_list(array.type):
        return _lists(_lengths(array), as_floats(array.flatten(), kind), array)
    mask = array.is_null().to_numpy(zero_copy_only=False)
    return pa.array(to_floats(array), mask=mask).cast(kind)


def as_lists(array: Data) -> Data:
    """Lists of numbers; those of a column of nothing but nulls are null."""
    return array.cast(pa.list_(pa.float32())) if types.is_null(array.type) else array
