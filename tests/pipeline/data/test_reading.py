"""What the job reads: files, folders, globs, names, columns of every type, keys of any."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import reference
from tests.tables import points_of_type, write_shards

# Only labels with the prototypes given: what is read shows, and nothing is trained.
LABEL_ONLY = ("--max_iterations=0",)


@pytest.fixture
def start(three_blobs):
    return (f"--init={three_blobs.start_file}", *LABEL_ONLY)


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


# Files and names


def test_rows_come_in_the_order_that_their_files_are_named(fit, tmp_path, monkeypatch):
    """Which files a folder or a glob stands for is in test_files.py."""
    for i, name in enumerate(("b.parquet", "b2.parquet", "x/c.parquet", "z/e.parquet")):
        write(tmp_path / "in" / name, v=[float(i)], name=[name])
    np.save(tmp_path / "start.npy", [[0.0]])
    monkeypatch.chdir(tmp_path)
    args = ("--init=start.npy", "--keys=name", *LABEL_ONLY)
    answer = fit("in/z , in/b*", tmp_path / "out", *args)
    assert answer.table["name"].to_pylist() == ["z/e.parquet", "b.parquet", "b2.parquet"]
    assert answer.run.counts.files == 3


def test_names_with_spaces_commas_globs_and_unicode(fit, three_blobs, tmp_path, start):
    folder = tmp_path / "eine Größe, zwei" / "日本 [1]"
    names = ["height, cm", "größe µ"]
    keys = {"the key, ü": np.arange(600), "a.b": np.arange(600) * 2}
    write_shards(folder, three_blobs.points, names=names, keys=keys)
    path = (folder / "shard-00000.parquet").rename(folder / "x, *.parquet")
    escaped = str(path).replace(",", "\\,")
    answer = fit(
        escaped,
        tmp_path / "the answer, ü",
        "--features=height\\, cm,größe µ",
        "--keys=the key\\, ü,a.b",
        *start,
    )
    assert answer.table.column_names == ["the key, ü", "a.b", "label", "distance"]
    assert answer.table["a.b"].to_pylist() == list(range(0, 1200, 2))
    assert answer.prototypes.column_names[-2:] == names
    np.testing.assert_array_equal(answer.labels, three_blobs.truth)


def test_a_column_whose_name_begins_as_anothers_path_does(fit, tmp_path):
    np.save(tmp_path / "start.npy", [[0.0, 0.0], [10.0, 10.0]])
    nested = pa.array([{"b": 5}, {"b": 6}])
    write(tmp_path / "in" / "t.parquet", **{"a": nested, "a.b": [0.0, 9.0], "a.c": [1.0, 9.0]})
    args = (f"--init={tmp_path / 'start.npy'}", *LABEL_ONLY)
    answer = fit(tmp_path / "in", tmp_path / "out", "--features=a.b,a.c", "--keys=a", *args)
    assert answer.labels.tolist() == [0, 1]
    assert answer.table["a"].to_pylist() == nested.to_pylist()


# Folders with values


def test_partition_columns_are_keys_of_text(fit, tmp_path):
    folders = {
        "day=007/place=New%20York": 0.0,
        "day=2/place=a%2Fb=c, d": 1.0,
        "day=-3/place=日本": 2.0,
        "day=__HIVE_DEFAULT_PARTITION__/place=__HIVE_DEFAULT_PARTITION__": 3.0,
    }
    for folder, value in folders.items():
        write(tmp_path / "in" / folder / "f.parquet", v=[value] * 2, id=[f"{value}"] * 2)
    np.save(tmp_path / "start.npy", [[0.0]])
    args = (f"--init={tmp_path / 'start.npy'}", *LABEL_ONLY)
    answer = fit(tmp_path / "in", tmp_path / "out", "--keys=day,id,place", *args)
    assert answer.run.schema.features == ["v"], "partition columns are no features"
    assert answer.table.schema.types[:3] == [pa.string()] * 3
    keys = {row["id"]: (row["day"], row["place"]) for row in answer.table.to_pylist()}
    assert keys == {
        "0.0": ("007", "New York"),
        "1.0": ("2", "a/b=c, d"),
        "2.0": ("-3", "日本"),
        "3.0": (None, None),
    }


def test_partition_columns_of_other_types_where_they_are_asked_for(fit, tmp_path):
    for folder in ("p%20q=7/day=2024-02-29", "p%20q=-12/day=1969-07-20"):
        write(tmp_path / "in" / folder / "f.parquet", v=[1.0])
    args = ("--keys=day,p q", "--partition_types=p q:int16,day:date32", "--k=1", *LABEL_ONLY)
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert answer.table.schema.types[:2] == [pa.date32(), pa.int16()]
    dates = [datetime.date(1969, 7, 20), datetime.date(2024, 2, 29)]
    assert answer.table["day"].to_pylist() == dates
    assert answer.table["p q"].to_pylist() == [-12, 7]
    assert answer.run.configuration["partition_types"] == [["p q", "int16"], ["day", "date32"]]


def test_columns_go_before_the_values_of_folders(fit, tmp_path):
    write(tmp_path / "in/p=7/q=8/f.parquet", v=[1.0], q=["mine"])
    write(tmp_path / "in/p=x/q=8/f.parquet", v=[2.0], q=["too"])
    answer = fit(tmp_path / "in", tmp_path / "out", "--keys=p,q", "--k=1", *LABEL_ONLY)
    assert answer.table["p"].to_pylist() == ["7", "x"]
    assert answer.table["q"].to_pylist() == ["mine", "too"]


# Features


TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
    *(pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(30, 4), pa.decimal256(60, 5)),
]


def numbers_of_type(kind: pa.DataType) -> pa.Array:
    """Sixty small numbers, in two groups that every type can tell."""
    values = np.repeat([0.0, 40.0], 30) + np.tile([0.0, 1.0, 2.0], 20)
    if pa.types.is_decimal(kind):
        numbers = [decimal.Decimal(int(v)).scaleb(-1) for v in values]
        return pa.array(numbers, pa.decimal128(30, 4)).cast(kind)
    return points_of_type(values * (values > 30) if pa.types.is_boolean(kind) else values, kind)


def floats(column: pa.Array) -> list[float]:
    return [float(value) for value in column.to_pylist()]


def test_scalar_columns_of_every_numeric_type(fit, tmp_path):
    columns = {str(kind): numbers_of_type(kind) for kind in TYPES}
    write(tmp_path / "in" / "f.parquet", **columns)
    points = np.array([floats(column) for column in columns.values()]).T
    np.save(tmp_path / "start.npy", points[[0, -1]])
    args = (f"--init={tmp_path / 'start.npy'}", "--max_iterations=2")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    expected = reference.fit(points, points[[0, -1]], max_iterations=2)
    assert answer.run.schema.features == list(columns)
    np.testing.assert_array_equal(answer.labels, expected.labels)
    np.testing.assert_allclose(answer.centres, expected.prototypes, rtol=1e-6)


def test_a_list_column_and_a_start_from_what_it_was_clustered_to(fit, three_blobs, tmp_path):
    """Of one layout; test_rows.py has the others."""
    write_shards(tmp_path / "in", three_blobs.points, layout="large_list", names=["v"], shards=2)
    init = f"--init={three_blobs.start_file}"
    answer = fit(tmp_path / "in", tmp_path / "out", "--features=v", init, "--max_iterations=2")
    expected = reference.fit(three_blobs.points, three_blobs.start, max_iterations=2)
    np.testing.assert_array_equal(answer.labels, expected.labels)
    np.testing.assert_allclose(answer.centres, expected.prototypes, rtol=1e-6)
    assert answer.prototypes.schema.field("v").type == pa.list_(pa.float64(), 2)
    args = ("--features=v", f"--init={tmp_path / 'out'}", *LABEL_ONLY)
    again = fit(tmp_path / "in", tmp_path / "again", *args)
    np.testing.assert_allclose(again.centres, answer.centres, rtol=1e-15)


# Keys


def keys_of_any_type(n: int) -> dict[str, pa.Array]:
    day = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
    times = [None if i % 7 == 0 else day + datetime.timedelta(hours=i) for i in range(n)]
    words = [None if i % 5 == 0 else "αβγδ"[i % 4] * (i % 3 + 1) for i in range(n)]
    return {
        "timestamp": pa.array(times, pa.timestamp("us")),
        "zoned": pa.array(times, pa.timestamp("ns", "Europe/Berlin")),
        "date": pa.array([t and t.date() for t in times], pa.date32()),
        "time": pa.array([t and t.time() for t in times], pa.time64("us")),
        "duration": pa.array([i * 1000 for i in range(n)], pa.duration("ms")),
        "string": pa.array(words),
        "large": pa.array(words, pa.large_string()),
        "dictionary": pa.array(words).dictionary_encode(),
        "binary": pa.array([w and w.encode() for w in words]),
        "fixed": pa.array([bytes([i % 256]) * 4 for i in range(n)], pa.binary(4)),
        "uuid": pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.uuid()),
        "struct": pa.array([{"a": i, "b": {"c": w}} for i, w in enumerate(words)]),
        "list": pa.array([None if i % 4 == 0 else [i] * (i % 3) for i in range(n)]),
        "structs": pa.array([[{"x": i}] * (i % 3) for i in range(n)]),
        "map": pa.array([[("k", i)] for i in range(n)], pa.map_(pa.string(), pa.int64())),
        "decimal": pa.array([decimal.Decimal(i).scaleb(-2) for i in range(n)]),
        "bool": pa.array([None if i % 3 == 0 else i % 2 == 0 for i in range(n)]),
        "float": pa.array([None if i % 3 == 0 else (np.nan, -0.0, 1e300)[i % 3] for i in range(n)]),
        "half": pa.array(np.arange(n, dtype=np.float16)),
        "unsigned": pa.array(np.arange(n, dtype=np.uint64) + np.uint64(2**63)),
        "null": pa.nulls(n),
    }


def test_keys_of_any_type_come_through_untouched(fit, three_blobs, tmp_path, many_blocks):
    keys = keys_of_any_type(600)
    write_shards(tmp_path / "in", three_blobs.points, shards=3, keys=keys, row_group_size=70)
    files = sorted((tmp_path / "in").iterdir())
    written = pa.concat_tables([pq.read_table(path) for path in files]).select(list(keys))
    args = ("--features=f0,f1", f"--keys={','.join(keys)}", "--k=3", *LABEL_ONLY)
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert answer.run.counts.blocks > 3
    labelled = answer.table.select(list(keys))
    assert labelled.schema.equals(written.schema)
    assert labelled.schema.types == [column.type for column in keys.values()]
    for name in keys:
        mine, theirs = labelled[name].combine_chunks(), written[name].combine_chunks()
        if name == "float":  # NaN is not equal to itself
            mine, theirs = mine.view(pa.int64()), theirs.view(pa.int64())
        assert mine.to_pylist() == theirs.to_pylist(), name
    assert answer.run.schema.keys["zoned"] == "timestamp[ns, tz=Europe/Berlin]"


def test_keys_of_every_type_of_parquet_come_through_without_arrows_note(fit, tmp_path):
    keys = keys_of_any_type(60)
    years = [datetime.datetime(1 + 150 * i, 1, 1, 1, 1, 1, i) for i in range(60)]
    keys |= {
        **{str(kind): pa.array(range(60)).cast(kind) for kind in (pa.int8(), pa.int16())},
        **{str(kind): pa.array(range(60)).cast(kind) for kind in (pa.uint8(), pa.uint32())},
        "decimal32": pa.array([decimal.Decimal(i) for i in range(60)], pa.decimal32(9, 2)),
        "decimal64": pa.array([decimal.Decimal(i) for i in range(60)], pa.decimal64(18, 3)),
        "decimal256": pa.array([decimal.Decimal(i) for i in range(60)], pa.decimal256(70, 4)),
        "milliseconds": pa.array(range(60), pa.time32("ms")),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array([f"[{i}]" for i in range(60)])),
        "year": pa.array(years, pa.timestamp("us")),
        "zoned": keys["zoned"].cast(pa.timestamp("ns", "UTC")),  # all that Parquet says of a zone
    }
    del keys["duration"]  # to Parquet a number
    (tmp_path / "in").mkdir()
    table = pa.table({"x": np.arange(60.0)} | keys)
    options = {"store_schema": False, "store_decimal_as_integer": True}
    pq.write_table(table, tmp_path / "in" / "a.parquet", **options)
    pq.write_table(table, tmp_path / "in" / "b.parquet", compression="none")
    args = ("--features=x", f"--keys={','.join(keys)}", "--k=2", *LABEL_ONLY)
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    for name, column in keys.items():
        mine, theirs = answer.table[name].to_pylist(), column.to_pylist() * 2
        assert list(map(repr, mine)) == list(map(repr, theirs)), name


def test_times_of_96_bits_of_any_year_as_keys(fit, tmp_path):
    when = [datetime.datetime(3024, 2, 29, 1, 2, 3, 456789), None, datetime.datetime(12, 12, 12)]
    (tmp_path / "in").mkdir()
    table = pa.table({"x": [1.0, 2.0, 9.0], "when": pa.array(when, pa.timestamp("us"))})
    path = tmp_path / "in" / "a.parquet"
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert pq.read_metadata(path).schema.column(1).physical_type == "INT96"
    answer = fit(tmp_path / "in", tmp_path / "out", "--keys=when", "--k=2", *LABEL_ONLY)
    assert answer.table.schema.field("when").type == pa.timestamp("us")
    assert answer.table["when"].to_pylist() == when


def test_the_columns_that_are_used_are_said_unless_they_were_named(run, tmp_path):
    numbers = {f"x{i}": [0.5, 1.5] for i in range(20)}
    write(tmp_path / "in" / "a.parquet", id=[1, 2], flag=[True, False], **numbers)
    arguments = (f"--input={tmp_path / 'in'}", "--k=1", *LABEL_ONLY)
    said = run("fit", *arguments, "--keys=id", f"--output={tmp_path / 'a'}").stderr
    shown = "'flag', 'x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6' and 13 more"
    assert f"features: {shown}" in said.splitlines()
    said = run("fit", *arguments, "--features=x2", f"--output={tmp_path / 'b'}").stderr
    assert "features:" not in said


def test_without_keys_a_row_is_named_by_its_place(fit, three_blobs, tmp_path, start):
    answer = fit(three_blobs.folder, tmp_path / "out", "--features=f0,f1", *start)
    assert answer.table.schema.remove_metadata() == pa.schema(
        {"file": pa.string(), "row": pa.int64(), "label": pa.int32(), "distance": pa.float32()}
    )
    files = [str(three_blobs.folder / f"shard-0000{i}.parquet") for i in range(3)]
    assert answer.table["file"].to_pylist() == [file for file in files for _ in range(200)]
    assert answer.table["row"].to_pylist() == list(range(200)) * 3


def test_features_in_the_order_they_are_named_and_keys_that_are_more_than_keys(
    fit, three_blobs, tmp_path
):
    np.save(tmp_path / "start.npy", three_blobs.start[:, ::-1])
    names = ("--features=f1,f0", "--weight=id", "--keys=id,f0")
    init = f"--init={tmp_path / 'start.npy'}"
    answer = fit(three_blobs.folder, tmp_path / "out", *names, init, *LABEL_ONLY)
    assert answer.prototypes.column_names[-2:] == ["f1", "f0"]
    np.testing.assert_array_equal(answer.labels, three_blobs.truth)
    np.testing.assert_array_equal(answer.table["f0"].to_numpy(), three_blobs.points[:, 0])
    assert answer.run.counts.weight == 599 * 600 / 2


# Sizes


def test_one_giant_row_group_is_one_part(fit, tmp_path):
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((200_000, 2)) + 10.0 * rng.integers(0, 2, (200_000, 1))).round(2)
    write_shards(tmp_path / "in", points, row_group_size=200_000)
    answer = fit(tmp_path / "in", tmp_path / "out", "--k=2", "--max_iterations=1")
    assert answer.run.counts.row_groups == answer.run.counts.blocks == 1
    part = pq.ParquetFile(tmp_path / "out/labels/part-00000-of-00001.parquet")
    assert [part.metadata.row_group(i).num_rows for i in range(part.num_row_groups)] == [200_000]
    nearest = reference.labels(points, answer.centres, "sqeuclidean")
    np.testing.assert_array_equal(answer.labels, nearest)
