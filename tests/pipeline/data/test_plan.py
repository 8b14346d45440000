"""What is decided before a row is read: the columns, and how many blocks there are."""

import json

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import widths
from pipeline.data.batches import RowGroups
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.errors import DataError, UsageError
from tests.tables import write_shards


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_default_features_are_the_numeric_columns_not_named_otherwise(tmp_path):
    write(
        tmp_path / "in/day=1/f.parquet",
        id=[1, 2],
        x=pa.array([1, 2], pa.uint8()),
        text=["a", "b"],
        y=[True, False],
        w=[1.0, 2.0],
        when=pa.array([1, 2], pa.timestamp("s")),
        listed=[[1.0], [2.0]],
        z=pa.array([1, 2]).cast(pa.decimal128(21, 2)),
    )
    columns = make_plan(str(tmp_path / "in"), ColumnNames(keys=("id",), weight="w")).columns
    assert (columns.features, columns.dimension, columns.is_list) == (("x", "y", "z"), 3, False)
    assert (columns.keys, columns.weight) == (("id",), "w")


@pytest.mark.parametrize("names", [ColumnNames(("z",)), ColumnNames(keys=("z",))])
def test_a_column_that_the_first_of_many_files_lacks_is_told_before_the_others(tmp_path, names):
    class ReadAllError(Exception):
        """All footers were read."""

    def read(store, files):
        raise ReadAllError

    def planned(**first):
        write(tmp_path / "day=1" / "00.parquet", **first)
        make_plan(str(tmp_path), names, read=read)

    for number in range(1, 20):
        write(tmp_path / "day=1" / f"{number:02}.parquet", x=[1.0], z=[1.0])
    with pytest.raises(DataError, match=r"00.parquet: no column 'z'; it has 'x', 'day'"):
        planned(x=[1.0])
    with pytest.raises(ReadAllError):  # rows decide
        planned(x=pa.array([], pa.float64()))
    write(tmp_path / "z=1" / "20.parquet", x=[1.0])
    with pytest.raises(ReadAllError):  # it may be a folder's
        planned(x=[1.0])


def test_an_index_of_pandas_is_no_feature(tmp_path):
    table = pa.table({"x": [1.0], "row": [7], "__index_level_1__": [3], "y": [2]})
    note = {"index_columns": ["row", "__index_level_1__", {"kind": "range", "name": None}]}
    pq.write_table(
        table.replace_schema_metadata({"pandas": json.dumps(note)}), tmp_path / "b.parquet"
    )
    write(tmp_path / "a.parquet", x=[1.0], y=[2], row=[8], **{"__index_level_1__": [3]})
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("x", "y")
    named = ColumnNames(("row", "x"), ("__index_level_1__",))
    assert make_plan(str(tmp_path), named).columns.features == ("row", "x")


def test_categories_and_periods_of_pandas_are_no_features(tmp_path):
    frame = pandas.DataFrame(
        {
            "shop": pandas.Categorical([7, 9]),
            "month": pandas.period_range("2024-01", periods=2, freq="M"),
            "lasts": pandas.timedelta_range("1s", periods=2),
            "at": pandas.date_range("2024-02-29", periods=2),
            "count": pandas.array([1, None], "Int64"),
            "is_new": [True, False],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").field("shop").type == pa.int64(), "the premise"
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("count", "is_new")


def test_numbers_of_a_type_that_is_not_known_are_no_features(tmp_path):
    note = {"ARROW:extension:name": "other.ordinal", "ARROW:extension:metadata": ""}
    fields = [pa.field("x", pa.int64()), pa.field("y", pa.int64(), metadata=note)]
    pq.write_table(pa.table([[1], [2]], schema=pa.schema(fields)), tmp_path / "a.parquet")
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("x",)
    assert make_plan(str(tmp_path), ColumnNames(("y", "x"))).columns.features == ("y", "x")


@pytest.mark.parametrize("empty", [pa.nulls(2), pa.array([[], None], pa.list_(pa.null()))])
def test_the_one_column_of_lists_may_be_empty_in_the_first_file(tmp_path, empty):
    write(tmp_path / "a.parquet", id=["a", "b"], v=empty)
    write(tmp_path / "b.parquet", id=["c"], v=[[1.0, 2.0]])
    columns = make_plan(str(tmp_path), ColumnNames()).columns
    assert (columns.features, columns.is_list, columns.dimension) == (("v",), True, 2)
    write(tmp_path / "c.parquet", id=["c"], v=[[1.0, 2.0]], u=[[1.0]])
    with pytest.raises(
        DataError, match="name one of the columns of lists, 'v', 'u', as --features"
    ):
        make_plan(str(tmp_path), ColumnNames())


def test_an_index_of_pandas_that_another_tool_wrote_again_is_no_feature(tmp_path):
    write(tmp_path / "a.parquet", x=[1.0], **{"__index_level_0__": [3], "__index_level__": [3]})
    columns = make_plan(str(tmp_path), ColumnNames()).columns
    assert columns.features == ("x", "__index_level__")


def test_a_key_that_is_a_column_of_some_files_and_a_partition_of_others(tmp_path):
    write(tmp_path / "day=1/a.parquet", x=[1.0])
    write(tmp_path / "day=2/b.parquet", x=[1.0], day=[2])
    with pytest.raises(DataError, match=r"a\.parquet: 'day' stands in its folder, but is a column"):
        make_plan(str(tmp_path), ColumnNames(("x",), ("day",)))


@pytest.mark.parametrize("note", ["no JSON", "[]", "{}", '{"index_columns": null}'])
def test_a_note_of_pandas_that_says_nothing(tmp_path, note):
    table = pa.table({"x": [1.0]}).replace_schema_metadata({"pandas": note})
    pq.write_table(table, tmp_path / "a.parquet")
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("x",)


PARTITIONED = {
    (("hour", "int8"),): (DataError, "folder day=1/hour=300/: 'hour' is '300', which is no int8"),
    (("hour", "int128"),): (UsageError, "hour:int128: no such type; expected int64"),
    (("hour", "binary"), ("hour", "list")): (UsageError, "hour:list: no such type"),
    (("minute", "int8"),): (UsageError, "no partition 'minute'; the folders have day, hour"),
}


@pytest.mark.parametrize("asked", PARTITIONED)
def test_partition_types_that_cannot_be(tmp_path, asked):
    write(tmp_path / "t/day=1/hour=12/f.parquet", x=[1.0])
    write(tmp_path / "t/day=1/hour=300/f.parquet", x=[1.0])
    kind, message = PARTITIONED[asked]
    with pytest.raises(kind, match=message):
        make_plan(str(tmp_path / "t"), ColumnNames(partition_types=asked))


def test_messages_list_partitions_among_the_columns(tmp_path):
    write(tmp_path / "t/day%20x=1/f.parquet", x=[1.0])
    with pytest.raises(DataError, match=r"no column 'days'; it has 'x', 'day x'$"):
        make_plan(str(tmp_path / "t"), ColumnNames(keys=("days",)))
    with pytest.raises(
        UsageError, match="'day x' is a partition column, which the files have not: it may be a key"
    ):
        make_plan(str(tmp_path / "t"), ColumnNames(features=("day x",)))


def width(folder, **options) -> int:
    return make_plan(str(folder), ColumnNames(("v",)), **options).columns.dimension


def lists(*lengths) -> pa.Array:
    """A list of each length; None is a null."""
    rows = [None if n is None else [float(i)] * n for i, n in enumerate(lengths)]
    return pa.array(rows, pa.list_(pa.float32()))


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([4, *[7] * 30], 7),
        ([7] * 30 + [4], 7),
        ([None, 0, 0, 0, 2, 2], 2),
        ([5, 3, 3, 5], 3),
        ([2, 4] * 9 + [4], 4),
        ([1, 3, *[2] * 5, 1, 3], 2),
        ([0, 0, None, 1], 1),
        ([9] * 1500 + [8] * 1501, 8),
        ([None] * 3000 + [6], 6),
    ],
)
@pytest.mark.parametrize("row_group_size", [1, 2, 5000])
def test_lists_are_as_long_as_most_of_them(tmp_path, lengths, expected, row_group_size):
    if row_group_size < 5 and len(lengths) > widths.COUNTED_GROUPS:
        pytest.skip("of more row groups than are counted")
    table = pa.table({"v": lists(*lengths)})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=row_group_size)
    assert width(tmp_path) == expected


def test_lists_of_all_files_are_counted(tmp_path):
    write(tmp_path / "a.parquet", v=lists(*[3] * 10))
    write(tmp_path / "b.parquet", v=lists(*[3] * 10))
    assert width(tmp_path) == 3
    write(tmp_path / "c.parquet", v=lists(*[8] * 21))
    assert width(tmp_path) == 8


def test_lists_in_more_row_groups_than_are_counted(tmp_path):
    pq.write_table(pa.table({"v": lists(2, *[5] * 599)}), tmp_path / "f.parquet", row_group_size=1)
    assert width(tmp_path) == 5
    pq.write_table(
        pa.table({"v": lists(*[None] * 599, 4)}), tmp_path / "f.parquet", row_group_size=1
    )
    assert width(tmp_path) == 4, "where nothing but nulls was counted, all row groups are"


def test_a_row_group_stands_for_the_rows_that_were_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(widths, "COUNTED_VALUES", 10)
    write(tmp_path / "a.parquet", v=lists(*[2] * 1200, *[3] * 5000, None))
    write(tmp_path / "b.parquet", v=lists(*[3] * 1500, None))
    assert width(tmp_path) == 2, "of the first file the first lists"


def test_lists_are_not_counted_where_the_footer_bears_out_the_first_of_them(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", v=lists(*[3] * 5000))
    read = []

    batches = RowGroups.batches

    def read_and_note(*args):
        for batch in batches(*args):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(RowGroups, "batches", read_and_note)
    assert width(tmp_path) == 3
    assert 0 < sum(read) < 1250


def test_a_width_that_is_told_is_not_counted(tmp_path):
    write(tmp_path / "in" / "a.parquet", v=lists(2, 2, 2))
    assert width(tmp_path / "in", dimension=6) == 6
    write(tmp_path / "in" / "a.parquet", v=lists(None, 0))
    assert width(tmp_path / "in", dimension=6) == 6
    with pytest.raises(DataError, match="'v': every row of every file is null or empty"):
        width(tmp_path / "in")
    write(tmp_path / "in" / "a.parquet", v=lists(2, 2).cast(pa.list_(pa.float32(), 2)))
    assert width(tmp_path / "in", dimension=6) == 2, "a type that tells it"


def test_hundreds_of_tiny_files_make_one_block(tmp_path):
    write_shards(tmp_path / "in", np.zeros((6000, 2)), shards=300, compression="none")
    plan = make_plan(str(tmp_path / "in"), ColumnNames())
    assert (len(plan.footers), len(plan.blocks), plan.rows) == (300, 1, 6000)
    assert len(plan.blocks[0].spans) == 300


def test_files_of_one_schema_are_told_from_those_of_another_by_the_first_that_differs(tmp_path):
    for i in range(6):
        write(tmp_path / f"{i}.parquet", x=["1"] if i in (3, 5) else [1.0])
    with pytest.raises(
        DataError, match=r"3\.parquet: column 'x' is string, but double in .*0\.par"
    ):
        make_plan(str(tmp_path), ColumnNames(("x",)))


def test_a_column_that_is_a_folders_name_elsewhere_is_held_against_it_for_every_folder(tmp_path):
    write(tmp_path / "p=1" / "a.parquet", x=[1.0], p=[1])
    write(tmp_path / "p=2" / "b.parquet", x=[1.0], p=[1])
    assert make_plan(str(tmp_path), ColumnNames()).columns.features == ("x",)
    write(tmp_path / "q=2" / "c.parquet", x=[1.0], p=[1])
    with pytest.raises(DataError, match=r"c\.parquet: numeric column 'p' is not in .*a\.parquet"):
        make_plan(str(tmp_path), ColumnNames())
