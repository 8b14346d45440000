"""Tables with a log in a store of objects: the valid files of today, by packages that know logs."""

import json

import deltalake
import pyarrow as pa
import pytest
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField

from cluster import seaweed
from pipeline.data.addresses import masked
from tests.object_stores.conftest import only_s3

IDS = [*range(10, 40)]
SCHEMA = Schema(NestedField(1, "id", LongType()), NestedField(2, "x", DoubleType()))


def rows(first, last):
    return pa.table({"id": range(first, last), "x": [i % 2 * 50.0 for i in range(first, last)]})


def write_delta(place, folder):
    """Writes a table in a folder of this machine and copies all of it."""
    for first in (0, 10, 20, 30):
        deltalake.write_deltalake(folder, rows(first, first + 10), mode="append")
    deltalake.DeltaTable(folder).delete("id < 10")
    place.store.upload(folder, place.path)
    return "version 4"


def write_iceberg(place, folder):
    """Writes a table where it is to be: its log has the whole names of its files."""
    catalog = InMemoryCatalog(
        "test",
        **{
            "warehouse": place.path,
            "s3.endpoint": f"http://{seaweed.HOST}:{seaweed.S3_PORT}",
            "s3.access-key-id": "owner",
            "s3.secret-access-key": seaweed.SECRETS["owner"],
            "s3.region": seaweed.REGION,
        },
    )
    catalog.create_namespace("lake")
    table = catalog.create_table("lake.events", SCHEMA, location=place.path)
    for first in (0, 10, 20, 30):
        table.append(rows(first, first + 10))
    table.delete("id < 10")
    return f"snapshot {table.metadata.current_snapshot_id}"


@only_s3
@pytest.mark.parametrize("write", [write_delta, write_iceberg])
def test_a_table_is_what_its_log_says(run, place, tmp_path, write):
    table, output = place.below("table"), place.below("out")
    snapshot = write(table, tmp_path / "table")
    stored = [name for name in table.names() if name.endswith(".parquet")]
    assert len(stored) > len(IDS) // 10, "the premise: files that are not valid"
    where = (f"--input={table.uri}", f"--output={output.uri}")
    ran = run("fit", *where, "--k=2", "--features=x", "--keys=id")
    assert ran.code == 0, ran.stderr
    answer = output.fetched(tmp_path / "copy")
    assert sorted(answer.table["id"].to_pylist()) == IDS
    (told,) = json.loads((answer.folder / "run.json").read_text())["input"]["tables"]
    assert (told["folder"], told["snapshot"]) == (masked(table.path), snapshot)
