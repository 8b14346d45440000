"""From Parquet to rows: every type, a bounded number at a time."""

import decimal
import fractions
import random

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from kmeans_tf.metrics import get_metric
from pipeline.data.floats import to_float64
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.rows import count_bad, read_block, read_keys
from pipeline.errors import DataError
from tests.tables import write_shards

TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
    *(pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(30, 4), pa.decimal256(60, 5)),
]


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
    np.testing.assert_array_equal(to_float64(array), expected)
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), array)
    for name, stored in {"scalars": array, "list": lists}.items():
        pq.write_table(pa.table({"x": stored}), tmp_path / f"{name}.parquet")
        _, (rows,) = read(tmp_path / f"{name}.parquet", ColumnNames(("x",)))
        small = kind.bit_width <= (32 if pa.types.is_floating(kind) else 16)
        assert rows.values.dtype == (np.float32 if small else np.float64)
        np.testing.assert_array_equal(rows.values.ravel(), expected)


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
    assert [row for rows in parts for row in rows.places.rows()] == list(range(n))
    np.testing.assert_array_equal(np.concatenate([r.values[:, 0] for r in parts]), table["x"])


def places_of(parts) -> list[tuple[str, int]]:
    return [rows.places.of(i) for rows in parts for i in range(len(rows))]


ROW_GROUPS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=4)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(ROW_GROUPS, st.integers(1, 100), st.integers(1, 100))
def test_pieces_of_many_row_groups_and_files_are_their_rows_in_order(
    tmp_path_factory, groups, batch_rows, block_rows
):
    folder = tmp_path_factory.mktemp("in")
    expected = []
    for i, sizes in enumerate(groups):
        path = folder / f"{i}.parquet"
        with pq.ParquetWriter(path, pa.schema({"x": pa.float64(), "id": pa.string()})) as writer:
            for size in sizes:
                rows = range(len(expected), len(expected) + size)
                expected += rows
                table = pa.table({"x": np.array(rows, float), "id": [str(row) for row in rows]})
                writer.write_table(table)
    plan = make_plan(str(folder), ColumnNames(("x",), ("id",)), block_rows=block_rows)
    parts = [
        rows
        for block in plan.blocks
        for rows in read_block(plan.store, plan.columns, block, batch_rows, keys=True)
    ]
    assert max(map(len, parts)) <= batch_rows
    assert [value for rows in parts for value in rows.values[:, 0]] == expected
    assert [int(key) for rows in parts for key in rows.columns["id"].to_pylist()] == expected
    assert places_of(parts) == [
        (str(folder / f"{i}.parquet"), row)
        for i, sizes in enumerate(groups)
        for row in range(sum(sizes))
    ]


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(ROW_GROUPS, st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_rows_whose_numbers_are_known_are_those_that_are_read(
    tmp_path_factory, groups, first_rows, batch_rows, has_keys
):
    folder = tmp_path_factory.mktemp("in")
    count = 0
    for i, sizes in enumerate(groups):
        schema = pa.schema({"x": pa.float32(), "w": pa.float64(), "id": pa.string()})
        with pq.ParquetWriter(folder / f"{i}.parquet", schema) as writer:
            for size in sizes:
                x = np.arange(count, count + size)
                table = pa.table([x, x / 7, list(map(str, x))], schema=schema)
                writer.write_table(table)
                count += size
    names = ColumnNames(("x",), ("id",) if has_keys else (), "w")
    plan = make_plan(str(folder), names, block_rows=60)
    for block in plan.blocks:
        args = (plan.store, plan.columns, block)
        read = list(read_block(*args, first_rows, keys=True))
        known = list(read_keys(*args, [rows.numbers for rows in read], batch_rows))
        assert max(map(len, known)) <= batch_rows
        assert places_of(known) == places_of(read)
        for part in ("values", "weights"):
            one, other = (
                np.concatenate([getattr(rows.numbers, part) for rows in parts])
                for parts in (read, known)
            )
            np.testing.assert_array_equal(one, other)
        keys = [
            [key for rows in parts for key in rows.columns["id"].to_pylist()] if has_keys else []
            for parts in (read, known)
        ]
        assert keys[0] == keys[1]


@pytest.mark.parametrize("keys", [(), ("id",)])
def test_a_file_that_changed_is_told_where_only_keys_are_read(tmp_path, keys):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0], "id": ["a", "b"]}), path)
    plan, (rows,) = read(path, ColumnNames(("x",), keys))
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "id": ["a", "b", "c"]}), path)
    with pytest.raises(DataError, match="was rewritten while the job ran"):
        list(read_keys(plan.store, plan.columns, plan.blocks[0], [rows.numbers], 10))


def test_small_row_groups_and_files_are_one_piece(tmp_path):
    points = np.arange(1200.0).reshape(600, 2)
    write_shards(tmp_path / "in", points, shards=20, row_group_size=7)
    _, (rows,) = read(tmp_path / "in", batch_rows=600)
    np.testing.assert_array_equal(rows.values, points)


def test_files_that_differ_in_what_may_be_null_are_one_piece(tmp_path):
    for name, nullable in (("a", True), ("b", False)):
        schema = pa.schema([pa.field("x", pa.float64(), nullable)], {"by": name})
        pq.write_table(pa.table({"x": [1.0, 2.0]}, schema), tmp_path / f"{name}.parquet")
    _, (rows,) = read(tmp_path)
    assert rows.values.ravel().tolist() == [1.0, 2.0, 1.0, 2.0]


def test_a_column_whose_name_is_a_path_is_not_taken_for_what_lies_there(tmp_path):
    """Of `a.b` and of the `b` inside `a` there are other numbers of values, and other types."""
    for name, kind in (("f", pa.float64()), ("g", pa.string())):
        inside = pa.array([{"b": ["1"] * 5}] * 2).cast(pa.struct({"b": pa.list_(kind)}))
        table = pa.table({"a": inside, "a.b": [[1.0, 2.0], [3.0, 4.0]]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    _, (rows,) = read(tmp_path, ColumnNames(("a.b",)))
    assert rows.values.tolist() == [[1.0, 2.0], [3.0, 4.0]] * 2


def test_weights(tmp_path):
    table = pa.table({"x": [1.0, 2.0], "w": [0, 3]})
    pq.write_table(table, tmp_path / "f.parquet")
    _, (rows,) = read(tmp_path / "f.parquet", ColumnNames(weight="w"))
    assert rows.numbers.weights.tolist() == rows.numbers.weights_or_ones.tolist() == [0.0, 3.0]
    _, (rows,) = read(tmp_path / "f.parquet", ColumnNames(("x",)))
    assert rows.numbers.weights is None
    assert rows.numbers.weights_or_ones.tolist() == [1.0, 1.0]


def test_a_weight_that_is_none_is_told_by_its_file_and_row(tmp_path):
    for name, weights in (("a", [1.0, 2.0, 3.0]), ("b", [1.0, 2.0, -3.0])):
        table = pa.table({"x": [1.0, 2.0, 3.0], "w": weights})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
    with pytest.raises(DataError, match=rf"^{tmp_path}/b\.parquet: row 2: weight column 'w'"):
        read(tmp_path, ColumnNames(weight="w"))


def test_bad_rows_of_one_piece_are_counted_by_file(tmp_path):
    nan = float("nan")
    for name, values in (("a", [nan, 1.0, nan]), ("b", [1.0, 1.0]), ("c", [None, nan, 1.0])):
        table = pa.table({"x": pa.array(values, pa.float64(), from_pandas=False)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=1)
    plan, (rows,) = read(tmp_path)
    good, bad = count_bad(rows, plan.columns, get_metric("sqeuclidean"))
    assert good.tolist() == [False, True, False, True, True, False, False, True]
    a, c = (str(tmp_path / f"{name}.parquet") for name in "ac")
    assert bad == {(a, "x", "NaN"): 2, (c, "x", "null"): 1, (c, "x", "NaN"): 1}


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


def test_wrong_lengths_are_told_apart_but_not_without_end(tmp_path):
    path = str(tmp_path / "f.parquet")
    write_lists(path, [3, 3, 3, 5, 5, 2, 0])
    plan, (rows,) = read(path, ColumnNames(("v",)))
    assert count_bad(rows, plan.columns, get_metric("sqeuclidean"))[1] == {
        (path, "v", "wrong length (0, not 3)"): 1,
        (path, "v", "wrong length (2, not 3)"): 1,
        (path, "v", "wrong length (5, not 3)"): 2,
    }
    write_lists(path, [300, 300, *range(100, 200)])
    plan, (rows,) = read(path, ColumnNames(("v",)))
    bad = count_bad(rows, plan.columns, get_metric("sqeuclidean"))[1]
    assert bad == {(path, "v", "wrong length (many, not 300)"): 100}


def write_lists(path, widths):
    pq.write_table(pa.table({"v": [[1.0] * width for width in widths]}), path)


DECIMALS = [
    *(pa.decimal32(9, 0), pa.decimal32(9, 4), pa.decimal32(7, -3)),
    *(pa.decimal64(18, 2), pa.decimal64(18, 18), pa.decimal64(16, -7)),
    *(pa.decimal128(12, 2), pa.decimal128(18, 6), pa.decimal128(38, 18), pa.decimal128(38, 38)),
    *(pa.decimal128(38, 0), pa.decimal128(38, 22), pa.decimal128(38, 23), pa.decimal128(15, -22)),
    *(pa.decimal128(38, -23), pa.decimal256(76, 0), pa.decimal256(76, 30), pa.decimal256(76, 76)),
    *(pa.decimal256(20, -40), pa.decimal256(10, 2)),
]


def random_decimals(kind: pa.DataType, n: int) -> list[decimal.Decimal | None]:
    """Numbers of every length, both signs and about 2^53, a null among every 50."""
    choose = random.Random(str(kind))
    whole = [choose.randrange(10 ** choose.randint(1, kind.precision)) for _ in range(n)]
    near = [2**53 + i for i in range(-5, 6) if kind.precision >= 16]
    whole[: len(near)] = near
    numbers = [exactly(choose.choice((1, -1)) * w, kind.scale) for w in whole]
    return [None if i % 50 == 49 else number for i, number in enumerate(numbers)]


def exactly(whole: int, scale: int) -> decimal.Decimal:
    return decimal.Decimal((int(whole < 0), tuple(map(int, str(abs(whole)))), -scale))


def decimal_array(numbers, kind: pa.DataType) -> pa.Array:
    """An array from whole numbers as they lie in memory, for Arrow refuses some scales."""
    size = kind.bit_width // 8
    power = fractions.Fraction(10) ** kind.scale
    wholes = [0 if n is None else int(fractions.Fraction(n) * power) for n in numbers]
    data = b"".join(whole.to_bytes(size, "little", signed=True) for whole in wholes)
    valid = pa.array([n is not None for n in numbers]).buffers()[1]
    return pa.Array.from_buffers(kind, len(numbers), [valid, pa.py_buffer(data)])


def bits(numbers) -> list[int]:
    floats = [np.nan if n is None else float(n) for n in numbers]
    return np.array(floats, np.float64).view(np.int64).tolist()


@pytest.mark.parametrize("kind", DECIMALS, ids=str)
def test_a_decimal_is_the_float64_nearest_to_it(kind):
    numbers = random_decimals(kind, 20_000)
    array = decimal_array(numbers, kind)
    assert array[0].as_py() == numbers[0]
    assert to_float64(array).view(np.int64).tolist() == bits(numbers)
    cut = array.slice(7, 90)
    assert to_float64(cut).view(np.int64).tolist() == bits(numbers[7:97])
    assert to_float64(array.slice(0, 0)).tolist() == []


def test_decimals_beyond_float64_are_as_python_has_them():
    for whole, scale in ((12345, -320), (-12345, -320), (12345, 320), (7, 330), (-3, 400)):
        kind = pa.decimal128(9, scale)
        (value,) = to_float64(decimal_array([exactly(whole, scale)], kind))
        assert bits([value]) == bits([exactly(whole, scale)])


@pytest.mark.parametrize("kind", [k for k in DECIMALS if k.scale >= 0], ids=str)
def test_decimals_in_files_and_in_lists(tmp_path, kind):
    numbers = random_decimals(kind, 300)
    array = decimal_array(numbers, kind)
    lists = pa.ListArray.from_arrays(pa.array(range(0, 301, 3), pa.int32()), array)
    for name, stored in {"scalars": array, "lists": lists}.items():
        pq.write_table(pa.table({"v": stored}), tmp_path / name)
        _, parts = read(tmp_path / name, ColumnNames(("v",)), batch_rows=70)
        values = np.concatenate([rows.values for rows in parts]).ravel()
        assert values.view(np.int64).tolist() == bits(numbers)
