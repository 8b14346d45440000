"""Footers that workers read are those that the driver would have read."""

import random
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.blocks import plan_blocks
from pipeline.data.file_table import FileTable
from pipeline.data.files import find_files, read_footers
from pipeline.data.store import Store
from pipeline.errors import DataError, RunError
from pipeline.passes import footers as module
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.footers import ReadFooters, SharedFiles, read_range

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
FILES = 40


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    monkeypatch.setattr(module, "RANGE_FILES", 7)


def schemas() -> list[pa.Schema]:
    """Some of which do not come back from a file, or from Arrow's bytes, without some care."""
    word = pa.dictionary(pa.int32(), pa.string(), ordered=True)
    when = pa.timestamp("us", tz="Europe/Rome")
    return [
        pa.schema({"x": pa.float64()}),
        pa.schema([pa.field("x", pa.float64(), nullable=False, metadata={"unit": "m"})]),
        pa.schema({"x": pa.list_(pa.float32(), 3), "word": word}, {"of": "the table"}),
        pa.schema({"x": pa.float64()}, {"pandas": '{"index_columns": ["x"]}'}),
        pa.schema({"x": pa.large_list(pa.float16()), "when": when, "é": pa.decimal128(9, 2)}),
    ]


def table_of(schema: pa.Schema, rows: int) -> pa.Table:
    columns = [pa.nulls(rows, f.type) if f.nullable else pa.array([0.5] * rows) for f in schema]
    return pa.table(columns, schema)


@pytest.fixture
def files(tmp_path) -> FileTable:
    """Of several schemas, in folders, of 0 to 3 row groups."""
    random.seed(0)
    for i in range(FILES):
        schema = random.choice(schemas())
        path = tmp_path / "in" / f"day={i // 15}" / f"{i:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(path, schema) as writer:
            for _ in range(i % 4):
                writer.write_table(table_of(schema, random.randrange(5)))
    return find_files(Store(), str(tmp_path / "in"))


def read_by_workers(files: FileTable, work: WorkFolder):
    shared = SharedFiles.write(work, files)
    assert len(shared.ranges) == -(-len(files) // 7)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | ReadFooters(shared, work, Store())
    return shared.footers(work)


def test_they_are_the_drivers_to_the_bit(files, tmp_path):
    mine, theirs = read_footers(Store(), files), read_by_workers(files, WorkFolder(f"{tmp_path}/w"))
    assert len(mine.schemas) == len(theirs.schemas) > 2
    for one, other in zip(mine.schemas, theirs.schemas, strict=True):
        assert one.equals(other, check_metadata=True)
    assert [f.no_measures for f in mine] == [f.no_measures for f in theirs]
    assert {f.no_measures for f in mine} == {(), ("x",)}
    assert [f.file.below for f in mine] == [f.file.below for f in theirs]
    assert list(mine) == list(theirs)
    assert mine.files.fingerprint() == theirs.files.fingerprint()
    one, other = plan_blocks(mine, 4), plan_blocks(theirs, 4)
    assert list(one) == list(other)
    assert len(one) > 3


def test_of_files_that_cannot_be_read_the_first_is_told_as_the_driver_tells_it(files, tmp_path):
    for place in (33, 17, 19):
        Path(files[place].path).write_bytes(b"PAR1 no footer PAR1")
    files = find_files(Store(), str(tmp_path / "in"))
    with pytest.raises(DataError) as mine:
        read_footers(Store(), files)
    with pytest.raises(DataError) as theirs:
        read_by_workers(files, WorkFolder(str(tmp_path / "work")))
    assert str(theirs.value) == str(mine.value)
    assert str(mine.value).startswith(f"{files[17].path} is not a complete Parquet file: ")


def test_a_file_that_was_rewritten_since_it_was_found(files, tmp_path):
    pq.write_table(pa.table({"x": np.arange(1000.0)}), files[4].path)
    with pytest.raises(DataError, match=rf"^{files[4].path} was rewritten while the job ran"):
        read_by_workers(files, WorkFolder(str(tmp_path / "work")))


def test_what_a_worker_wrote_somewhere_else_is_missed(files, tmp_path):
    work, elsewhere = WorkFolder(str(tmp_path / "work")), WorkFolder(str(tmp_path / "elsewhere"))
    shared = SharedFiles.write(work, files)
    for files_of_one in shared.ranges[1:]:
        read_range(work, Store(), files_of_one)
    read_range(elsewhere, Store(), shared.ranges[0])
    with pytest.raises(RunError, match=f"did not reach {work.path} here: give an --output that"):
        shared.footers(work)


def test_more_files_than_make_some_thousands_of_ranges_make_larger_ones(tmp_path):
    count = 30_000
    table = FileTable(
        paths=np.zeros(count, np.uint8),
        ends=np.arange(1, count + 1),
        sizes=np.zeros(count, np.int64),
        modified=np.zeros(count, np.int64),
        folders=("",),
        folder=np.zeros(count, np.int32),
    )
    ranges = SharedFiles.write(WorkFolder(str(tmp_path)), table).ranges
    assert len(ranges) == module.MOST_RANGES
    assert [r.start for r in ranges] == [0, *(r.stop for r in ranges[:-1])]
    assert ranges[-1].stop == count
    assert [r.number for r in ranges] == list(range(len(ranges)))
