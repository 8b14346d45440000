"""A day on which nothing came: labelling it is an answer, training on it is none."""

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.answer import Answer

SCALARS = pa.schema([("id", pa.string()), ("x", pa.float64()), ("y", pa.int32())])
LISTS = pa.schema([("id", pa.string()), ("v", pa.list_(pa.float32()))])


def rows_of(schema):
    if schema is SCALARS:
        return {"id": ["a", "b", "c"], "x": [0.0, 1.0, 9.0], "y": [1, 1, 8]}
    return {"id": ["a", "b", "c"], "v": [[0.0, 1.0], [1.0, 1.0], [9.0, 8.0]]}


@pytest.fixture(scope="module", params=[SCALARS, LISTS], ids=["scalars", "lists"])
def yesterday(request, fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yesterday")
    schema = request.param
    pq.write_table(pa.table(rows_of(schema), schema), folder / "in.parquet")
    return schema, fit(folder / "in.parquet", folder / "out", "--k=2", "--keys=id")


@pytest.mark.parametrize("files", [0, 2])
def test_labels_of_no_rows_are_an_empty_table(run, yesterday, tmp_path, files):
    schema, model = yesterday
    (tmp_path / "in").mkdir()
    if not files:
        deltalake.DeltaTable.create(tmp_path / "in", schema)
    for i in range(files):
        pq.write_table(schema.empty_table(), tmp_path / "in" / f"{i}.parquet")
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("label", *places, f"--model={model.folder}", "--keys=id")
    assert ran.code == 0, ran.stderr
    assert f"no row in {files} file(s): the answer is empty\n" in ran.stderr
    answer = Answer(tmp_path / "out")
    assert answer.table.num_rows == 0
    assert answer.table.schema.equals(model.table.schema)
    assert answer.run.counts.rows == 0
    assert answer.run.result.cost == 0
    prototypes = pq.read_table(tmp_path / "out" / "prototypes.parquet")
    assert prototypes["rows"].to_pylist() == [0, 0]
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_training_on_no_rows_ends_the_job(run, yesterday, tmp_path):
    schema, _ = yesterday
    pq.write_table(schema.empty_table(), tmp_path / "in.parquet")
    ran = run("fit", f"--input={tmp_path / 'in.parquet'}", f"--output={tmp_path / 'out'}")
    assert ran.code == 3
    assert "no row in 1 file(s)" in ran.stderr
    assert not (tmp_path / "out").exists()
