"""What columns may be read as numbers."""

import pyarrow as pa
from pyarrow import types


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column may be a feature or a weight; true and false count as 1 and 0."""
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def is_numeric_list(kind: pa.DataType) -> bool:
    """Whether a column may be all the features, as lists of numbers."""
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests) and is_numeric(kind.value_type)
