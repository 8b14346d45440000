"""What docs/inputs.md says of types and tables is what is done."""

import re
from itertools import dropwhile, takewhile
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.common import common_type
from pipeline.data.files import find_files
from pipeline.data.kinds import is_numeric, is_numeric_list
from pipeline.data.store import Store
from pipeline.errors import DataError

PAGE = (Path(__file__).parents[3] / "docs" / "inputs.md").read_text()
VECTOR = {
    "type": pa.int8(),
    "size": pa.int32(),
    "indices": pa.list_(pa.int32()),
    "values": pa.list_(pa.float64()),
}
KINDS = [
    *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.null()),
    *(pa.decimal32(9, 2), pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(76, 2)),
    *(pa.decimal128(5, 2), pa.decimal128(6, 2), pa.decimal128(12, 2), pa.decimal128(20, 4)),
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4)),
    *(pa.date32(), pa.time32("ms"), pa.time64("us"), pa.duration("s")),
    *(pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")),
    *(pa.timestamp("us", "UTC"), pa.timestamp("us", "+00:00")),
    *(pa.list_(pa.float32()), pa.list_(pa.int8()), pa.large_list(pa.int8())),
    *(pa.list_(pa.float64(), 2), pa.list_view(pa.float32()), pa.large_list_view(pa.float32())),
    *(pa.list_(pa.string()), pa.list_(pa.list_(pa.float32()))),
    *(pa.fixed_shape_tensor(pa.float32(), [2]), pa.fixed_shape_tensor(pa.float32(), [2, 2])),
    *(pa.struct(VECTOR), pa.struct({"a": pa.float64()}), pa.map_(pa.string(), pa.float64())),
    *(pa.bool8(), pa.uuid(), pa.json_()),
    *(pa.dictionary(pa.int32(), pa.float64()), pa.dictionary(pa.int32(), pa.string())),
]
BY_NAME = {str(kind): kind for kind in KINDS}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that follows a heading."""
    lines = PAGE.partition(f"\n{heading}\n")[2].splitlines()
    table = takewhile(lambda line: line[:1] == "|", dropwhile(lambda line: line[:1] != "|", lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [*table][2:]]


def named(cell: str) -> list[pa.DataType]:
    return [BY_NAME[name] for name in re.findall("`(.*?)`", cell)]


TYPES = [(kind, of) for cell, of, _ in rows("## Columns") for kind in named(cell)]
TABLES = [
    (cell, mark, said)
    for cell, marks, said in rows("## Tables with a log")
    for mark in re.findall("`(.*?)`", marks)
]
PAIRS = [tuple(cells) for cells in rows("## Files that differ")]


@pytest.mark.parametrize(("kind", "said"), TYPES, ids=str)
def test_what_may_be_a_feature(kind, said):
    assert is_numeric(kind) == said.startswith("yes")
    assert is_numeric_list(kind) == (said == "as all the features")


def test_every_kind_of_type_is_on_the_page():
    told = {kind.id for kind, _ in TYPES}
    assert told == {kind.id for kind in KINDS}
    assert len(TYPES) > 40


@pytest.mark.parametrize(("one", "other", "both"), PAIRS)
def test_what_a_key_of_two_types_becomes(one, other, both):
    (a,), (b,) = named(one), named(other)
    expected = named(both.partition(";")[0])
    for found in (common_type(a, b), common_type(b, a)):
        assert [found] == (expected or [None])
        assert (found is None) == (both == "refused")


@pytest.mark.parametrize(("name", "mark", "said"), TABLES)
def test_how_a_table_is_known_and_whether_it_is_refused(tmp_path, name, mark, said):
    for file in ("day=1/a.parquet", mark):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).mkdir() if file.endswith("/") else (tmp_path / file).touch()
    with pytest.raises(DataError) as error:
        find_files(Store(), str(tmp_path))
    kind = name.removeprefix("Spark's ")
    assert kind in str(error.value)
    assert ("a log that is not read" in str(error.value)) == (said == "refused")
    (tmp_path / mark).rmdir() if mark.endswith("/") else (tmp_path / mark).unlink()
    assert len(find_files(Store(), str(tmp_path))) == 1, "nothing else is it known by"
