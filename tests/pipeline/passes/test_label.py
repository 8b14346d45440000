"""Label files: parts of a sensible size, with the rows of all files in the input's order."""

import random

import apache_beam as beam
import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from kmeans_tf import Model
from pipeline.data.blocks import BlockRef, Span
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.store import FileVersion
from pipeline.errors import DataError
from pipeline.passes import label
from pipeline.passes.checkpoint import WorkFolder, load_manifest
from pipeline.passes.label import Label, LabelSpec, first_blocks, label_part
from tests.tables import write_shards

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


@pytest.fixture(scope="module")
def points():
    """(900, 2) float64 rows about the centres."""
    rng = np.random.default_rng(4)
    return CENTRES[rng.integers(0, 3, 900)] + rng.uniform(-1, 1, (900, 2))


def plan_of(folder, *keys, block_rows=70):
    return make_plan(str(folder), ColumnNames(("f0", "f1"), keys), block_rows=block_rows)


def model() -> Model:
    numbers = np.arange(len(CENTRES), dtype=np.int32)
    return Model("sqeuclidean", CENTRES, numbers, np.zeros(2), np.ones(2))


def labelled(plan, work, threads=2, blocks=None) -> list[pa.Table]:
    """The parts in the order of their names."""
    spec = LabelSpec.of(plan, model(), work, threads)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | beam.Create(blocks or plan.blocks) | Label(spec)
    parts = sorted(load_manifest(work).parts.items())
    count = len(parts)
    assert [name for name, _ in parts] == [
        f"part-{i:05d}-of-{count:05d}.parquet" for i in range(count)
    ]
    return [pq.read_table(path) for _, path in parts]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [1, 200, 10_000], ids=["a block", "some blocks", "all"])
def test_rows_are_in_the_inputs_order_in_whichever_parts(
    tmp_path, points, monkeypatch, rows, threads
):
    monkeypatch.setattr(label, "PART_BYTES", rows * 2 * 4)
    paths = write_shards(tmp_path / "in", points, shards=30, row_group_size=7)
    plan = plan_of(tmp_path / "in")
    shuffled = random.Random(0).sample(plan.blocks, len(plan.blocks))
    parts = labelled(plan, WorkFolder(str(tmp_path / "work")), threads, shuffled)
    assert len(plan.blocks) > 12
    sizes = [len(part) for part in parts]
    assert all(size <= rows for size in sizes) or len(parts) == len(plan.blocks)
    assert len(parts) == {1: len(plan.blocks), 200: 7, 10_000: 1}[rows]
    table = pa.concat_tables(parts)
    distances = np.linalg.norm(points[:, None] - CENTRES, axis=2)
    np.testing.assert_array_equal(table["label"].to_numpy(), distances.argmin(1))
    np.testing.assert_allclose(table["distance"].to_numpy(), distances.min(1), rtol=1e-6)
    assert table["file"].to_pylist() == [str(path) for path in paths for _ in range(30)]
    assert table["row"].to_pylist() == list(range(30)) * 30


def test_keys_of_files_and_of_folders_stay_with_their_rows(tmp_path, points):
    for i, day in enumerate("3142"):
        rows = points[i * 10 : i * 10 + 10]
        ids = [f"{day} {j}" for j in range(10)]
        folder = tmp_path / "in" / f"day={day}"
        write_shards(folder, rows, shards=2, keys={"id": pa.array(ids).dictionary_encode()})
    (part,) = labelled(plan_of(tmp_path / "in", "id", "day"), WorkFolder(str(tmp_path / "work")))
    assert part["id"].to_pylist() == [f"{day} {j}" for day in "1234" for j in range(10)]
    assert part["day"].to_pylist() == [day for day in (1, 2, 3, 4) for _ in range(10)]


def spans(sizes) -> list[BlockRef]:
    file = FileVersion("a", 1, 1)
    return [BlockRef(i, (Span(file, i, 0, rows),)) for i, rows in enumerate(sizes)]


@hypothesis.given(st.lists(st.integers(1, 2**26), min_size=1, max_size=40), st.integers(1, 4096))
def test_a_part_is_of_128_mb_of_points_or_of_one_block(sizes, dimension):
    firsts = first_blocks(spans(sizes), dimension)
    ends = [*firsts[1:], len(sizes)]
    assert firsts[0] == 0
    totals = [sum(sizes[a:b]) * dimension * 4 for a, b in zip(firsts, ends, strict=True)]
    for a, b, total in zip(firsts, ends, totals, strict=True):
        assert total <= 128 << 20 or b == a + 1
        assert b == len(sizes) or total + sizes[b] * dimension * 4 > 128 << 20


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [300]),
        ({"ROW_GROUP_ROWS": 120}, [70, 70, 70, 90]),
        ({"ROW_GROUP_BYTES": 1}, [70] * 4 + [20]),
    ],
)
def test_row_groups_of_the_labels_are_large(tmp_path, points, monkeypatch, limits, expected):
    for name, limit in limits.items():
        monkeypatch.setattr(label, name, limit)
    write_shards(tmp_path / "in", points[:300], shards=10, row_group_size=5)
    plan = plan_of(tmp_path / "in")
    spec = LabelSpec.of(plan, model(), WorkFolder(str(tmp_path / "work")))
    totals = label_part(spec, 0, plan.blocks)
    (path,) = totals.parts.values()
    meta = pq.read_metadata(path)
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == expected
    assert totals.all_rows == 300


def test_a_row_that_is_too_far_is_told_by_its_file_and_row(tmp_path, points):
    far = points[:90].copy()
    far[47] = 1e200
    paths = write_shards(tmp_path / "in", far, shards=9, row_group_size=3)
    spec = LabelSpec.of(plan_of(tmp_path / "in"), model(), WorkFolder(str(tmp_path / "work")))
    with pytest.raises(DataError, match=rf"^{paths[4]}: row 7 is too far from every prototype"):
        label_part(spec, 0, plan_of(tmp_path / "in").blocks)
    assert not list((tmp_path / "work").rglob("*.parquet*")), "nothing is left of the part"
