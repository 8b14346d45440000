"""Shards of several writers: one table, whatever each of them noted of its types."""

import datetime
import decimal

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.common import common_type
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.rows import read_block, read_keys
from pipeline.errors import DataError

UTC = datetime.UTC


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)


def read(folder, names, batch_rows=1000):
    """The columns of a plan, its values (n, d), and its keys as the labels have them."""
    plan = make_plan(str(folder), names)
    rows = [
        rows
        for block in plan.blocks
        for rows in read_block(plan.store, plan.columns, block, batch_rows, keys=True)
    ]
    kinds = {field.name: field.type for field in plan.columns.key_fields}
    keys = {}
    for name, kind in kinds.items():
        chunks = [rows_.columns[name] for rows_ in rows]
        assert all(chunk.type.equals(kind) for chunk in chunks)
        keys[name] = [value for chunk in chunks for value in chunk.to_pylist()]
    return plan.columns, np.concatenate([r.values for r in rows]), keys


def test_a_note_with_types_that_arrow_has_not_is_passed_over(tmp_path):
    wide = polars.Series([5, -1], dtype=polars.Int128)
    polars.DataFrame({"x": [1.5, 2.5], "wide": wide}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(pa.ArrowNotImplementedError, match="more than 64 bits"):
        pq.read_schema(tmp_path / "a.parquet")
    columns, values, keys = read(tmp_path, ColumnNames(keys=("wide",)))
    assert (columns.features, values.tolist()) == (("x",), [[1.5], [2.5]])
    assert [int.from_bytes(key, "little", signed=True) for key in keys["wide"]] == [5, -1]


# Keys

DAY = datetime.datetime(1969, 7, 20, 20, 17, 40)
WORDS = ["roh", None, "gar"]
DECIMALS = [decimal.Decimal("7.25"), None, decimal.Decimal("-3.50")]
SAME = {
    "large string": (WORDS, [pa.large_string(), pa.string()], pa.large_string()),
    "string view": (WORDS, [pa.string(), pa.string_view()], pa.string()),
    "dictionary": (WORDS, [pa.dictionary(pa.int32(), pa.string()), pa.string()], pa.string()),
    "binary": ([b"ab", b"cd", None], [pa.binary(), pa.large_binary()], pa.large_binary()),
    "fixed binary": ([b"ab", b"cd", None], [pa.binary(2), pa.binary()], pa.binary()),
    "zones": (
        [DAY.replace(tzinfo=UTC)],
        [pa.timestamp("ms", "UTC"), pa.timestamp("ms", "Z")],
        None,
    ),
    "zone and zone": (
        [DAY.replace(tzinfo=UTC)],
        [pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "America/Lima")],
        pa.timestamp("us", "UTC"),
    ),
    "units": ([DAY], [pa.timestamp("ms"), pa.timestamp("ns")], pa.timestamp("ns")),
    "times": ([DAY.time()], [pa.time32("ms"), pa.time64("us")], pa.time64("us")),
    "durations": ([datetime.timedelta(3)], [pa.duration("s"), pa.duration("us")], None),
    "integers": ([5, None, 100], [pa.int8(), pa.int64()], pa.int64()),
    "unsigned": ([5, None, 100], [pa.uint16(), pa.int8()], pa.int32()),
    "integer and float": ([5, None, 100], [pa.int16(), pa.float32()], pa.float32()),
    "wide integer and float": ([5, None, 100], [pa.float32(), pa.uint32()], pa.float64()),
    "floats": ([0.5, None], [pa.float64(), pa.float32()], pa.float64()),
    "decimals": (DECIMALS, [pa.decimal128(5, 2), pa.decimal128(20, 4)], pa.decimal128(20, 4)),
    "wide decimals": (DECIMALS, [pa.decimal256(60, 2), pa.decimal128(9, 8)], pa.decimal256(66, 8)),
    "integer and decimal": ([7, None], [pa.int32(), pa.decimal128(6, 2)], pa.decimal128(12, 2)),
    "nulls": ([None, None], [pa.null(), pa.date32()], pa.date32()),
    "lists": ([[1], None, []], [pa.list_(pa.int8()), pa.large_list(pa.int64())], None),
    "elements": (
        [[1], None, []],
        [pa.list_(pa.field("element", pa.int8(), nullable=False)), pa.list_(pa.int8())],
        None,
    ),
    "fixed lists": ([[1, 2], None], [pa.list_(pa.int32()), pa.list_(pa.int32(), 2)], None),
    "views": ([["a"], None, []], [pa.list_view(pa.string()), pa.list_(pa.string())], None),
    "structs": (
        [{"a": 1, "b": "x"}, None],
        [
            pa.struct({"a": pa.int8(), "b": pa.string()}),
            pa.struct({"b": pa.large_string(), "a": pa.int16()}),
        ],
        None,
    ),
    "maps": (
        [[("k", 1)], None],
        [pa.map_(pa.string(), pa.int8()), pa.map_(pa.large_string(), pa.int64())],
        pa.map_(pa.large_string(), pa.int64()),
    ),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", SAME)
def test_keys_of_two_types_that_one_holds(tmp_path, case, turned):
    values, kinds, expected = SAME[case]
    for i, kind in enumerate(kinds[::-1] if turned else kinds):
        write(tmp_path / f"{i}.parquet", {"k": pa.array(values, kind), "x": [1.5] * len(values)})
    columns, _, keys = read(tmp_path, ColumnNames(("x",), ("k",)))
    assert expected is None or columns.key_fields[0].type.equals(expected)
    unnamed = [dict(sorted(v.items())) if isinstance(v, dict) else v for v in keys["k"]]
    assert unnamed == values * 2


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.int64(), pa.float64()),
        (pa.int64(), pa.uint64()),
        (pa.int8(), pa.string()),
        (pa.bool_(), pa.int8()),
        (pa.string(), pa.binary()),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.decimal128(38, 0), pa.decimal256(76, 76)),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.list_(pa.int64()), pa.list_(pa.float64())),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.struct({"a": pa.int8()}), pa.struct({"b": pa.int8()})),
        (pa.struct({"a": pa.int64()}), pa.struct({"a": pa.float64()})),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64())),
    ],
    ids=str,
)
def test_types_that_none_holds_both_of(a, b):
    assert common_type(a, b) is None
    assert common_type(b, a) is None


def test_keys_that_no_type_holds_are_named_with_both_types(tmp_path):
    write(tmp_path / "a.parquet", {"k": pa.array([1], pa.int8()), "x": [1.0]})
    write(tmp_path / "b.parquet", {"k": pa.array([1], pa.int64()), "x": [1.0]})
    write(tmp_path / "c.parquet", {"k": pa.array([1.0]), "x": [1.0]})
    found = r"c\.parquet: column 'k' is double, but int64 in .*b\.parquet.*: write it again as one"
    with pytest.raises(DataError, match=found):
        make_plan(str(tmp_path), ColumnNames(("x",), ("k",)))
    assert make_plan(str(tmp_path), ColumnNames(("x",))).rows == 3


def test_a_time_beyond_the_finer_unit_is_an_error_that_names_it(tmp_path):
    far = datetime.datetime(2999, 12, 31)
    write(tmp_path / "a.parquet", {"k": pa.array([DAY], pa.timestamp("ns")), "x": [1.0]})
    write(tmp_path / "b.parquet", {"k": pa.array([far], pa.timestamp("us")), "x": [1.0]})
    with pytest.raises(
        DataError, match=r"b\.parquet: row group 0 cannot be read: column 'k': .*timestamp\[ns\]"
    ):
        read(tmp_path, ColumnNames(("x",), ("k",)))


def test_keys_alone_are_of_the_common_type_too(tmp_path):
    write(tmp_path / "a.parquet", {"k": pa.array([1], pa.int8()), "x": [1.0]})
    write(tmp_path / "b.parquet", {"k": pa.array([1 << 40]), "x": [1.0]})
    plan = make_plan(str(tmp_path), ColumnNames(("x",), ("k",)))
    (block,) = plan.blocks
    known = [rows.numbers for rows in read_block(plan.store, plan.columns, block, 100)]
    (rows,) = read_keys(plan.store, plan.columns, block, known, 100)
    assert rows.columns["k"].type == pa.int64()
    assert rows.columns["k"].to_pylist() == [1, 1 << 40]


# Features

NUMBERS = [
    pa.int32(),
    pa.uint64(),
    pa.float64(),
    pa.float32(),
    pa.decimal128(12, 3),
    pa.decimal256(50, 1),
    pa.float16(),
    pa.dictionary(pa.int8(), pa.float64()),
    pa.bool8(),
]


@pytest.mark.parametrize("batch_rows", [2, 1000], ids=["streamed", "joined"])
def test_features_of_any_numeric_type_in_each_file(tmp_path, batch_rows):
    for i, kind in enumerate(NUMBERS):
        number = pa.array([1, 0, None], pa.int8())
        if kind == pa.bool8():
            number = pa.ExtensionArray.from_storage(kind, number)
        elif pa.types.is_dictionary(kind):
            number = number.cast(pa.float64()).dictionary_encode()
        else:
            number = number.cast(kind)
        write(tmp_path / f"{i}.parquet", {"x": number, "y": [i, i, i]})
    columns, values, _ = read(tmp_path, ColumnNames(), batch_rows)
    assert columns.features == ("x", "y")
    np.testing.assert_array_equal(values[:, 0], [1, 0, np.nan] * len(NUMBERS))


def test_numbers_are_the_nearest_float64_whatever_stands_beside_them(tmp_path):
    large = (1 << 53) + 1
    third = decimal.Decimal("0.333333333333333333")
    write(tmp_path / "a.parquet", {"x": pa.array([large], pa.int64())})
    write(tmp_path / "b.parquet", {"x": pa.array([third], pa.decimal128(18, 18))})
    write(tmp_path / "c.parquet", {"x": pa.array([0.1], pa.float32())})
    _, values, _ = read(tmp_path, ColumnNames())
    assert values[:, 0].tolist() == [float(large), 0.333333333333333333, float(np.float32(0.1))]


def test_keys_are_no_numbers_where_numbers_differ(tmp_path):
    for i, kind in enumerate((pa.float32(), pa.float64())):
        names = pa.array([["a"], None], pa.list_(pa.field("item" if i else "element", pa.string())))
        write(
            tmp_path / f"{i}.parquet",
            {"x": pa.array([0.5, 1.5], kind), "k": names},
            use_compliant_nested_type=not i,
        )
    _, values, keys = read(tmp_path, ColumnNames(("x",), ("k",)))
    assert values[:, 0].tolist() == [0.5, 1.5] * 2
    assert keys["k"] == [["a"], None] * 2


def test_a_key_that_is_a_feature_too_stays_exact(tmp_path):
    large = (1 << 53) + 1
    write(tmp_path / "a.parquet", {"x": pa.array([large]), "y": [0.5]})
    write(tmp_path / "b.parquet", {"x": pa.array([3], pa.int16()), "y": [1.5]})
    _, values, keys = read(tmp_path, ColumnNames(("x", "y"), ("x",)))
    assert keys["x"] == [large, 3]
    assert values.tolist() == [[float(large), 0.5], [3.0, 1.5]]


LISTS = [
    pa.list_(pa.float32()),
    pa.large_list(pa.float32()),
    pa.list_(pa.field("element", pa.float32(), nullable=False)),
    pa.list_(pa.float32(), 3),
    pa.list_(pa.float64()),
    pa.list_(pa.int16(), 3),
    pa.list_view(pa.float32()),
    pa.large_list_view(pa.int64()),
    pa.fixed_shape_tensor(pa.float32(), [3]),
]
ROWS = [[1, 2, 3], [40, 50, 60], [7, 8, 9], None]


def listed(kind: pa.DataType, rows=ROWS) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(rows, kind.storage_type))
    return pa.array(rows, kind)


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_lists_of_every_layout_with_a_null(tmp_path, kind):
    write(tmp_path / "a.parquet", {"v": listed(kind)})
    columns, values, _ = read(tmp_path, ColumnNames(("v",)))
    assert (columns.is_list, columns.dimension) == (True, 3)
    np.testing.assert_array_equal(values[:3], ROWS[:3])
    assert np.isnan(values[3]).all()


@pytest.mark.parametrize("batch_rows", [2, 1000], ids=["streamed", "joined"])
def test_lists_of_several_layouts_are_one_column(tmp_path, batch_rows):
    for i, kind in enumerate(LISTS):
        write(tmp_path / f"{i}.parquet", {"v": listed(kind), "k": [i] * 4})
    columns, values, keys = read(tmp_path, ColumnNames(("v",), ("k",)), batch_rows)
    assert columns.dimension == 3
    expected = [row or [np.nan] * 3 for row in ROWS]
    np.testing.assert_array_equal(values, expected * len(LISTS))
    assert keys["k"] == np.repeat(range(len(LISTS)), 4).tolist()


def test_a_list_column_as_key_and_feature(tmp_path):
    kind = pa.list_(pa.float32(), 3)
    write(
        tmp_path / "a.parquet", {"v": listed(kind), "t": pa.array([1, 2, 3, 4], pa.duration("s"))}
    )
    columns, values, keys = read(tmp_path, ColumnNames(("v",), ("v", "t")))
    assert [field.type for field in columns.key_fields] == [
        pa.list_(pa.float32()),
        pa.duration("s"),
    ]
    assert keys["v"] == ROWS
    assert keys["t"] == [datetime.timedelta(seconds=i) for i in (1, 2, 3, 4)]
    np.testing.assert_array_equal(values[:3], ROWS[:3])


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (pa.list_(pa.int8(), 2), [[1, 2], None]),
        (pa.fixed_shape_tensor(pa.float32(), [2]), [[1.5, 2.5], None]),
        (pa.list_view(pa.int8()), [[1, 2], None, []]),
        (pa.struct({"a": pa.large_list_view(pa.string())}), [{"a": ["x"]}, {"a": None}, None]),
        (pa.struct({"a": pa.list_(pa.int8(), 2)}), [{"a": [1, 2]}, {"a": None}, None]),
        (pa.list_(pa.list_(pa.string(), 1)), [[["x"], None], [], None]),
        (pa.map_(pa.string(), pa.list_(pa.int8(), 1)), [[("k", [1]), ("n", None)], None]),
    ],
    ids=str,
)
def test_keys_with_lists_of_other_layouts_are_lists_that_can_be_read_back(tmp_path, kind, rows):
    write(tmp_path / "in" / "a.parquet", {"k": listed(kind, rows), "x": [0.5] * len(rows)})
    columns, _, keys = read(tmp_path / "in", ColumnNames(("x",), ("k",)))
    assert keys["k"] == rows
    write(tmp_path / "out.parquet", {"k": pa.array(keys["k"], columns.key_fields[0].type)})
    assert pq.read_table(tmp_path / "out.parquet")["k"].to_pylist() == rows


def test_keys_beside_lists_of_other_layouts(tmp_path):
    keys = {
        "view": pa.array([[1], None], pa.list_view(pa.int8())),
        "word": pa.array(["a", None]).dictionary_encode(),
        "span": pa.array([1, None], pa.duration("ms")),
        "text": pa.array(["b", None], pa.large_string()),
        "flag": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
    }
    write(tmp_path / "a.parquet", {"v": pa.array([[1, 2], None], pa.list_(pa.int8(), 2))} | keys)
    columns, _, found = read(tmp_path, ColumnNames(("v",), tuple(keys)))
    assert found == {name: column.to_pylist() for name, column in keys.items()}
    kinds = [field.type for field in columns.key_fields]
    assert kinds == [pa.list_(pa.int8()), *(keys[name].type for name in list(keys)[1:])]


def test_a_footer_larger_than_what_is_read_whole_gives_its_fixed_lists_too(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.data.footers.SMALL_FILE", 0)
    write(tmp_path / "a.parquet", {"v": listed(pa.list_(pa.float32(), 3))}, row_group_size=2)
    _, values, _ = read(tmp_path, ColumnNames(("v",)))
    np.testing.assert_array_equal(values, [row or [np.nan] * 3 for row in ROWS])


def test_lists_of_two_fixed_sizes_are_counted(tmp_path):
    write(tmp_path / "a.parquet", {"v": listed(pa.list_(pa.float32(), 3))})
    write(tmp_path / "b.parquet", {"v": listed(pa.list_(pa.float32(), 2), [[1, 2]])})
    assert make_plan(str(tmp_path), ColumnNames(("v",))).columns.dimension == 3


# Columns of nulls, files of no rows, columns of one file


@pytest.mark.parametrize("first", [True, False])
def test_a_column_of_nothing_but_nulls_fits_any(tmp_path, first):
    nulls, some = ("a", "b") if first else ("b", "a")
    write(tmp_path / f"{nulls}.parquet", {"x": [5.0, 6.0], "y": pa.nulls(2), "k": pa.nulls(2)})
    write(tmp_path / f"{some}.parquet", {"x": [7.0], "y": [9], "k": [True]})
    columns, values, keys = read(tmp_path, ColumnNames(keys=("k",)))
    assert columns.features == ("x", "y")
    expected = [[5, np.nan], [6, np.nan], [7, 9]]
    np.testing.assert_array_equal(values, expected if first else expected[2:] + expected[:2])
    assert keys["k"] == ([None, None, True] if first else [True, None, None])


@pytest.mark.parametrize("empty", [pa.nulls(2), pa.array([[], None], pa.list_(pa.null()))])
@pytest.mark.parametrize("name", ["a", "z"])
def test_lists_of_nothing_fit_lists_of_numbers(tmp_path, empty, name):
    write(tmp_path / f"{name}.parquet", {"v": empty})
    write(tmp_path / "m.parquet", {"v": [[1.5, 2.5]]})
    columns, values, _ = read(tmp_path, ColumnNames(("v",)))
    assert columns.dimension == 2
    assert np.nansum(values) == 4
    assert np.isnan(values).sum() == 4


def test_a_column_of_nulls_in_every_file_is_no_feature(tmp_path):
    write(tmp_path / "a.parquet", {"x": [1.0], "y": pa.nulls(1)})
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("x",)
    with pytest.raises(DataError, match="'y' is null, expected a numeric column"):
        make_plan(str(tmp_path), ColumnNames(("y",)))


@pytest.mark.parametrize("name", ["a", "m", "z"])
def test_a_file_of_no_rows_changes_nothing(tmp_path, name):
    for other in "ly":
        write(tmp_path / f"{other}.parquet", {"x": [1.0], "k": ["K"]})
    none = {"x": pa.array([], pa.string()), "extra": pa.array([], pa.int64())}
    write(tmp_path / f"{name}.parquet", none)
    columns, values, keys = read(tmp_path, ColumnNames(keys=("k",)))
    assert columns.features == ("x",)
    assert (values.tolist(), keys["k"]) == ([[1.0], [1.0]], ["K", "K"])


def test_a_column_of_one_file_matters_only_where_it_is_used(tmp_path):
    write(tmp_path / "a.parquet", {"x": [1.0], "note": ["n"]})
    write(tmp_path / "b.parquet", {"x": [1.0], "extra": [2]})
    assert make_plan(str(tmp_path), ColumnNames(("x",))).rows == 2
    with pytest.raises(DataError, match=r"b\.parquet: numeric column 'extra' is not in .*a\.par"):
        make_plan(str(tmp_path), ColumnNames())
    with pytest.raises(DataError, match=r"b\.parquet: no column 'note'; it has 'x', 'extra'"):
        make_plan(str(tmp_path), ColumnNames(("x",), ("note",)))


# Vectors, tensors, fields of structs

VECTOR = pa.struct(
    {
        "type": pa.int8(),
        "size": pa.int32(),
        "indices": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
    }
)


def dense(*values):
    return {"type": 1, "size": None, "indices": None, "values": list(values)}


def sparse(size, **values):
    indices = [int(name[1:]) for name in values]
    return {"type": 0, "size": size, "indices": indices, "values": list(values.values())}


VECTORS = [dense(1, 2, 3, 4), None, sparse(4, i1=5, i3=-6.5), sparse(4), dense(7, 8, 9, 10)]
FULL = [[1, 2, 3, 4], [np.nan] * 4, [0, 5, 0, -6.5], [0] * 4, [7, 8, 9, 10]]


@pytest.mark.parametrize("batch_rows", [2, 1000], ids=["streamed", "joined"])
def test_vectors_dense_and_sparse(tmp_path, batch_rows):
    write(tmp_path / "a.parquet", {"v": pa.array(VECTORS, VECTOR)})
    write(tmp_path / "b.parquet", {"v": pa.array(FULL[:1], pa.list_(pa.float32()))})
    columns, values, _ = read(tmp_path, ColumnNames(("v",)), batch_rows)
    assert (columns.is_list, columns.dimension) == (True, 4)
    np.testing.assert_array_equal(values, [*FULL, FULL[0]])


def test_vectors_as_keys_stay_what_they_are(tmp_path):
    write(tmp_path / "a.parquet", {"v": pa.array(VECTORS, VECTOR)})
    _, values, keys = read(tmp_path, ColumnNames(("v",), ("v",)))
    assert keys["v"] == VECTORS
    np.testing.assert_array_equal(values, FULL)


def test_a_vector_with_an_index_beyond_its_size(tmp_path):
    write(tmp_path / "a.parquet", {"v": pa.array([dense(1, 2), sparse(2, i2=1)], VECTOR)})
    with pytest.raises(DataError, match="column 'v': a sparse vector has an index beyond its size"):
        read(tmp_path, ColumnNames(("v",)))


def test_tensors_of_various_shapes_but_one_dimension(tmp_path):
    of_one = {"data": pa.list_(pa.float32()), "shape": pa.list_(pa.int32(), 1)}
    rows = [{"data": [1, 2], "shape": [2]}, None, {"data": [3, 4], "shape": [2]}]
    write(tmp_path / "a.parquet", {"v": pa.array(rows, pa.struct(of_one))})
    _, values, _ = read(tmp_path, ColumnNames(("v",)))
    np.testing.assert_array_equal(values, [[1, 2], [np.nan] * 2, [3, 4]])


@pytest.mark.parametrize(
    "array",
    [
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [2, 2]),
            pa.array([[1, 2, 3, 4]], pa.list_(pa.float32(), 4)),
        ),
        pa.array(
            [{"data": [1], "shape": [1, 1]}],
            pa.struct({"data": pa.list_(pa.float32()), "shape": pa.list_(pa.int32(), 2)}),
        ),
        pa.array([[[1.0]]]),
        pa.array([["a"]]),
    ],
)
def test_what_is_no_list_of_numbers(tmp_path, array):
    write(tmp_path / "a.parquet", {"v": array})
    with pytest.raises(
        DataError, match=r"column 'v' is .*, expected a numeric column, or one list"
    ):
        make_plan(str(tmp_path), ColumnNames(("v",)))


def test_fields_of_structs_by_their_path(tmp_path):
    inner = pa.struct({"lat": pa.float32(), "id": pa.string(), "vec": pa.list_(pa.int8(), 2)})
    kind = pa.struct({"at": inner, "on.off": pa.bool_()})
    rows = [
        {"at": {"lat": 1.5, "id": "a", "vec": [1, 2]}, "on.off": True},
        {"at": None, "on.off": False},
        None,
    ]
    write(tmp_path / "a.parquet", {"p": pa.array(rows, kind), "w": [1, 2, 3]})
    names = ColumnNames(("p.at.lat", "p.on.off"), ("p.at.id", "w"), "w")
    columns, values, keys = read(tmp_path, names)
    assert [field.name for field in columns.key_fields] == ["p.at.id", "w"]
    np.testing.assert_array_equal(values, [[1.5, 1], [np.nan, 0], [np.nan, np.nan]])
    assert keys == {"p.at.id": ["a", None, None], "w": [1, 2, 3]}
    _, values, keys = read(tmp_path, ColumnNames(("p.at.vec",), ("p",)))
    np.testing.assert_array_equal(values, [[1, 2], [np.nan] * 2, [np.nan] * 2])
    assert keys["p"] == rows


def test_a_misspelt_path_is_told_what_there_is(tmp_path):
    place = pa.array([{"lat": 1.0, "far": {"lon": 2.0}}])
    pq.write_table(pa.table({"x": [1.0], "place": place}), tmp_path / "a.parquet")
    have = r"'x', 'place', 'place\.lat', 'place\.far', 'place\.far\.lon'"
    for named, told in (("place.lot", have), ("plaec", "'x', 'place'")):
        with pytest.raises(DataError, match=rf"no column '{named}'; it has {told}$"):
            make_plan(str(tmp_path), ColumnNames((named,)))


def test_a_path_through_nothing_but_nulls(tmp_path):
    rows = [{"at": {"lat": 1.5, "id": "a"}}, None]
    write(tmp_path / "a.parquet", {"p": rows})
    write(tmp_path / "b.parquet", {"p": pa.nulls(2)})
    write(tmp_path / "c.parquet", {"p": pa.array([{"at": None}] * 2)})
    _, values, keys = read(tmp_path, ColumnNames(("p.at.lat",), ("p.at.id",)))
    np.testing.assert_array_equal(values, [[1.5], *[[np.nan]] * 5])
    assert keys["p.at.id"] == ["a", *[None] * 5]


def test_a_column_goes_before_a_path_of_the_same_name(tmp_path):
    write(tmp_path / "a.parquet", {"p": [{"x": 1.0, "y": 3.0}], "p.x": [2.0]})
    _, values, _ = read(tmp_path, ColumnNames(("p.x", "p.y")))
    assert values.tolist() == [[2.0, 3.0]]
    with pytest.raises(DataError, match=r"no column 'p\.z'"):
        make_plan(str(tmp_path), ColumnNames(("p.z",)))
