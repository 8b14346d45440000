"""Columns as a file has them, turned into what the job takes them for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from pipeline.data.floats import as_floats, as_numbers, fits_float32
from pipeline.data.kinds import is_list, plain


@dataclass(frozen=True)
class Wanted:
    """A column that is to be read.

    Attributes:
        name: of a column, or of a field of structs by its path: `place.lat`.
        kind: the type that all files' values are to have; None: numbers, or lists of them, of
            whatever type a file has.
    """

    name: str
    kind: pa.DataType | None = None


def find_fields(schema: pa.Schema, name: str) -> list[pa.Field]:
    """From a column down to what is named; none if there is nothing of the name.

    A column goes before a path that reads the same, and where there are only nulls, a path ends.
    """
    place = schema.get_field_index(name)
    return [schema.field(place)] if place >= 0 else _find_inside(schema, name)


def _find_inside(fields: Iterable[pa.Field], name: str) -> list[pa.Field]:
    for field in fields:
        if not name.startswith(f"{field.name}."):
            continue
        if types.is_null(field.type):
            return [field]
        if types.is_struct(field.type):
            inside = list(field.type)
            rest = name[len(field.name) + 1 :]
            same = [child for child in inside if child.name == rest]
            below = same or _find_inside(inside, rest)
            if below:
                return [field, *below]
    return []


def find_type(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a column, or of a field of structs by its path."""
    fields = find_fields(schema, name)
    return fields[-1].type if fields else None


def paths(fields: Iterable[pa.Field], above: str = "") -> list[str]:
    """What may be named: columns, each with the fields of structs in it behind it."""
    named = []
    for field in fields:
        named.append(above + field.name)
        if types.is_struct(field.type):
            named += paths(field.type, f"{above}{field.name}.")
    return named


def take(table: pa.Table, wanted: Sequence[Wanted]) -> pa.Table:
    """What is wanted of a table that was read from a file, in this order.

    What it has not is null: the plan has seen that the file's table has the column.

    Raises:
        ArrowInvalid: a value does not fit the type that is wanted.
    """
    if all(_as_it_is(table.schema, column) for column in wanted):
        return table.select([column.name for column in wanted])
    return pa.table({column.name: _taken(table, column) for column in wanted})


def _as_it_is(schema: pa.Schema, wanted: Wanted) -> bool:
    place = schema.get_field_index(wanted.name)
    if place < 0:
        return False
    kind = schema.field(place).type
    return kind == (plain(kind) if wanted.kind is None else wanted.kind)


def _taken(table: pa.Table, wanted: Wanted) -> pa.ChunkedArray:
    fields = find_fields(table.schema, wanted.name)
    if not fields:
        return pa.chunked_array([pa.nulls(table.num_rows, wanted.kind or pa.null())])
    column, *inside = fields
    data = table.column(column.name)
    for field in inside:
        data = pc.struct_field(data, field.name)
    try:
        if wanted.kind is None:
            return _as_numbers(data)
        return data if data.type == wanted.kind else _cast(data, wanted.kind)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"column {wanted.name!r}: {error}") from error


def _cast(data: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if types.is_null(data.type):
        return pa.chunked_array([pa.nulls(len(data), kind)])
    return data.cast(kind)


def _as_numbers(data: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks = [as_numbers(chunk) for chunk in data.chunks]
    return pa.chunked_array(chunks, None if chunks else plain(data.type))


def alike(tables: Sequence[pa.Table]) -> Sequence[pa.Table]:
    """Tables of the same columns; numbers that are of several types become floating point."""
    first, *others = (table.schema for table in tables)
    if all(schema.equals(first) for schema in others):
        return tables
    kinds = zip(*(table.schema.types for table in tables), strict=True)
    wide = [_wider([kind for kind in several if not types.is_null(kind)]) for several in kinds]
    return [_with_floats(table, wide) for table in tables]


def _wider(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    """The floating point that holds numbers of several types; None where all are the same."""
    if all(kind == kinds[0] for kind in kinds):
        return None
    return pa.float32() if all(map(_fits_float32, kinds)) else pa.float64()


def _with_floats(table: pa.Table, wide: Sequence[pa.DataType | None]) -> pa.Table:
    columns = zip(table.columns, wide, strict=True)
    return pa.table(
        [column if kind is None else _as_floats(column, kind) for column, kind in columns],
        table.column_names,
    )


def _fits_float32(kind: pa.DataType) -> bool:
    return fits_float32(kind.value_type if is_list(kind) else kind)


def _as_floats(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    chunks = [as_floats(chunk, kind) for chunk in column.chunks]
    return pa.chunked_array(chunks) if chunks else column.cast(pa.null())
