"""Every row and every value of a list arrives, or the job ends: files with pages that say less."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.rows import read_block
from pipeline.errors import DataError

ROWS, WIDTH = 60, 3
LABEL_ONLY = ("--k=2", "--max_iterations=0")


def varint(number: int) -> bytes:
    """A whole number as Thrift's compact protocol writes an i32: zigzag, seven bits to a byte."""
    rest, out = number << 1, b""
    while rest > 127:
        out, rest = out + bytes([rest & 127 | 128]), rest >> 7
    return out + bytes([rest])


def spoil(path: Path, row_group: int, column: int, says: int) -> None:
    """Makes the first page of a column say that it has another number of values than it has."""
    chunk = pq.ParquetFile(path).metadata.row_group(row_group).column(column)
    data = path.read_bytes()
    # Of the page's header: the struct of a data page (version 1, or 2), its first field an i32.
    start = chunk.data_page_offset
    place = min(data.index(mark, start) for mark in (b"\x2c\x15", b"\x5c\x15") if mark in data)
    stored = next(n for n in range(10_000) if data.startswith(varint(n), place + 2))
    assert says < stored
    assert len(varint(says)) == len(varint(stored))
    length = len(varint(says))
    path.write_bytes(data[: place + 2] + varint(says) + data[place + 2 + length :])


def write(path: Path, *, version: str = "1.0", row_group_size: int = 20) -> Path:
    """Rows with two numbers, a list of three and a key."""
    x = np.arange(ROWS) % 2 * 50.0 + np.arange(ROWS)
    lists = pa.array(np.outer(x, [1.0, 2.0, 3.0]).tolist())
    table = pa.table({"x": x, "y": x + 1, "v": lists, "id": [f"row {i}" for i in range(ROWS)]})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        row_group_size=row_group_size,
        compression="none",
        use_dictionary=False,
        data_page_version=version,
        write_page_checksum=False,
    )
    return path


def read(path: Path, names: ColumnNames, batch_rows: int = 1000) -> int:
    plan = make_plan(str(path), names)
    blocks = (
        read_block(plan.store, plan.columns, block, batch_rows, keys=True) for block in plan.blocks
    )
    return sum(len(rows) for block in blocks for rows in block)


SCALARS, LISTS = ColumnNames(("x", "y"), ("id",)), ColumnNames(("v",), ("id",))
FAULTS = {  # column, what its page says, what is read, what the message says
    "a feature": (1, 13, SCALARS, "column 'y' has 13 rows, but the footer says 20"),
    "the only feature": (1, 13, ColumnNames(("y",)), "column 'y' has 13 rows, but the footer"),
    "a page of nothing": (0, 0, SCALARS, "column 'x' has 0 rows, but the footer says 20"),
    "a key": (3, 19, SCALARS, "column 'id' has 19 rows, but the footer says 20"),
    "lists": (2, 57, LISTS, "column 'v' has 19 rows, but the footer says 20"),
    "a list": (2, 59, LISTS, "column 'v' has 59 values in its lists, but the footer says 60"),
}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("batch_rows", [1000, 7])
@pytest.mark.parametrize("fault", FAULTS)
def test_rows_that_are_missing_are_told(tmp_path, fault, batch_rows, version):
    column, says, names, expected = FAULTS[fault]
    path = write(tmp_path / "f.parquet", version=version)
    assert read(path, names, batch_rows) == ROWS
    spoil(path, 1, column, says)
    with pytest.raises(DataError) as raised:
        read(path, names, batch_rows)
    message = str(raised.value)
    assert message.startswith(f"{path}: row group 1: {expected}")
    assert message.endswith("the file is damaged, write it again")


def test_a_column_that_is_not_read_may_be_damaged(tmp_path):
    path = write(tmp_path / "f.parquet")
    spoil(path, 1, 1, 13)
    assert read(path, ColumnNames(("x",), ("id",))) == ROWS


def test_lists_that_are_null_or_empty_or_hold_nulls_are_all_there(tmp_path):
    rows = [None, [], [1.0, None], [], None, [2.0, 3.0], [None, None], [4.0]]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32())):
        pq.write_table(pa.table({"v": pa.array(rows * 50, kind)}), tmp_path / "f.parquet")
        assert read(tmp_path / "f.parquet", ColumnNames(("v",)), 33) == 400


@pytest.mark.parametrize("fault", ["a feature", "a list"])
def test_fit_and_label_end_where_rows_are_missing(run, fit, tmp_path, fault):
    column, says, names, expected = FAULTS[fault]
    features, output = f"--features={','.join(names.features)}", tmp_path / "out"
    good, bad = write(tmp_path / "good" / "f.parquet"), write(tmp_path / "bad" / "f.parquet")
    spoil(bad, 1, column, says)
    model = fit(good, tmp_path / "model", features, *LABEL_ONLY)
    options = (f"--input={bad.parent}", f"--output={output}", "--on_bad_row=null")
    for ran in (
        run("fit", *options, features, *LABEL_ONLY),
        run("label", *options, f"--model={model.folder}"),
    ):
        assert ran.code == 3, ran.stderr
        assert f"{bad}: row group 1: {expected}" in ran.stderr
        assert len(ran.stderr.splitlines()[-1]) > 40
        assert not output.exists()


def test_fit_ends_where_only_a_keys_rows_are_missing(run, tmp_path):
    path = write(tmp_path / "in" / "f.parquet")
    spoil(path, 2, 3, 10)
    output = tmp_path / "out"
    ran = run(
        *("fit", f"--input={path}", f"--output={output}", "--features=x,y", "--keys=id"),
        *LABEL_ONLY,
    )
    assert ran.code == 3, ran.stderr
    assert f"{path}: row group 2: column 'id' has 10 rows, but the footer says 20" in ran.stderr
    assert not output.exists()
