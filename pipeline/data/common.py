"""The type that holds the values of two, exactly.

What only Arrow's note in a file tells apart is the same to Parquet: how long offsets are, whether
texts stand in a dictionary, what a time zone is called.
"""

import pyarrow as pa
from pyarrow import types

from pipeline.data.kinds import has_other_lists

_UNITS = ("s", "ms", "us", "ns")
_LARGEST_PRECISION = 76
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}  # of an integer, by its bits
_EXACT_BITS = {16: 11, 32: 24, 64: 53}  # of an integer, by the bits of a float that holds it
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_FLOATS = {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}
_LIST_TESTS = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)
_TEXT_TESTS = (types.is_string, types.is_large_string, types.is_string_view)
_BINARY_TESTS = (
    types.is_binary,
    types.is_large_binary,
    types.is_binary_view,
    types.is_fixed_size_binary,
)


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The narrowest type for the values of both; None where none holds all of them exactly.

    Times of several units take the finest, which holds fewer years: what does not fit is an error
    when it is read.
    """
    if a.equals(b) or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if isinstance(a, pa.BaseExtensionType) or isinstance(b, pa.BaseExtensionType):
        return common_type(_storage(a), _storage(b))
    if types.is_dictionary(a) or types.is_dictionary(b):
        return common_type(_value(a), _value(b))
    rules = (_numbers, _texts, _binaries, _times, _lists, _maps, _structs)
    return next((found for rule in rules if (found := rule(a, b)) is not None), None)


def with_plain_lists(kind: pa.DataType) -> pa.DataType:
    """A type with lists where it has lists of a fixed size, or views of lists."""
    if not has_other_lists(kind):
        return kind
    if isinstance(kind, pa.BaseExtensionType):
        return with_plain_lists(kind.storage_type)
    if types.is_struct(kind):
        return pa.struct([(field.name, with_plain_lists(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(with_plain_lists(kind.key_type), with_plain_lists(kind.item_type))
    return pa.list_(with_plain_lists(kind.value_type))


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _value(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind


def _numbers(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if types.is_integer(a) and types.is_integer(b):
        return _integers(a, b)
    if types.is_floating(a) and types.is_floating(b):
        return _FLOATS[max(a.bit_width, b.bit_width)]
    if types.is_floating(a):
        a, b = b, a
    if types.is_integer(a) and types.is_floating(b):
        return _float(a, b)
    return _decimals(_as_decimal(a), _as_decimal(b))


def _integers(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if types.is_unsigned_integer(a) == types.is_unsigned_integer(b):
        return max(a, b, key=lambda kind: kind.bit_width)
    bits = (k.bit_width * (2 if types.is_unsigned_integer(k) else 1) for k in (a, b))
    return _SIGNED.get(max(bits))


def _float(whole: pa.DataType, floating: pa.DataType) -> pa.DataType | None:
    bits = whole.bit_width - types.is_signed_integer(whole)
    fit = (w for w, exact in _EXACT_BITS.items() if exact >= bits and w >= floating.bit_width)
    return next((_FLOATS[width] for width in fit), None)


def _as_decimal(kind: pa.DataType) -> pa.DataType | None:
    if types.is_integer(kind):
        return pa.decimal128(_DIGITS[kind.bit_width], 0)
    return kind if types.is_decimal(kind) else None


def _decimals(a: pa.DataType | None, b: pa.DataType | None) -> pa.DataType | None:
    if a is None or b is None:
        return None
    scale = max(a.scale, b.scale)
    precision = scale + max(a.precision - a.scale, b.precision - b.scale)
    if precision > _LARGEST_PRECISION:
        return None
    wide = precision > 38 or types.is_decimal256(a) or types.is_decimal256(b)
    return pa.decimal256(precision, scale) if wide else pa.decimal128(precision, scale)


def _texts(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (_is_any(a, _TEXT_TESTS) and _is_any(b, _TEXT_TESTS)):
        return None
    large = types.is_large_string(a) or types.is_large_string(b)
    return pa.large_string() if large else pa.string()


def _binaries(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (_is_any(a, _BINARY_TESTS) and _is_any(b, _BINARY_TESTS)):
        return None
    large = types.is_large_binary(a) or types.is_large_binary(b)
    return pa.large_binary() if large else pa.binary()


def _times(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if types.is_date(a) and types.is_date(b):
        return pa.date32()
    if types.is_timestamp(a) and types.is_timestamp(b) and (a.tz is None) == (b.tz is None):
        return pa.timestamp(_finer(a, b), a.tz if a.tz == b.tz else "UTC")
    if types.is_duration(a) and types.is_duration(b):
        return pa.duration(_finer(a, b))
    if types.is_time(a) and types.is_time(b):
        unit = _finer(a, b)
        return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)
    return None


def _finer(a: pa.DataType, b: pa.DataType) -> str:
    return max(a.unit, b.unit, key=_UNITS.index)


def _lists(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (_is_any(a, _LIST_TESTS) and _is_any(b, _LIST_TESTS)):
        return None
    value = common_type(a.value_type, b.value_type)
    if value is None:
        return None
    large = any(types.is_large_list(k) or types.is_large_list_view(k) for k in (a, b))
    return pa.large_list(value) if large else pa.list_(value)


def _maps(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (types.is_map(a) and types.is_map(b)):
        return None
    key, item = common_type(a.key_type, b.key_type), common_type(a.item_type, b.item_type)
    return None if key is None or item is None else pa.map_(key, item)


def _structs(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (types.is_struct(a) and types.is_struct(b)):
        return None
    names = [field.name for field in a]
    if sorted(names) != sorted(field.name for field in b):
        return None
    fields = [(name, common_type(a.field(name).type, b.field(name).type)) for name in names]
    return None if any(kind is None for _, kind in fields) else pa.struct(fields)


def _is_any(kind: pa.DataType, tests: tuple) -> bool:
    return any(test(kind) for test in tests)
