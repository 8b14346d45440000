"""Rows as users have them: arrays and tables, and messages about rows and features."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import kmeans_tf
from kmeans_tf.rows import table_rows

COLUMNS = {"a": [1.0, -2.5, 4.0], "b": [7, 8, 9]}
ROWS = [[1, 7], [-2.5, 8], [4, 9]]
TABLES = {
    "pandas": pd.DataFrame(COLUMNS),
    "pandas in another order of rows": pd.DataFrame(COLUMNS, index=[5, 0, 3]),
    "pandas with a named index": pd.DataFrame(COLUMNS, index=pd.Index([5, 0, 3], name="id")),
    "polars": pl.DataFrame(COLUMNS),
    "an Arrow table": pa.table(COLUMNS),
    "an Arrow table in pieces": pa.concat_tables([pa.table(COLUMNS)[:1], pa.table(COLUMNS)[1:]]),
    "a batch": pa.RecordBatch.from_pydict(COLUMNS),
    "a reader": pa.table(COLUMNS).to_reader(),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_rows_and_names(name):
    rows, names = table_rows(TABLES[name])
    assert rows.tolist() == ROWS
    assert (rows.dtype, names) == (np.float64, ("a", "b"))


@pytest.mark.parametrize(
    "array",
    [ROWS, np.array(ROWS), np.array(ROWS, object), np.array(ROWS, str), np.array(ROWS, np.float16)],
)
def test_an_array_has_rows_and_no_names(array):
    rows, names = table_rows(array)
    assert rows.tolist() == ROWS
    assert (rows.dtype, names) == (np.float64, ())


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_float32_stays_and_nothing_else_does(library):
    single = {name: np.array(values, np.float32) for name, values in COLUMNS.items()}
    assert table_rows(library(single))[0].dtype == np.float32
    assert table_rows(library(single | {"b": COLUMNS["b"]}))[0].dtype == np.float64
    assert table_rows(np.ones((2, 2), np.float32))[0].dtype == np.float32


MISSING = {
    "pandas": pd.DataFrame(
        {"i": pd.array([1, None], "Int64"), "b": pd.array([None, True], "boolean"), "n": [None] * 2}
    ),
    "polars": pl.DataFrame({"i": [1, None], "b": [None, True], "n": [None, None]}),
    "Arrow": pa.table({"i": [1, None], "b": [None, True], "n": pa.nulls(2)}),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_nan(name):
    rows, _ = table_rows(MISSING[name])
    np.testing.assert_array_equal(rows, [[1, np.nan, np.nan], [np.nan, 1, np.nan]])


def test_numbers_of_other_types_are_the_nearest():
    table = pa.table(
        {"d": [Decimal("1.5"), Decimal("-2")], "u": pa.array([2**64 - 1, 1], "uint64")}
    )
    assert table_rows(table)[0].tolist() == [[1.5, 2.0**64], [-2, 1]]


def test_wanted_columns_are_found_by_name_in_any_order_and_others_left_out():
    table = pl.DataFrame({"name": ["x", "y", "z"]} | {n: COLUMNS[n] for n in "ba"})
    rows, names = table_rows(table, ("a", "b"))
    assert rows.tolist() == ROWS
    assert names == ("a", "b")


WRONG = [
    (pl.DataFrame({"a": [1.0], "when": [datetime.date(2026, 1, 2)]}), "column 'when' holds date32"),
    (pa.table({"t": ["1.5"]}), "column 't' holds string, expected numbers"),
    (np.array([[1, 2], [3, {}]], object), "row 1, feature 1: float.. argument must be a string or"),
    ([["1", "2"], ["x", "4"]], "row 1, feature 0: could not convert string to float"),
    (np.array([["2026-01-01"]], "datetime64[D]"), "rows hold datetime64"),
    (np.ones((2, 2)) * 1j, "Complex data not supported"),
    (np.ones(3), "Reshape your data"),
    (pd.DataFrame(index=[1, 2]), "0 feature"),
]


@pytest.mark.parametrize(("table", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_are_no_rows_of_numbers_is_told(table, message):
    with pytest.raises((TypeError, ValueError), match=message):
        table_rows(table)


def test_a_column_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"rows have no feature 'c': they have 'a', 'b'$"):
        table_rows(pa.table(COLUMNS), ("a", "c"))
    many = pa.table({f"f{j}": [1] for j in range(1000)})
    with pytest.raises(ValueError, match=r"'f4' and 995 more$"):
        table_rows(many, ("c",))


@pytest.mark.parametrize("width", [1, 3])
def test_a_model_tells_how_many_features_rows_have(width):
    model, _ = kmeans_tf.fit(np.array(ROWS), 2)
    features = f"{width} feature{'s' if width > 1 else ''}"
    for asked in (model.label, model.distances, model.check):
        with pytest.raises(ValueError, match=f"^rows have {features}, the model has 2$"):
            asked(np.ones((4, width)))
