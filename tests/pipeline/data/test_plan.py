"""What is decided before a row is read: the columns, and how many blocks there are."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
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


def test_the_length_of_lists_is_that_of_the_first_that_is_not_empty(tmp_path):
    write(tmp_path / "in" / "f.parquet", v=pa.array([None, [], [1.0, 2.0], [3.0, 4.0]]))
    columns = make_plan(str(tmp_path / "in"), ColumnNames(("v",))).columns
    assert (columns.dimension, columns.is_list) == (2, True)


def test_hundreds_of_tiny_files_make_one_block(tmp_path):
    write_shards(tmp_path / "in", np.zeros((6000, 2)), shards=300, compression="none")
    plan = make_plan(str(tmp_path / "in"), ColumnNames())
    assert (len(plan.footers), len(plan.blocks), plan.rows) == (300, 1, 6000)
    assert len(plan.blocks[0].spans) == 300
