"""Rows in memory as users have them, arrays or tables, and what is wrong with them in their words.

A table is whatever speaks Arrow's C interface: those of pandas, polars, pyarrow, DuckDB. Everything
else is what NumPy makes of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmeans_tf.metrics import Metric, good_rows

_ARROW = ("__arrow_c_stream__", "__arrow_c_array__")
_NUMBERS = "biuf"  # kinds of NumPy's types that are numbers; of texts and objects each is asked
_ASKED = "OUS"
_NAMED = 5  # columns in a message


def table_rows(table: Any, wanted: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """The rows of an array or a table.

    Args:
        table: (n, d) numbers; of a table what is missing is NaN, and what pandas says is its index
            is left out.
        wanted: the names of the columns that are meant, where the table has names; none for all.

    Returns:
        Rows (n, d), float32 or float64, and the names of the features; none for an array.

    Raises:
        TypeError: a value, or a column, is no number.
        ValueError: it has not two dimensions, no column, or none of a name that is wanted.
    """
    if any(hasattr(table, name) for name in _ARROW):
        return _arrow_rows(table, wanted)
    return array_rows(table), ()


def array_rows(values: Any) -> np.ndarray:
    """(n, d) numbers, d from 1, as float32 or float64 ones.

    Raises:
        TypeError, ValueError: see `table_rows`.
    """
    if hasattr(values, "toarray"):
        raise TypeError("rows in a sparse matrix are not supported: give X.toarray()")
    rows = np.asarray(values)
    if rows.dtype.kind == "c":
        raise ValueError("Complex data not supported: rows are real numbers")
    if rows.ndim != 2:
        raise ValueError(
            f"rows of shape {rows.shape}, expected (rows, features). Reshape your data: "
            "(-1, 1) makes it one feature, (1, -1) one row"
        )
    if not rows.shape[1]:
        raise ValueError(f"0 feature(s) (shape={rows.shape}) while a minimum of 1 is required.")
    if rows.dtype == np.float32:
        return rows
    if rows.dtype.kind in _NUMBERS:
        return rows.astype(np.float64, copy=False)
    if rows.dtype.kind in _ASKED:
        return _each_a_number(rows)
    raise TypeError(f"rows hold {rows.dtype}, expected numbers")


def row_weights(weights: Any, rows: int) -> np.ndarray:
    """Weights (n,) float64 of so many rows.

    Raises:
        ValueError: they are not so many, or not finite numbers from 0 of which one is above it.
    """
    found = np.asarray(weights, np.float64)
    if found.shape != (rows,):
        raise ValueError(f"weights of shape {found.shape}, expected ({rows},), one for each row")
    wrong = ~((found >= 0) & (found < np.inf))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"weights are finite numbers from 0, not {found[row]:g} as of row {row}")
    if not found.any():
        raise ValueError("weights are zero for all rows: one at least must be above 0")
    return found


def check_width(rows: np.ndarray, dimension: int) -> None:
    """Raises a ValueError if rows (n, d) have not the features of a model."""
    d = rows.shape[1]
    if d != dimension:
        raise ValueError(f"rows have {d} feature{'s' * (d != 1)}, the model has {dimension}")


def check_rows(metric: Metric, rows: np.ndarray, names: Sequence[str] = ()) -> None:
    """Raises a ValueError that names the first of (n, d) rows that is no point of a metric."""
    good = good_rows(metric, rows)
    if good.all():
        return
    row = int(np.argmin(good))
    finite = np.isfinite(rows[row])
    if finite.all():
        raise ValueError(
            f"row {row} is zero in all features: metric {metric.name} compares directions, and it "
            "has none"
        )
    j = int(np.argmin(finite))
    value = "NaN" if np.isnan(rows[row, j]) else f"{rows[row, j]:g}"
    raise ValueError(f"row {row}, {feature_text(j, names)} is {value}")


def feature_text(j: int, names: Sequence[str] = ()) -> str:
    """What a message calls a feature: by its name, where it has one."""
    return f"feature {names[j]!r}" if names else f"feature {j}"


def _arrow_rows(table: Any, wanted: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    import pyarrow as pa  # a program that has no table need not load it

    arrow = pa.table(table)
    index = (arrow.schema.pandas_metadata or {}).get("index_columns", ())
    names = [name for name in arrow.column_names if name not in index]
    missing = [name for name in wanted if name not in names]
    if missing:
        some, more = ", ".join(map(repr, names[:_NAMED])), len(names) - _NAMED
        rest = f" and {more:,} more" if more > 0 else ""
        raise ValueError(f"rows have no feature {missing[0]!r}: they have {some}{rest}")
    arrow = arrow.select(list(wanted) or names)
    for field in arrow.schema:
        if not _is_numeric(field.type):
            raise TypeError(f"column {field.name!r} holds {field.type}, expected numbers")
    single = all(pa.types.is_float32(kind) for kind in arrow.schema.types)
    kind = pa.float32() if single else pa.float64()
    rows = np.empty((arrow.num_rows, arrow.num_columns), kind.to_pandas_dtype())
    for j, column in enumerate(arrow.columns):
        rows[:, j] = column.cast(kind, safe=False).to_numpy()
    return array_rows(rows), tuple(arrow.column_names)


def _is_numeric(kind: Any) -> bool:
    from pyarrow import types

    of = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(is_one(kind) for is_one in of)


def _each_a_number(rows: np.ndarray) -> np.ndarray:
    """Texts or objects (n, d) as float64 numbers."""
    try:
        return rows.astype(np.float64)
    except (TypeError, ValueError):
        for (row, j), value in np.ndenumerate(rows):
            try:
                float(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"row {row}, {feature_text(j)}: {error}") from error
        raise
