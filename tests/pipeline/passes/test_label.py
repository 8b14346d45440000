"""Label files: parts of a sensible size, with the rows of all files in the input's order."""

import random
from tempfile import TemporaryDirectory

import apache_beam as beam
import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from kmeans_tf import Model
from pipeline.data.blocks import plan_blocks
from pipeline.data.files import Footer, Footers
from pipeline.data.names import ColumnNames
from pipeline.data.plan import make_plan
from pipeline.data.store import FileVersion
from pipeline.errors import DataError
from pipeline.passes import label
from pipeline.passes.blocks import SharedBlocks
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import WorkFolder, load_manifest
from pipeline.passes.label import Label, LabelSpec, label_part, part_rows
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


def ranges_of(plan, work, rows=None):
    """As many blocks together as have so many rows; by default as the job has it."""
    rows = rows or part_rows(plan.columns.dimension, plan.rows)
    return SharedBlocks.write(work, plan.blocks).ranges_of(rows)


def labelled(plan, work, threads=2, rows=None) -> list[pa.Table]:
    """The parts in the order of their names."""
    spec = LabelSpec.of(plan, model(), work, JobCache(work.path, threads))
    ranges = ranges_of(plan, work, rows)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        shuffled = random.Random(0).sample(ranges, len(ranges))
        _ = pipeline | beam.Create(shuffled) | Label(spec)
    parts = sorted(load_manifest(work).parts.items())
    count = len(parts)
    assert [name for name, _ in parts] == [
        f"part-{i:05d}-of-{count:05d}.parquet" for i in range(count)
    ]
    return [pq.read_table(path) for _, path in parts]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [1, 200, 10_000], ids=["a block", "some blocks", "all"])
def test_rows_are_in_the_inputs_order_in_whichever_parts(tmp_path, points, rows, threads):
    paths = write_shards(tmp_path / "in", points, shards=30, row_group_size=7)
    plan = plan_of(tmp_path / "in")
    parts = labelled(plan, WorkFolder(str(tmp_path / "work")), threads, rows)
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
    assert part["day"].to_pylist() == [day for day in "1234" for _ in range(10)]


@hypothesis.given(st.lists(st.integers(1, 2**26), min_size=1, max_size=40), st.integers(1, 4096))
def test_a_part_is_a_sixteenth_of_the_points_or_8_to_128_mb_or_one_block(sizes, dimension):
    footer = Footer(FileVersion("a", 1, 1), pa.schema([]), tuple(sizes))
    with TemporaryDirectory() as folder:
        shared = SharedBlocks.write(WorkFolder(folder), plan_blocks(Footers([footer]), 1))
    ranges = shared.ranges_of(part_rows(dimension, sum(sizes)))
    assert [r.stop for r in ranges] == [*(r.start for r in ranges[1:]), len(sizes)]
    assert [(r.number, r.count) for r in ranges] == [(i, len(ranges)) for i in range(len(ranges))]
    whole = sum(sizes) * dimension * 4
    limit = (8 << 20) if whole < (128 << 20) else min(whole // 16, 128 << 20)
    for r in ranges:
        rows = sum(sizes[r.start : r.stop])
        assert rows * dimension * 4 <= limit or r.stop == r.start + 1
        assert (
            r.stop == len(sizes) or (rows + sizes[r.stop]) * dimension * 4 > limit - dimension * 4
        )


@pytest.mark.parametrize(("rows", "parts"), [(1 << 17, 1), (1 << 19, 4), (1 << 21, 16)])
def test_a_table_of_a_few_megabytes_is_labelled_by_several_workers(tmp_path, rows, parts):
    """Of 16 features: of 8, 32 and 128 MB."""
    footer = Footer(FileVersion("a", 1, 1), pa.schema([]), (1 << 15,) * (rows >> 15))
    shared = SharedBlocks.write(WorkFolder(str(tmp_path)), plan_blocks(Footers([footer]), 1 << 15))
    assert len(shared.ranges_of(part_rows(16, rows))) == parts


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
    totals = label_part(spec, *ranges_of(plan, spec.work))
    (path,) = totals.parts.values()
    meta = pq.read_metadata(path)
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == expected
    assert totals.all_rows == 300
    columns = map(meta.row_group(0).column, range(meta.num_columns))
    dictionaries = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert dictionaries == {"file", "label"}


def test_a_row_that_is_too_far_is_told_by_its_file_and_row(tmp_path, points):
    far = points[:90].copy()
    far[47] = 1e200
    paths = write_shards(tmp_path / "in", far, shards=9, row_group_size=3)
    plan = plan_of(tmp_path / "in")
    spec = LabelSpec.of(plan, model(), WorkFolder(str(tmp_path / "work")))
    with pytest.raises(DataError, match=rf"^{paths[4]}: row 7 is too far from every prototype"):
        label_part(spec, *ranges_of(plan, spec.work))
    assert not list((tmp_path / "work").rglob("*.parquet*")), "nothing is left of the part"
