"""The join of two tables of labels, held to a join in a dictionary."""

import datetime
import tracemalloc
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.data.store import Store
from pipeline.errors import SetupError
from pipeline.passes import moved
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.moved import CountMoved, LabelFile, Moved, MovedSpec, cut, hashed, take_moved

DAY = datetime.date(2026, 7, 14)


def written(folder, side, tables, label="label"):
    store, files = Store(), []
    for i, table in enumerate(tables):
        path = folder / f"{side}-{i}.parquet"
        pq.write_table(pa.table(table), path, row_group_size=7)
        files.append(LabelFile(store.version(str(path)), side, label))
    return files


def counted(folder, keys, files, rows):
    work = WorkFolder(str(folder / "work"))
    spec = MovedSpec.of(keys, rows, work, Store())
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | CountMoved(spec, files)
    return take_moved(work)


def by_dictionary(earlier, later):
    """(keys, moved) of two lists of (key, label)."""

    def once(rows):
        rows = [(key, label) for key, label in rows if label is not None]
        times = Counter(key for key, _ in rows)
        return {key: label for key, label in rows if times[key] == 1}

    one, other = once(earlier), once(later)
    both = one.keys() & other.keys()
    return Moved(len(both), sum(one[key] != other[key] for key in both))


@pytest.fixture(params=[1 << 21, 40], ids=["a bucket", "many buckets"])
def bucket_rows(request, monkeypatch):
    monkeypatch.setattr(moved, "BUCKET_ROWS", request.param)
    monkeypatch.setattr(moved, "BATCH_ROWS", 16)


@pytest.mark.usefixtures("bucket_rows")
def test_it_is_the_join_of_a_dictionary(tmp_path):
    """In other files and another order, with keys that come and go, are double, or unlabelled."""
    random = np.random.default_rng(4)
    sides = []
    for _ in range(2):
        n = random.integers(0, 300, 260)
        labels = [None if random.random() < 0.1 else int(x) for x in random.integers(0, 3, 260)]
        sides.append([((int(a), f"k{a % 7}"), label) for a, label in zip(n, labels, strict=True)])
    files = []
    for side, rows in enumerate(sides):
        tables = [
            {
                "label": pa.array([label for _, label in part], pa.int32()),
                "n": [key[0] for key, _ in part],
                "text": [key[1] for key, _ in part],
            }
            for part in (rows[:100], rows[100:])
        ]
        files += written(tmp_path, side, tables)
    found = counted(tmp_path, ("n", "text"), files, 520)
    assert found == by_dictionary(*sides)
    assert 20 < found.moved < found.keys
    assert not (tmp_path / "work" / "moved").exists()


def test_labels_may_have_another_name(tmp_path):
    one = written(
        tmp_path, 0, [{"id": [1, 2, 3], "cluster": pa.array([0, 1, 1], pa.int32())}], "cluster"
    )
    other = written(tmp_path, 1, [{"label": pa.array([1, 1, 2], pa.int32()), "id": [3, 2, 1]}])
    assert counted(tmp_path, ("id",), one + other, 6) == Moved(3, 1)


def test_tables_without_rows_have_no_key_in_common(tmp_path):
    nothing = {"id": pa.array([], pa.int64()), "label": pa.array([], pa.int32())}
    files = written(tmp_path, 0, [nothing]) + written(tmp_path, 1, [nothing])
    assert counted(tmp_path, ("id",), files, 0) == Moved(0, 0)


@pytest.mark.parametrize(
    ("side", "remedy"), [(0, "name another --match"), (1, "start again with --resume never")]
)
def test_labels_that_are_damaged_are_named(tmp_path, side, remedy):
    (labels,) = written(tmp_path, side, [{"n": range(500), "label": np.arange(500, dtype="i4")}])
    path = Path(labels.file.path)
    path.write_bytes(path.read_bytes()[:-99])
    labels = replace(labels, file=Store().version(str(path)))
    spec = MovedSpec.of(("n",), 500, WorkFolder(str(tmp_path / "work")), Store())
    with pytest.raises(SetupError, match=rf"^{path} cannot be read \(.+\): {remedy}$"):
        list(cut(spec, labels))


def test_what_a_retry_left_is_not_counted(tmp_path):
    """Only what went through the shuffle is."""
    table = {"id": [1, 2], "label": pa.array([0, 1], pa.int32())}
    files = written(tmp_path, 0, [table]) + written(tmp_path, 1, [table])
    spec = MovedSpec.of(("id",), 4, WorkFolder(str(tmp_path / "work")), Store())
    assert list(cut(spec, files[0]))
    assert counted(tmp_path, ("id",), files, 4) == Moved(2, 0)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1, -1, 2**62], pa.int64()),
        pa.array([0, 1, 2**64 - 1], pa.uint64()),
        pa.array([0.5, 1.5, -0.5, 1e300]),
        pa.array([True, False]),
        pa.array(["", "a", "b", "ab", "ba", "aa", "a\0"]),
        pa.array(["", "a", "ab"], pa.large_string()),
        pa.array([b"", b"\xff", b"\xff\xfe"]),
        pa.array([b"ab", b"ba"], pa.binary(2)),
        pa.array(["x", "y"]).dictionary_encode(),
        pa.array([DAY, DAY + datetime.timedelta(1)]),
        pa.array(
            [datetime.datetime(2026, 7, 14, 5, h) for h in range(3)], pa.timestamp("us", "UTC")
        ),
        pa.array([Decimal("1.10"), Decimal("1.20")]),
        pa.array([[1], [1, 2], []]),
        pa.array([{"a": 1}, {"a": 2}]),
    ],
    ids=lambda values: str(values.type),
)
def test_other_values_have_other_hashes_and_the_same_the_same(values):
    values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    both = pa.concat_arrays([values, values])
    high, low = hashed([both])
    n = len(values)
    assert len(set(high.tolist())) == len(set(low.tolist())) == n
    assert high[:n].tolist() == high[n:].tolist()
    assert hashed([both.slice(1, n)])[0].tolist() == high[1 : n + 1].tolist()


def test_which_column_a_value_stands_in_matters():
    one, other = pa.array([1, 2]), pa.array([2, 1])
    assert len(set(hashed([one, other])[0].tolist())) == 2


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
@pytest.mark.parametrize("length", [0, 3, 40])
def test_texts_are_hashed_alike_however_many_at_a_time(monkeypatch, most, length):
    texts = ["", None, *("é" * (i % (length + 1)) + str(i) for i in range(30)), None, "", ""]
    alone = [[int(part[0]) for part in hashed([pa.array([text], pa.string())])] for text in texts]
    monkeypatch.setattr(moved, "TEXT_BYTES", most)
    column = pa.array(["before", *texts], pa.string()).slice(1)
    together = np.stack(hashed([column]), 1).tolist()
    assert together == alone
    assert len({tuple(pair) for pair in together}) == len(set(texts))
    assert len(hashed([column.slice(0, 0)])[0]) == 0


def test_long_texts_take_little_memory():
    """A batch of long keys is not blown up as a whole."""
    column = pa.array(["k" * 500 + str(i) for i in range(20_000)])
    tracemalloc.start()
    hashed([column])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * column.nbytes
