"""Parquet files with bytes changed: read to the row, or refused by name, and never waited for."""

import faulthandler
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmeans_tf import Model
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.rows import read_block
from pipeline.data.store import Store
from pipeline.errors import DataError, UsageError
from tests.tables import read_labels

ROWS, MUTATIONS, LONGEST_SECONDS = 400, 400, 60


def scalars(rng):
    points = rng.normal(size=(ROWS, 3))
    keys = {"id": np.arange(ROWS), "name": [f"row {i}" for i in range(ROWS)]}
    return pa.table(keys | {f"f{j}": points[:, j] for j in range(3)}), ("f0", "f1", "f2")


def narrow(rng):
    kinds = {"f0": pa.int32(), "f1": pa.float32(), "f2": pa.uint16()}
    table = {n: pa.array(rng.integers(0, 900, ROWS)).cast(k) for n, k in kinds.items()}
    return pa.table({"id": np.arange(ROWS), "name": ["x"] * ROWS} | table), tuple(kinds)


def lists(rng):
    values = [list(row) for row in rng.normal(size=(ROWS, 4))]
    return pa.table({"id": np.arange(ROWS), "name": ["x"] * ROWS, "v": values}), ("v",)


TABLES = {"scalars": scalars, "narrow": narrow, "lists": lists}
WAYS = {
    "plain": {"compression": "none", "use_dictionary": False},
    "zstd": {"compression": "zstd"},
    "snappy, pages of version 2": {"compression": "snappy", "data_page_version": "2.0"},
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file in which bits, bytes or a piece are others, missing or twice there."""
    content = bytearray(data)
    place = rng.randrange(len(content))
    if rng.random() < 0.3:  # the footer, which is small
        place = len(content) - 1 - rng.randrange(min(len(content), 900))
    size = rng.choice([1, 1, 1, 4, 64])
    kind = rng.choice(["bit", "bit", "bytes", "zeros", "cut", "lost", "twice"])
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        content[place : place + size] = rng.randbytes(len(content[place : place + size]))
    elif kind == "zeros":
        content[place : place + size] = bytes(len(content[place : place + size]))
    elif kind == "cut":
        del content[place:]
    elif kind == "lost":
        del content[place : place + size]
    else:
        content[place:place] = content[place : place + size]
    return bytes(content)


def read(path: Path, features):
    """The keys and the rows (n, d) of a file."""
    plan = make_plan(str(path), ColumnNames(features, ("id", "name")), store=Store())
    ids, names, values = [], [], []
    for block in plan.blocks:
        for rows in read_block(plan.store, plan.columns, block, 128, keys=True):
            ids += rows.columns["id"].to_pylist()
            names += rows.columns["name"].cast(pa.binary()).to_pylist()  # perhaps no text now
            values.append(rows.values)
    return ids, names, np.concatenate(values), plan.rows


@pytest.fixture
def bounded():
    """Ends the process, with what it is at, where a mutation is waited for."""

    def begin():
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)

    yield begin
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("table", TABLES)
def test_a_file_with_bytes_changed_is_read_to_the_row_or_refused(
    tmp_path, bounded, table, way, checksums
):
    rows, features = TABLES[table](np.random.default_rng(3))
    path = tmp_path / "whole.parquet"
    pq.write_table(rows, path, row_group_size=150, write_page_checksum=checksums, **WAYS[way])
    whole, expected = path.read_bytes(), read(path, features)
    rng = random.Random(f"{table} {way}")
    refused = wrong = 0
    for number in range(MUTATIONS):
        content = mutated(whole, rng)
        spoilt = tmp_path / f"{number}.parquet"
        spoilt.write_bytes(content)
        bounded()
        try:
            ids, names, values, told = read(spoilt, features)
        except (DataError, UsageError) as error:
            assert str(spoilt) in str(error) or "--" in str(error)
            assert len(str(error).splitlines()) == 1
            refused += 1
            continue
        finally:
            spoilt.unlink()
        assert len(ids) == len(names) == len(values) == told == ROWS, f"mutation {number}"
        same = (ids, names, values.tobytes()) == (*expected[:2], expected[2].tobytes())
        wrong += not same
    assert refused > MUTATIONS // 4, "the premise"
    if checksums:
        assert not wrong


def test_the_job_ends_by_name_or_with_all_rows(run, tmp_path, bounded):
    rows, features = scalars(np.random.default_rng(4))
    whole = tmp_path / "whole.parquet"
    pq.write_table(rows, whole, row_group_size=150)
    rng, codes = random.Random(11), []
    options = ("--keys=id,name", "--k=3", "--max_iterations=1", f"--features={','.join(features)}")
    for _ in range(60):
        path, output = tmp_path / "spoilt.parquet", tmp_path / "out"
        path.write_bytes(mutated(whole.read_bytes(), rng))
        bounded()
        ran = run("fit", f"--input={path}", f"--output={output}", *options)
        codes.append(ran.code)
        assert ran.code in (0, 2, 3), ran.stderr
        if ran.code:
            assert not output.exists(), ran.stderr
            assert ran.stderr.splitlines()[-1].startswith("kmeans-tf: error: ")
        else:
            assert len(read_labels(output)) == ROWS
            shutil.rmtree(output)
    assert 0 in codes
    assert 3 in codes


def test_a_model_with_bytes_changed_is_the_same_or_refused(tmp_path, bounded):
    rng, random_bytes = np.random.default_rng(6), random.Random(6)
    labels, ones = np.arange(4, dtype=np.int32), np.ones(3)
    model = Model("sqeuclidean", rng.normal(size=(4, 3)), labels, 0 * ones, ones, None, ("v",))
    model.save(str(tmp_path / "whole"))
    index, data = "variables/variables.index", "variables/variables.data-00000-of-00001"
    refused = 0
    for _ in range(MUTATIONS // 2):
        spoilt = tmp_path / "spoilt"
        shutil.rmtree(spoilt, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", spoilt)
        file = spoilt / random_bytes.choice([index, data, "settings.json"])
        file.write_bytes(mutated(file.read_bytes(), random_bytes))
        bounded()
        try:
            assert Model.load(str(spoilt)).digest == model.digest
        except ValueError as error:
            assert f"{spoilt} holds no model of this job" in str(error)
            refused += 1
    assert refused > MUTATIONS // 8, "the premise"
