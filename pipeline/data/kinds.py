"""What columns may be read as numbers, whichever way their writer laid them out."""

import pyarrow as pa
from pyarrow import types

_VECTOR_FIELDS = {"type", "size", "indices", "values"}


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column once it is read as numbers or lists of them; see `as_numbers`."""
    if isinstance(kind, pa.Bool8Type):
        return kind.storage_type
    if is_tensor(kind):
        return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.field(0).type
    if is_vector(kind):
        return pa.large_list(pa.float64())
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if _is_list_view(kind):
        return pa.list_(kind.value_type)
    return kind


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column may be a feature or a weight; true and false count as 1 and 0."""
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(plain(kind)) for test in tests)


def is_numeric_list(kind: pa.DataType) -> bool:
    """Whether a column may be all the features, as lists of numbers."""
    return is_list(plain(kind)) and is_numeric(plain(kind).value_type)


def is_empty_list(kind: pa.DataType) -> bool:
    """Whether a column holds nothing but nulls and empty lists, or lists of nulls."""
    return is_list(plain(kind)) and types.is_null(plain(kind).value_type)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of lists that `as_numbers` leaves as they are."""
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a type is that of Spark ML's vectors, of which some may be sparse."""
    if not types.is_struct(kind) or {field.name for field in kind} != _VECTOR_FIELDS:
        return False
    return all(is_list(kind.field(name).type) for name in ("indices", "values"))


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's for tensors, and these are of one dimension.

    That for tensors of various shapes is a struct to pyarrow; as many numbers as its shape has,
    there are dimensions, which is not known any more where lists of a fixed size are read as lists.
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape) == 1
    if not types.is_struct(kind) or [field.name for field in kind] != ["data", "shape"]:
        return False
    data, shape = (field.type for field in kind)
    return is_list(data) and is_list(shape) and fixed_width(shape) in (1, None)


def fixed_width(kind: pa.DataType) -> int | None:
    """How long the lists of a type are, where it tells."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return fixed_width(kind.storage_type)
    return kind.list_size if types.is_fixed_size_list(kind) else None


def has_other_lists(kind: pa.DataType) -> bool:
    """Whether lists of a fixed size, or views of lists, are anywhere in a type.

    To Parquet they are lists as others are, and Arrow 25 is not at home with them: among lists of a
    fixed size it reads no null, and it makes no views of lists.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return has_other_lists(kind.storage_type)
    inside = (kind.field(i).type for i in range(kind.num_fields))
    return (
        types.is_fixed_size_list(kind)
        or _is_list_view(kind)
        or any(has_other_lists(child) for child in inside)
    )


def _is_list_view(kind: pa.DataType) -> bool:
    return types.is_list_view(kind) or types.is_large_list_view(kind)
