"""From Parquet to rows: every type, a bounded number at a time."""

import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmeans_tf.metrics import get_metric
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.rows import count_bad, read_block, to_float64
from tests.tables import write_shards

TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
    *(pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(30, 4), pa.decimal256(60, 5)),
]

EXACT = 2e-16  # Arrow's way from a decimal to a float may be off by one bit


def column(kind: pa.DataType, *, null: bool) -> tuple[pa.Array, list[float]]:
    """Six numbers, perhaps one of them a null."""
    values = [0.0, 1.0, 2.0, 40.0, 100.0, 3.0]
    if pa.types.is_boolean(kind):
        values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    stored = [None if null and i == 4 else value for i, value in enumerate(values)]
    expected = [np.nan if value is None else value for value in stored]
    if pa.types.is_decimal(kind):
        exact = [None if v is None else decimal.Decimal(int(v)).scaleb(-1) for v in stored]
        return pa.array(exact, pa.decimal128(30, 4)).cast(kind), [v / 10 for v in expected]
    return pa.array(stored).cast(kind, safe=False), expected


def read(path, names=None, batch_rows=1000):
    plan = make_plan(str(path), names or ColumnNames())
    parts = [
        rows
        for block in plan.blocks
        for rows in read_block(plan.store, plan.columns, block, batch_rows)
    ]
    return plan, parts


@pytest.mark.parametrize("null", [False, True], ids=["full", "a null"])
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_numeric_type(tmp_path, kind, null):
    array, expected = column(kind, null=null)
    np.testing.assert_allclose(to_float64(array), expected, rtol=EXACT)
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), array)
    for name, stored in {"scalars": array, "list": lists}.items():
        pq.write_table(pa.table({"x": stored}), tmp_path / f"{name}.parquet")
        _, (rows,) = read(tmp_path / f"{name}.parquet", ColumnNames(("x",)))
        assert rows.values.dtype == np.float64
        np.testing.assert_allclose(rows.values.ravel(), expected, rtol=EXACT)


@pytest.mark.parametrize("layout", ["list", "large_list", "fixed_size_list"])
def test_list_columns_of_every_layout(tmp_path, layout):
    points = np.arange(24.0).reshape(8, 3)
    write_shards(tmp_path / "in", points, layout=layout, names=["v"], shards=2)
    _, parts = read(tmp_path / "in", ColumnNames(("v",)))
    np.testing.assert_array_equal(np.concatenate([rows.values for rows in parts]), points)


def test_columns_come_in_the_order_they_are_named(tmp_path):
    points = np.arange(8.0).reshape(4, 2)
    write_shards(tmp_path / "in", points)
    _, (rows,) = read(tmp_path / "in", ColumnNames(("f1", "f0")))
    np.testing.assert_array_equal(rows.values, points[:, ::-1])


def test_a_giant_row_group_streams_in_bounded_pieces(tmp_path):
    n = 400_000
    table = pa.table({"x": np.arange(n, dtype=np.float64)})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=n)
    plan, parts = read(tmp_path / "f.parquet", batch_rows=1 << 16)
    assert len(plan.blocks) == plan.row_groups == 1
    assert len(parts) > 6
    assert max(map(len, parts)) <= 1 << 16
    assert [rows.first_row for rows in parts] == list(np.cumsum([0, *map(len, parts)])[:-1])
    np.testing.assert_array_equal(np.concatenate([r.values[:, 0] for r in parts]), table["x"])


def test_pieces_do_not_cross_row_groups(tmp_path):
    pq.write_table(pa.table({"x": np.arange(10.0)}), tmp_path / "f.parquet", row_group_size=4)
    _, parts = read(tmp_path / "f.parquet", batch_rows=3)
    assert [len(rows) for rows in parts] == [3, 1, 3, 1, 2]
    assert [rows.span.row_group for rows in parts] == [0, 0, 1, 1, 2]
    assert [rows.first_row for rows in parts] == [0, 3, 4, 7, 8]


def test_weights(tmp_path):
    table = pa.table({"x": [1.0, 2.0], "w": [0, 3]})
    pq.write_table(table, tmp_path / "f.parquet")
    _, (rows,) = read(tmp_path / "f.parquet", ColumnNames(weight="w"))
    assert rows.weights.tolist() == rows.weights_or_ones.tolist() == [0.0, 3.0]
    _, (rows,) = read(tmp_path / "f.parquet", ColumnNames(("x",)))
    assert rows.weights is None
    assert rows.weights_or_ones.tolist() == [1.0, 1.0]


def test_a_row_with_two_bad_features_counts_once_for_each(tmp_path):
    nan = float("nan")
    table = pa.table({"x": pa.array([None, nan, 1.0]), "y": pa.array([None, 1.0, float("inf")])})
    pq.write_table(table, tmp_path / "f.parquet")
    plan, (rows,) = read(tmp_path / "f.parquet")
    good, bad = count_bad(rows, plan.columns, get_metric("sqeuclidean"))
    path = str(tmp_path / "f.parquet")
    assert good.tolist() == [False] * 3
    assert bad == {
        (path, "x", "null"): 1,
        (path, "x", "NaN"): 1,
        (path, "y", "null"): 1,
        (path, "y", "infinite"): 1,
    }
