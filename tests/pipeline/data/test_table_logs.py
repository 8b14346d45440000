"""Tables whose log tells which files are valid: what is read of them, and what is refused."""

import json
import shutil
import struct
import sys
import zlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pyroaring
import pytest
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, DoubleType, LongType, NestedField

from pipeline.data.files import Found, find_files, find_input, read_footers
from pipeline.data.names import ColumnNames
from pipeline.data.partitions import partition_values
from pipeline.data.pieces import read_pieces
from pipeline.data.plan import make_plan
from pipeline.data.store import Store
from pipeline.errors import DataError
from tests.pipeline.answer import Answer

ODD = "a b%20/é=?"


def ids(store: Store, spec: object) -> list[int]:
    """The ids of all rows that an input stands for, as they are read."""
    files = find_files(store, str(spec))
    return sorted(
        i
        for file in files
        for i in pq.read_table(pa.BufferReader(store.read(file.path)))["id"].to_pylist()
    )


def rows(first: int, last: int, **columns: object) -> pa.Table:
    """Ids of a range, one of two values apart by it, and columns of one value."""
    numbers = range(first, last)
    values = {name: [value] * len(numbers) for name, value in columns.items()}
    return pa.table({"id": numbers, "x": [i % 2 * 50.0 + i / 100 for i in numbers], **values})


class Copied(Store):
    """A store that is of no machine: what packages of others read of it is a copy."""

    def is_local(self, path: str) -> bool:
        return False


# Delta


@pytest.fixture
def delta(tmp_path):
    """A Delta table of the ids 10 to 39, of which it has had 0 to 9 and lost them again."""
    folder = tmp_path / "lake" / "events 1"
    days = (
        rows(0, 10, day="1"),
        rows(10, 20, day="1"),
        rows(20, 30, day=ODD),
        rows(30, 40, day=None),
    )
    for part in days:
        part = part.set_column(2, "day", part["day"].cast(pa.string()))
        deltalake.write_deltalake(folder, part, mode="append", partition_by=["day"])
    deltalake.DeltaTable(folder).delete("id < 10")
    pq.write_table(rows(100, 110), folder / "day=1" / "forgotten.parquet")
    return folder


@pytest.mark.parametrize("store", [Store(), Copied()], ids=["here", "elsewhere"])
def test_a_delta_table_is_what_its_log_says(delta, store):
    assert len([*delta.rglob("*.parquet")]) == 5, "the premise: files that are not valid"
    found = find_input(store, str(delta))
    assert ids(store, delta) == [*range(10, 40)]
    values = [partition_values(file.below) for file in found.files]
    assert sorted(values, key=str) == [[("day", "1")], [("day", ODD)], [("day", None)]]
    (snapshot,) = found.snapshots
    assert (snapshot.format, snapshot.folder, snapshot.id) == (
        "Delta table",
        str(delta),
        "version 4",
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", range(10, 40)),
        ("../*", range(10, 40)),
        ("..", range(10, 40)),
        ("day=1", range(10, 20)),
        ("day=*", range(10, 40)),
        ("day=1/*", range(10, 20)),
        ("*/*.parquet", range(10, 40)),
        ("../**/*.parquet", range(10, 40)),
        ("day=__HIVE_DEFAULT_PARTITION__/*", range(30, 40)),
    ],
)
def test_a_part_of_a_table_is_what_the_log_says_of_it(delta, part, expected):
    assert ids(Store(), delta / part) == [*expected]


@pytest.mark.parametrize("name", ["50%25 off", "a\\b", "a\nb"])
def test_a_table_whose_name_is_not_that_of_a_uri(delta, tmp_path, name):
    shutil.move(delta, tmp_path / name)
    assert ids(Store(), tmp_path / name) == [*range(10, 40)]


def test_a_log_with_a_gap_is_told_in_short(delta):
    (delta / "_delta_log" / f"{2:020d}.json").unlink()
    with pytest.raises(DataError, match=r"events 1 cannot be read: .*gap.* …$") as refused:
        find_files(Store(), str(delta))
    assert len(str(refused.value)) < len(str(delta)) + 300


def test_a_part_that_a_link_leads_to_is_one(delta, tmp_path):
    (tmp_path / "today").symlink_to(delta / "day=1")
    assert ids(Store(), tmp_path / "today") == [*range(10, 20)]


def test_a_file_that_the_log_has_not_is_refused(delta):
    for part in ("day=1/forgotten.parquet", "day=1/forgotten*"):
        with pytest.raises(DataError, match=r"forgotten.*version 4 has no file here"):
            find_files(Store(), f"{delta}/{part}")
    one, *_ = (file.path for file in find_files(Store(), f"{delta}/day=1"))
    assert ids(Store(), one) == [*range(10, 20)]


def test_tables_beside_each_other_and_beside_files(delta):
    deltalake.write_deltalake(delta.parent / "b", rows(200, 205))
    deltalake.write_deltalake(delta.parent / "b", rows(205, 210), mode="overwrite")
    pq.write_table(rows(300, 303), delta.parent / "c.parquet")
    for spec in (
        delta.parent,
        f"{delta.parent}/*",
        f"{delta},{delta.parent}/b,{delta.parent}/c.parquet",
    ):
        assert ids(Store(), spec) == [*range(10, 40), *range(205, 210), *range(300, 303)]


def test_a_job_on_a_delta_table_tells_its_version(run, delta, tmp_path):
    out = tmp_path / "out"
    ran = run(
        "fit", f"--input={delta}", f"--output={out}", "--k=2", "--features=x", "--keys=id,day"
    )
    assert ran.code == 0, ran.stderr
    assert f"--input {delta}: Delta table {delta} at version 4\n" in ran.stderr
    answer = Answer(out)
    (table,) = answer.run.input.tables
    assert (table.format, table.folder, table.snapshot) == ("Delta table", str(delta), "version 4")
    labels = answer.table.sort_by("id").to_pydict()
    assert labels["id"] == [*range(10, 40)]
    assert labels["day"] == ["1"] * 10 + [ODD] * 10 + [None] * 10
    assert [label == labels["label"][0] for label in labels["label"]] == [
        i % 2 == 0 for i in range(30)
    ]
    (delta / "x").touch()
    told = run(
        "label",
        f"--input={delta}/day=1",
        f"--output={tmp_path / 'l'}",
        f"--model={out}",
        "--keys=id",
    )
    assert told.code == 0, told.stderr
    assert Answer(tmp_path / "l").table["id"].to_pylist() == [*range(10, 20)]


def test_partitions_of_a_delta_table_are_of_the_types_that_are_asked_for(run, tmp_path):
    table = rows(0, 20).append_column("hour", pa.array([i % 3 for i in range(20)], pa.int32()))
    table = table.append_column("day", pa.array([date(2024, 2, 29)] * 20))
    deltalake.write_deltalake(tmp_path / "t", table, partition_by=["day", "hour"])
    arguments = (f"--input={tmp_path / 't'}", "--k=2", "--keys=id,day,hour")
    ran = run(
        "fit", *arguments, f"--output={tmp_path / 'o'}", "--partition_types=hour:int8,day:date32"
    )
    assert ran.code == 0, ran.stderr
    assert "features: 'x'\n" in ran.stderr
    labels = Answer(tmp_path / "o").table.sort_by("id")
    assert labels["hour"].type == pa.int8()
    assert labels["hour"].to_pylist() == [i % 3 for i in range(20)]
    assert {*labels["day"].to_pylist()} == {date(2024, 2, 29)}
    ran = run("fit", *arguments, f"--output={tmp_path / 'p'}", "--features=x,hour")
    assert ran.code == 2
    assert "'hour' is a partition column" in ran.stderr


def of_no_rows(folder: Path | str, **asked: str) -> dict[str, pa.DataType]:
    """The keys of the tests' tables, of one that has no rows, with their types."""
    names = ColumnNames(("x",), ("id", "day"), partition_types=tuple(asked.items()))
    with pytest.raises(DataError, match="no row in 0 file"):
        make_plan(str(folder), names)
    plan = make_plan(str(folder), names, dimension=1)  # as for a model
    assert (plan.rows, len(plan.files), len(plan.blocks)) == (0, 0, 0)
    return {field.name: field.type for field in plan.columns.key_fields}


def test_a_table_without_files_is_one_of_no_rows(delta, iceberg):
    deltalake.DeltaTable(delta).delete()
    iceberg.delete("id >= 0")
    assert of_no_rows(delta) == {"id": pa.int64(), "day": pa.string()}
    assert of_no_rows(delta, day="int8") == {"id": pa.int64(), "day": pa.int8()}
    assert of_no_rows(iceberg.location()) == {"id": pa.int64(), "day": pa.date32()}
    with pytest.raises(DataError, match=r"events 1: no column 'y'; it has 'id', 'x', 'day'"):
        make_plan(str(delta), ColumnNames(("y",)), dimension=1)
    pq.write_table(rows(0, 7, day="1"), delta.parent / "more.parquet")
    assert ids(Store(), f"{delta},{delta.parent}/*") == [*range(7)]


def widened(table, folder):
    """A table that was given columns after its first rows, with the ids 40 and 41 in them."""
    late = rows(40, 42, day="2").append_column("y", pa.array([1.0, 2.0]))
    late = late.append_column("v", pa.array([[1.0], [2.0]]))
    late = late.append_column("note", pa.array(["a", "b"]))
    if isinstance(table, Table):
        late = late.set_column(2, "day", pa.array([date(2024, 2, 2)] * 2))
        with table.update_schema() as update:
            update.union_by_name(late.schema)
        table.append(late)
    else:
        deltalake.write_deltalake(folder, late, mode="append", schema_mode="merge")


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_columns_that_a_table_was_given_later_are_null_before(request, kind):
    table = request.getfixturevalue(kind)
    folder = table if kind == "delta" else folder_of(table)
    widened(table, folder)

    def read(names, *features):
        plan = make_plan(str(folder), ColumnNames(features, names))
        spans = [span for block in plan.blocks for span in block.spans]
        pieces = read_pieces(plan.store, spans, plan.columns.wanted(keys=True), 1000)
        return pa.concat_tables([piece.table for piece in pieces], promote_options="permissive")

    table = read(("id", "note"), "x", "y").sort_by("id")
    assert table["id"].to_pylist() == [*range(10, 42)]
    assert table["y"].to_pylist() == [None] * 30 + [1.0, 2.0]
    assert table["note"].to_pylist() == [None] * 30 + ["a", "b"]
    assert make_plan(str(folder), ColumnNames(keys=("id",))).columns.features == ("x", "y")
    # Nothing else of an older file is read; lists are as long as those that are there.
    assert read((), "y")["y"].null_count == 30
    assert make_plan(str(folder), ColumnNames(("v",))).columns.dimension == 1
    assert read((), "v")["v"].null_count == 30
    with pytest.raises(DataError, match="no column 'z'"):
        read(("z",), "x")
    if kind == "delta":  # beside it, a column is missing as it is in any folder
        pq.write_table(rows(0, 7, day="1"), folder.parent / "more.parquet")
        with pytest.raises(DataError, match=r"more\.parquet: no column 'y'"):
            make_plan(f"{folder},{folder.parent}/more.parquet", ColumnNames(("x", "y")))


def test_columns_of_which_a_table_leaves_open_what_older_files_have(iceberg, delta):
    late = rows(40, 42, day=date(2024, 2, 2)).append_column("a b", pa.array([1.0, 2.0]))
    with iceberg.update_schema() as update:
        update.union_by_name(late.schema)
    iceberg.append(late)
    with pytest.raises(DataError, match="no column 'a b'"):
        make_plan(iceberg.location(), ColumnNames(("a b",)))
    found = find_input(Store(), str(delta))
    (table,) = found.snapshots
    table = replace(table, schema=table.schema.append(pa.field("ID", pa.int64())))
    footers = read_footers(Store(), found.files)
    for snapshot in (table, replace(table, unsure=("ID",))):
        assert Found(found.files, (snapshot,)).completed(footers).schemas == footers.schemas


def nested(last: int, **more: list[float]) -> pa.Table:
    """The ids from 40 on, in a struct with more."""
    values = {"a": [*map(float, range(40, last))], **more}
    structs = pa.StructArray.from_arrays([*map(pa.array, values.values())], [*values])
    return pa.table({"id": range(40, last), "s": structs})


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_fields_that_a_struct_was_given_later_are_told_as_the_tables(kind, tmp_path):
    early, late = nested(45), nested(42, b=[1.0, 2.0])
    if kind == "delta":
        folder = tmp_path / "t"
        for part in (early, late):
            deltalake.write_deltalake(folder, part, mode="append", schema_mode="merge")
    else:
        catalog = InMemoryCatalog("test", warehouse=str(tmp_path))
        catalog.create_namespace("lake")
        table = catalog.create_table("lake.t", early.schema)
        table.append(early)
        with table.update_schema() as update:
            update.union_by_name(late.schema)
        table.append(late)
        folder = folder_of(table)
    plan = make_plan(str(folder), ColumnNames(("s.a",), ("id",)))
    assert plan.rows == 7
    told = rf"\.parquet: no column 's.b', though the {kind.title()} table {folder} at .* has it"
    for names in (ColumnNames(("s.a", "s.b")), ColumnNames(("s.a",), ("s.b",))):
        with pytest.raises(DataError, match=f"{told}.*: rewrite the older files of the table, or"):
            make_plan(str(folder), names)
    with pytest.raises(DataError, match=r"no column 's.c'; it has 'id', 's', 's.a'"):
        make_plan(str(folder), ColumnNames(("s.c",)))


def test_a_default_that_is_not_null_is_told_as_the_tables(iceberg):
    widened(iceberg, folder_of(iceberg))
    newest = max(folder_of(iceberg).glob("metadata/*.metadata.json"))
    metadata = json.loads(newest.read_text())
    for schema in metadata["schemas"]:
        for field in schema["fields"]:
            if field["name"] == "y":
                field["initial-default"] = 7.0
    newest.write_text(json.dumps(metadata | {"format-version": 3, "next-row-id": 0}))
    assert make_plan(iceberg.location(), ColumnNames(("x",), ("id", "day", "note"))).rows == 32
    with pytest.raises(DataError, match=r"no column 'y', though the Iceberg table .*: rewrite"):
        make_plan(iceberg.location(), ColumnNames(("x", "y")))


def test_a_sink_without_files_tells_no_columns(tmp_path):
    sink = write_sink(tmp_path / "sink", {"0": []})
    with pytest.raises(DataError, match=r"log of the .* sink .* at batch 0 lists no valid file, a"):
        make_plan(str(sink), ColumnNames(("x",)), dimension=1)


def write_log(folder: Path, **more: object) -> Path:
    """A Delta log of one version with the file `a b.parquet`, whose entries say more."""
    folder.mkdir()
    pq.write_table(pa.table({"id": [0, 1, 2], "x": [0.0, 0.5, 9.0]}), folder / "a b.parquet")
    columns = [
        {"name": name, "type": kind, "nullable": True, "metadata": {}}
        for name, kind in (("id", "long"), ("x", "double"))
    ]
    for number, column in enumerate(columns):
        column["metadata"] = {
            "delta.columnMapping.id": number + 1,
            "delta.columnMapping.physicalName": column["name"],
        }
    schema = json.dumps({"type": "struct", "fields": columns})
    size = (folder / "a b.parquet").stat().st_size
    entries = {
        "protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": [],
            "writerFeatures": [],
        },
        "metaData": {
            "id": "t",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": [],
            "configuration": {},
        },
        "add": {
            "path": "a%20b.parquet",
            "partitionValues": {},
            "size": size,
            "modificationTime": 0,
            "dataChange": True,
        },
    }
    lines = [json.dumps({name: entry | more.get(name, {})}) for name, entry in entries.items()]
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / f"{0:020d}.json").write_text("\n".join(lines))
    return folder


def features(*names: str) -> dict:
    return {"readerFeatures": names, "writerFeatures": names}


def deletion_vector(path: Path, *places: int) -> dict:
    """A file of one deletion vector, and what a log says of it."""
    bitmap = pyroaring.BitMap(places).serialize()
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    path.write_bytes(
        b"\1" + struct.pack(">i", len(vector)) + vector + struct.pack(">I", zlib.crc32(vector))
    )
    return {
        "deletionVector": {
            "storageType": "p",
            "pathOrInlineDv": f"file://{path}",
            "offset": 1,
            "sizeInBytes": len(vector),
            "cardinality": len(places),
        },
        "stats": json.dumps({"numRecords": 3}),
    }


def test_a_written_log_is_read(tmp_path):
    assert ids(Store(), write_log(tmp_path / "t")) == [0, 1, 2], "the premise of what is refused"
    vectors = write_log(tmp_path / "v", protocol=features("deletionVectors"))
    assert not deltalake.DeltaTable(vectors).deletion_vectors().read_all().num_rows, "the premise"
    assert ids(Store(), vectors) == [0, 1, 2], "none is there"


@pytest.mark.parametrize("named", [["deletionVectors"], []])
@pytest.mark.parametrize("store", [Store(), Copied()], ids=["here", "elsewhere"])
def test_deleted_rows_of_a_delta_table_are_refused(tmp_path, store, named):
    deleted = deletion_vector(tmp_path / "vector.bin", 1)
    table = write_log(tmp_path / "t", protocol=features(*named), add=deleted)
    assert deltalake.DeltaTable(table).deletion_vectors().read_all().num_rows == 1, "the premise"
    with pytest.raises(DataError, match=r"rows of the Delta table .*/t are deleted .*PURGE"):
        find_files(store, str(table))


def test_what_is_not_read_of_delta_tables_is_said(tmp_path):
    mapped = write_log(
        tmp_path / "mapped",
        protocol=features("columnMapping"),
        metaData={"configuration": {"delta.columnMapping.mode": "name"}},
    )
    with pytest.raises(DataError, match=r"columns of the Delta table .*mapped have other names"):
        find_files(Store(), str(mapped))
    new = write_log(tmp_path / "new", protocol=features("ofTomorrow"))
    with pytest.raises(DataError, match=r"Delta table .*/new cannot be read: .*ofTomorrow"):
        find_files(Store(), str(new))
    gone = write_log(tmp_path / "gone")
    (gone / "a b.parquet").unlink()
    with pytest.raises(DataError, match=r"gone/a b.parquet, a file of the Delta .* is not there"):
        find_files(Store(), str(gone))


@pytest.mark.parametrize(("extra", "package"), [("delta", "deltalake"), ("iceberg", "pyiceberg")])
def test_without_the_package_its_extra_is_named(run, tmp_path, monkeypatch, extra, package):
    write_log(tmp_path / "delta")
    (tmp_path / "iceberg" / "metadata").mkdir(parents=True)
    (tmp_path / "iceberg" / "metadata" / "v1.metadata.json").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"pipeline.data.{extra}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    ran = run("fit", f"--input={tmp_path / extra}", f"--output={tmp_path / 'out'}", "--k=2")
    assert ran.code == 2
    assert f"pip install 'kmeans-tf[{extra}]'\n" in ran.stderr


# Iceberg

SCHEMA = Schema(
    NestedField(1, "id", LongType()),
    NestedField(2, "x", DoubleType()),
    NestedField(3, "day", DateType()),
)
BY_DAY = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "the_day"))


@pytest.fixture
def iceberg(tmp_path) -> Table:
    """An Iceberg table of the ids 10 to 39, of which it has had 0 to 9 and lost them again."""
    catalog = InMemoryCatalog("test", warehouse=str(tmp_path / "ware house"))
    catalog.create_namespace("lake")
    table = catalog.create_table("lake.events", SCHEMA, partition_spec=BY_DAY)
    for day, first, last in ((1, 0, 10), (1, 10, 20), (2, 20, 30), (None, 30, 40)):
        part = rows(first, last, day=day and date(2024, 2, day))
        table.append(
            part.set_column(
                2, "day", part["day"].cast(pa.date32()) if day else pa.nulls(10, pa.date32())
            )
        )
    table.delete("id < 10")
    return table


def folder_of(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def test_an_iceberg_table_is_what_its_snapshot_says(iceberg, run, tmp_path):
    folder = folder_of(iceberg)
    pq.write_table(rows(100, 110), folder / "data" / "forgotten.parquet")
    assert len([*folder.rglob("*.parquet")]) == 5, "the premise: files that are not valid"
    assert ids(Store(), folder) == [*range(10, 40)]
    assert ids(Store(), folder.parent.parent) == [*range(10, 40)]
    assert ids(Store(), folder / "data" / "the_day=2024-02-01") == [*range(10, 20)]
    number = iceberg.current_snapshot().snapshot_id
    arguments = (f"--input={folder}", f"--output={tmp_path / 'out'}", "--k=2", "--keys=id,day")
    ran = run("fit", *arguments)
    assert ran.code == 0, ran.stderr
    assert f"--input {folder}: Iceberg table {folder} at snapshot {number}\n" in ran.stderr
    answer = Answer(tmp_path / "out")
    (table,) = answer.run.input.tables
    assert (table.format, table.folder, table.snapshot) == (
        "Iceberg table",
        str(folder),
        f"snapshot {number}",
    )
    labels = answer.table.sort_by("id").to_pydict()
    assert labels["id"] == [*range(10, 40)]
    assert labels["day"] == [date(2024, 2, 1)] * 10 + [date(2024, 2, 2)] * 10 + [None] * 10


def test_files_that_an_iceberg_table_took_over_lack_their_partitions(tmp_path):
    catalog = InMemoryCatalog("test", warehouse=str(tmp_path))
    catalog.create_namespace("lake")
    table = catalog.create_table("lake.events", SCHEMA, partition_spec=BY_DAY)
    part = rows(0, 10, day=date(2024, 2, 29))
    table.append(part)
    (file,) = find_files(Store(), table.location())
    assert partition_values(file.below) == [("day", "2024-02-29")]


def test_the_newest_metadata_count_unless_a_hint_names_others(iceberg):
    metadata = folder_of(iceberg) / "metadata"
    older = next(file for file in metadata.glob("00004-*.metadata.json"))
    assert ids(Store(), folder_of(iceberg)) == [*range(10, 40)]
    (metadata / "version-hint.text").write_text(older.name)
    assert ids(Store(), folder_of(iceberg)) == [*range(40)]
    (metadata / "version-hint.text").write_text("4")  # from where Hadoop looks for later ones
    assert ids(Store(), folder_of(iceberg)) == [*range(10, 40)]


def test_columns_that_were_renamed_are_refused(iceberg):
    with iceberg.update_schema() as update:
        update.rename_column("x", "y")
    with pytest.raises(DataError, match=r"Iceberg table .* renamed or made anew \('x' and 'y'\)"):
        find_files(Store(), str(folder_of(iceberg)))


def test_columns_that_were_made_anew_are_refused(iceberg):
    with iceberg.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("x")
    assert ids(Store(), folder_of(iceberg)) == [*range(10, 40)], "what is left out is no matter"
    with iceberg.update_schema() as update:
        update.add_column("x", DoubleType())
    with pytest.raises(DataError, match=r"Iceberg table .* renamed or made anew \('x'\)"):
        find_files(Store(), str(folder_of(iceberg)))


class Deletes(ManifestWriterV2):
    """Writes a manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (DataFileContent.POSITION_DELETES, "are deleted by files beside its data"),
        (DataFileContent.EQUALITY_DELETES, "equality deletes"),
    ],
)
def test_deleted_rows_of_an_iceberg_table_are_refused(iceberg, content, words):
    spec, current = iceberg.spec(), iceberg.current_snapshot()
    kept = current.manifests(iceberg.io)
    data = next(iter(iceberg.scan().plan_files())).file
    number, place = 77, f"{iceberg.location()}/metadata/77"
    with Deletes(
        spec, iceberg.schema(), iceberg.io.new_output(f"{place}-m0.avro"), number, "null"
    ) as writer:
        file = DataFile.from_args(
            content=content,
            file_path=f"{place}.parquet",
            file_format=FileFormat.PARQUET,
            partition=Record(*data.partition),
            record_count=1,
            file_size_in_bytes=1,
            equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
        )
        file.spec_id = spec.spec_id
        writer.add_entry(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=number, data_file=file
            )
        )
    sequence = iceberg.metadata.last_sequence_number + 1
    output = iceberg.io.new_output(f"{place}.avro")
    with write_manifest_list(2, output, number, current.snapshot_id, sequence, "null") as written:
        written.add_manifests([*kept, writer.to_manifest_file()])
    snapshot = Snapshot(
        snapshot_id=number,
        parent_snapshot_id=current.snapshot_id,
        sequence_number=sequence,
        manifest_list=f"{place}.avro",
        summary=Summary(Operation.DELETE),
        schema_id=iceberg.schema().schema_id,
    )
    updates = (
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=number),
    )
    iceberg.catalog.commit_table(iceberg, (), updates)
    with pytest.raises(DataError, match=f"Iceberg table .*{words}"):
        find_files(Store(), str(folder_of(iceberg)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v99.metadata.json", b'{"format-version": 4}', "1 validation error for .*Input tag '4'"),
        ("version-hint.text", b"gone.metadata.json", r"names metadata .*, 'gone\.metadata\.json'"),
        ("version-hint.text", b"\xff\xfe", "names metadata that are not there"),
        ("*.avro", b"Obj\1garbled", ""),
    ],
)
def test_garbled_metadata_are_named(iceberg, name, content, words):
    metadata = folder_of(iceberg) / "metadata"
    for path in [*metadata.glob(name)] or [metadata / name]:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"the Iceberg table .*/events cannot be read: .*{words}"):
        find_files(Store(), str(folder_of(iceberg)))


# Spark's streaming


def write_sink(folder: Path, batches: dict[str, list[tuple[str, str]]]) -> Path:
    """A sink whose log has these batches, of actions on files; each file has an id of its own."""
    (folder / "_spark_metadata").mkdir(parents=True)
    for name, entries in batches.items():
        lines = [
            json.dumps(
                {"path": (folder / file).as_uri(), "size": 1, "isDir": False, "action": action}
            )
            for action, file in entries
        ]
        (folder / "_spark_metadata" / name).write_text("\n".join(["v1", *lines]))
        (folder / "_spark_metadata" / f".{name}.crc").touch()
    return folder


def write_parts(folder: Path, names: str) -> None:
    for name in names:
        path = folder / f"hour={ord(name) % 2}%3A" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(rows(ord(name), ord(name) + 1), path)


def part_of(name: str) -> str:
    return f"hour={ord(name) % 2}%3A/{name}.parquet"


def add(names: str) -> list[tuple[str, str]]:
    return [("add", part_of(name)) for name in names]


@pytest.mark.parametrize(
    ("batches", "valid"),
    [
        ({"0": add("ab"), "1": add("c")}, "abc"),
        ({"0": add("ab"), "1": [], "2": add("d")}, "abd"),
        ({"0": add("a"), "1.compact": add("ab"), "2": add("c")}, "abc"),
        ({"9.compact": add("abc"), "10": add("d"), "11": add("e")}, "abcde"),
        ({"1.compact": add("x"), "2": add("x"), "3.compact": add("ab")}, "ab"),
        ({"0": add("abc"), "1": [("delete", part_of("b"))], "2": add("d")}, "acd"),
        ({"1.compact": [*add("ab"), ("delete", part_of("a"))], "2": add("c")}, "bc"),
    ],
)
def test_a_streaming_sink_is_what_its_log_says(tmp_path, batches, valid):
    sink = write_sink(tmp_path / "a sink", batches)
    write_parts(sink, "abcdefx")
    assert ids(Store(), sink) == [*map(ord, valid)]
    (tmp_path / "link").symlink_to(sink)
    for spec in (f"{sink}/hour=*", f"{sink}/*/*.parquet", f"{tmp_path}/*", tmp_path / "link"):
        assert ids(Store(), spec) == [*map(ord, valid)]
    for file in find_files(Store(), str(tmp_path / "link")):
        assert partition_values(file.below) == [("hour", f"{ord(Path(file.path).stem) % 2}:")]
    (snapshot,) = find_input(Store(), str(sink)).snapshots
    assert snapshot.id == f"batch {max(int(name.split('.')[0]) for name in batches)}"


def test_a_log_of_a_sink_that_is_not_whole_is_refused(tmp_path):
    sink = write_sink(tmp_path / "sink", {"0": add("a"), "2": add("b")})
    write_parts(sink, "ab")
    with pytest.raises(DataError, match=r"sink .*: _spark_metadata has no batch 1, of which 2"):
        find_files(Store(), str(sink))
    (sink / "_spark_metadata" / "1").write_text("v1\n{}")
    with pytest.raises(DataError, match=r"sink .*: _spark_metadata/1: KeyError\('path'\)"):
        find_files(Store(), str(sink))
    (sink / "_spark_metadata" / "1").write_text("v2\n{}")
    with pytest.raises(DataError, match=r"sink .*: _spark_metadata/1: .*version 'v2'"):
        find_files(Store(), str(sink))


def test_a_sink_that_was_moved_is_named(tmp_path):
    sink = write_sink(tmp_path / "sink", {"0": add("a")})
    write_parts(sink, "a")
    shutil.move(sink, tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"/sink/.*a.parquet, a file of the streaming .* not there"):
        find_files(Store(), str(tmp_path / "elsewhere"))


# Transactions on Databricks


TRANSACTIONS = {  # what is written, each file with an id of its own, and which of these are valid
    "begun": ({"_started_7": None}, ""),
    "committed": ({"_started_7": None, "_committed_7": ("ab", "")}, "ab"),
    "begun no more": ({"_committed_7": ("ab", "")}, "ab"),
    "cleared away": ({"_committed_vacuum3": ("", "a")}, "ab"),
    "of a task that failed": ({"_started_7": None, "_committed_7": ("a", "")}, "a"),
    "called off": ({"_started_7": None, "_committed_7": None}, ""),
    "removed": ({"_committed_7": ("ab", ""), "_committed_8": ("", "a")}, "b"),
    "of others": ({"_committed_8": ("", "ox")}, "ab"),
}
WRITTEN_BY = {"a": "tid-7-9c2-", "b": "tid-7-9c2-", "o": "", "p": ""}


def write_transactions(folder: Path, markers: dict[str, tuple[str, str] | None]) -> Path:
    """A folder as transactions leave it: the files a, b by the one with the id 7, o, p by none."""

    def named(name: str) -> str:
        return f"part-0000{name}-{WRITTEN_BY.get(name, '')}c000.snappy.parquet"

    folder.mkdir(parents=True)
    for name in WRITTEN_BY:
        pq.write_table(rows(ord(name), ord(name) + 1), folder / named(name))
    for marker, changes in markers.items():
        added, removed = ([*map(named, names)] for names in changes or ("", ""))
        told = json.dumps({"added": added, "removed": removed}) if changes else ""
        (folder / marker).write_text(told)
    return folder


@pytest.mark.parametrize("kind", TRANSACTIONS)
def test_a_folder_is_what_transactions_have_committed(tmp_path, kind):
    markers, valid = TRANSACTIONS[kind]
    day = write_transactions(tmp_path / "t" / "day=1", markers)
    write_transactions(tmp_path / "t" / "_tmp", {"_committed_7": ("", "o")} | markers)
    valid += "p" if kind == "of others" else "op"
    invalid = {name for name in "abop" if name not in valid}
    said: list[str] = []
    for spec in (day.parent, day, f"{day}/*.parquet", f"{tmp_path}/**/*.parquet", f"{day}/../*"):
        assert ids(Store(), spec) == sorted(map(ord, valid))
        said.clear()
        files = find_files(Store(), str(spec), said.append)
        assert {partition_values(file.below)[0] for file in files} == {("day", "1")}
        told = "left out for being uncommitted or removed by a transaction: "
        assert [line.partition(told)[2].count("part-0000") for line in said] == (
            [len(invalid)] if invalid else []
        )
        assert all(f"part-0000{name}-" in said[0] for name in invalid)


def test_a_transaction_in_one_folder_says_nothing_of_another(tmp_path):
    one = write_transactions(tmp_path / "t" / "day=1", {"_started_7": None})
    other = write_transactions(tmp_path / "t" / "day=2", {"_committed_8": ("", "b")})
    assert ids(Store(), one.parent) == sorted(map(ord, "opaop"))
    assert ids(Store(), f"{other},{one}/*") == sorted(map(ord, "opaop"))


def test_a_file_that_was_never_committed_is_refused(tmp_path):
    folder = write_transactions(tmp_path / "t", {"_started_7": None})
    told = "left out for being uncommitted or removed by a transaction: part-0000a-tid-7-"
    for spec in (f"{folder}/part-0000a-tid-7-9c2-c000.snappy.parquet", f"{folder}/*-0000a-*"):
        with pytest.raises(DataError, match=f"0000a-.*: no valid file; {told}"):
            find_files(Store(), spec)
    (folder / "_committed_8").write_text('{"added": [], "removed": []}')
    for name in "op":
        (folder / f"part-0000{name}-c000.snappy.parquet").unlink()
    with pytest.raises(DataError, match=rf"/t: no valid file; {told}"):
        find_files(Store(), str(folder))


@pytest.mark.parametrize("content", ["{", "[]", '{"added": []}', '{"added": 1, "removed": []}'])
def test_a_marker_that_is_damaged_is_named(tmp_path, content):
    folder = write_transactions(tmp_path / "t", {"_committed_7": ("ab", "")})
    (folder / "_committed_8").write_text(content)
    for spec in (folder, f"{folder}/*", *folder.glob("*-0000a-*")):
        with pytest.raises(DataError, match=r"/t/_committed_8, which .* cannot be read: \w+Error"):
            find_files(Store(), str(spec))


def test_markers_beside_the_files_of_a_table_are_the_tables(delta):
    told = json.dumps({"added": [], "removed": [path.name for path in delta.glob("day=1/*")]})
    (delta / "day=1" / "_committed_7").write_text(told)
    (delta / "day=1" / "_committed_8").write_text("{")
    for spec in (delta, delta.parent, f"{delta}/*", f"{delta}/*/*.parquet"):
        assert ids(Store(), spec) == [*range(10, 40)]


def test_a_job_counts_the_rows_that_were_committed(run, tmp_path):
    folder, names = tmp_path / "t", ("1-tid-7-c0", "2-tid-8-c0", "3-tid-9-c0", "0")
    folder.mkdir()
    for place, name in enumerate(names):
        pq.write_table(rows(20 * place, 20 * place + 20), folder / f"part-{name}.parquet")
    for transaction, added, removed in ((7, [0], []), (8, [1], [0])):
        told = ([f"part-{names[i]}.parquet" for i in which] for which in (added, removed))
        content = json.dumps(dict(zip(("added", "removed"), told, strict=True)))
        (folder / f"_committed_{transaction}").write_text(content)
    (folder / "_started_9").touch()
    out = tmp_path / "out"
    ran = run("fit", f"--input={folder}", f"--output={out}", "--k=2", "--keys=id")
    assert ran.code == 0, ran.stderr
    assert "transaction: part-1-tid-7-c0.parquet, part-3-tid-9-c0.parquet\n" in ran.stderr
    assert sorted(Answer(out).table["id"].to_pylist()) == [*range(20, 40), *range(60, 80)]
    (folder / "_committed_9").write_text("{")
    ran = run("fit", f"--input={folder}", f"--output={out}2", "--k=2", "--keys=id")
    assert ran.code == 3
    assert f"{folder}/_committed_9, which tells" in ran.stderr


# What no log is read of


@pytest.mark.parametrize(
    "name", ["_delta_log", "_delta_log/_commits", "_spark_metadata", ".hoodie"]
)
def test_files_beside_the_beginning_of_a_log_are_not_read(tmp_path, name):
    (tmp_path / "t" / name).mkdir(parents=True)
    pq.write_table(rows(0, 3), tmp_path / "t" / "a.parquet")
    for spec in ("t", "*", "t/*", "t/a.parquet"):
        with pytest.raises(DataError, match=r"/t (cannot be read: |is a Hudi table)"):
            find_files(Store(), f"{tmp_path}/{spec}")


def test_a_part_of_a_hudi_table_that_was_copied_is_refused(tmp_path):
    pq.write_table(rows(0, 3), tmp_path / "a.parquet")
    (tmp_path / ".hoodie_partition_metadata").touch()
    with pytest.raises(DataError, match="is a Hudi table"):
        find_files(Store(), str(tmp_path))


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["t/.hoodie/hoodie.properties", "t/day=1/a_1-2-3_20240229.parquet"], "a Hudi table"),
        (["t/snapshot/snapshot-7", "t/schema/schema-0", "t/bucket-0/data-1.parquet"], "a Paimon"),
        (["t/day=1/delta_0000001_0000001_0000/bucket_00000.parquet"], "a transactional Hive table"),
        (["t/day=1/base_0000007/000000_0.parquet"], "a transactional Hive table"),
        (["t/ducklake-01890a5d-ac96-774b-bcce-b302099a8057.parquet"], "a DuckLake table"),
    ],
)
def test_tables_whose_log_is_not_read_are_refused_by_name(tmp_path, files, name):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(0, 3), tmp_path / file)
    below = (tmp_path / files[-1]).parent
    for spec in (
        tmp_path / "t",
        tmp_path,
        f"{tmp_path}/*",
        below,
        f"{below}/*",
        tmp_path / files[-1],
    ):
        with pytest.raises(DataError, match=rf"/t(/day=1)? is {name}.*: write it as plain Parquet"):
            find_files(Store(), str(spec))


def test_names_that_only_look_like_a_log_are_files(tmp_path):
    names = [
        "metadata/a.parquet",
        "snapshot/a.parquet",
        "delta_1/a.parquet",
        "_tmp/_delta_log/0.json",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(0, 1), tmp_path / name)
    found = [file.path for file in find_files(Store(), str(tmp_path))]
    assert found == sorted(f"{tmp_path}/{name}" for name in names[:3])
