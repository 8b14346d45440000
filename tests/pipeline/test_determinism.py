"""The same rows give the same bits, however they are cut, ordered, packed, cached or unrolled."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from kmeans_tf.memo import Memo
from pipeline.data import rows as rows_module
from pipeline.data.plan import make_plan
from pipeline.passes.chunks import Chunk
from pipeline.passes.stage import Staged
from tests.pipeline.answer import assert_same_answer, assert_same_training, with_options
from tests.tables import write_shards

pytestmark = pytest.mark.xdist_group("determinism")  # for the fixtures of this module

N, K = 900, 5
SAMPLE = 200  # rows: the sample leaves most out
# By themselves, rows of such weights are double.
PLAIN = ("--init=k-means++", "--max_iterations=4", "--precision=single")
TRAINING = {
    "lloyd": PLAIN,
    "double": tuple(with_options(PLAIN, "--precision=double")),
    "random": ("--init=random", "--max_iterations=4"),
    "k-means||": ("--init=k-means-parallel", "--max_iterations=8"),
    "trained start": ("--max_iterations=4",),
    "l1 by adam": ("--metric=l1", "--optimizer=adam", "--learning_rate=0.05", *PLAIN),
}


@pytest.fixture(scope="module")
def rows():
    """Overlapping clusters, a few rows far away, rows that repeat, and weights of 12 orders."""
    rng = np.random.default_rng(5)
    points = rng.standard_normal((N, 3)) * [1.0, 10.0, 0.1] + rng.integers(0, 2, (N, 3))
    points[-4:] += 1e4
    points[: N // 3] = points[rng.integers(N // 3, N // 2, N // 3)]
    return points, {"id": np.arange(N)}, 10.0 ** rng.uniform(-6, 6, N)


@pytest.fixture(scope="module", autouse=True)
def as_if_large():
    """The sample leaves rows out, and rows are compared by scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.driver.fit.sample_capacity", lambda features, k: SAMPLE)
        for name in ("_FEW", "_FEW_ONCE"):
            patch.setattr(f"kmeans_tf.assign.{name}", 0)
        yield


@pytest.fixture(scope="module")
def one_file(fit, rows, tmp_path_factory):
    """name of a training -> its answer on one file."""
    points, keys, weights = rows
    folder = tmp_path_factory.mktemp("one file")
    write_shards(folder / "in", points, keys=keys, weights=weights)
    return {
        name: fit(folder / "in", folder / name, *options(), *training)
        for name, training in TRAINING.items()
    } | {"input": folder / "in"}


def options(features="f0,f1,f2"):
    names = (f"--features={features}", "--keys=id", "--weight=weight", f"--k={K}")
    return (*names, "--tolerance=0", "--iterations_per_job=4")


@pytest.mark.parametrize(
    ("training", "cut"),
    [
        ("lloyd", "17 shards"),
        ("lloyd", "3 shards, shuffled"),
        ("double", "5 shards, shuffled"),
        ("random", "3 shards, shuffled"),
        ("k-means||", "5 shards, shuffled"),
        ("trained start", "5 shards, shuffled"),
        ("l1 by adam", "17 shards, shuffled"),
    ],
)
def test_shards_and_order(fit, rows, one_file, tmp_path, many_blocks, training, cut):
    points, keys, weights = rows
    seed = 8 if "shuffled" in cut else None
    write_shards(
        tmp_path / "in",
        points,
        shards=int(cut.split()[0]),
        keys=keys,
        weights=weights,
        shuffle_seed=seed,
        row_group_size=40,
    )
    answer = fit(tmp_path / "in", tmp_path / "out", *options(), *TRAINING[training])
    assert answer.run.counts.blocks > 3
    expected = one_file[training]
    start = answer.run.result.start
    assert (start.trainings > 1 if start else False) == (training == "trained start")
    assert_same_training(answer, expected)
    for mine, theirs in zip(answer.by_key("id"), expected.by_key("id"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("training", ["lloyd", "double", "l1 by adam", "trained start"])
@pytest.mark.parametrize(
    ("slices", "inline"), [(1, 0), (2, 0), (7, 0), (7, 1 << 40)], ids=["1", "2", "7", "7 inline"]
)
def test_slices_and_ways_through_the_work_folder(
    fit, rows, one_file, tmp_path, many_blocks, monkeypatch, training, slices, inline
):
    """Three workers, so that there is something to add up."""
    points, keys, weights = rows
    monkeypatch.setattr("pipeline.driver.fit.slices_for", lambda *_: slices)
    monkeypatch.setattr("pipeline.passes.parcels.INLINE_BYTES", inline)
    write_shards(tmp_path / "in", points, shards=6, keys=keys, weights=weights, row_group_size=40)
    workers = ("--direct_running_mode=multi_threading", "--direct_num_workers=3")
    answer = fit(
        *(tmp_path / "in", tmp_path / "out", *options(), *TRAINING[training]),
        *("--runner=DirectRunner", *workers),
    )
    assert_same_training(answer, one_file[training])


def test_bundles_that_come_twice(fit, rows, one_file, tmp_path, many_blocks, monkeypatch):
    """What one process hands over to itself is there until the bundle's work is done."""
    points, keys, weights = rows
    monkeypatch.setattr("pipeline.passes.parcels.INLINE_BYTES", 0)
    write_shards(tmp_path / "in", points, shards=6, keys=keys, weights=weights, row_group_size=40)
    places = (tmp_path / "in", tmp_path / "out")
    answer = fit(*places, *options(), *PLAIN, "--direct_runner_bundle_repeat=1")
    assert_same_answer(answer, one_file["lloyd"])


def test_many_tiny_files_packed_and_not(fit, rows, one_file, tmp_path, monkeypatch):
    points, keys, weights = rows
    write_shards(tmp_path / "in", points, shards=30, keys=keys, weights=weights)
    packed = fit(tmp_path / "in", tmp_path / "packed", *options(), *PLAIN)
    monkeypatch.setattr("pipeline.driver.commands.make_plan", partial(make_plan, block_rows=30))
    apart = fit(tmp_path / "in", tmp_path / "apart", *options(), *PLAIN)
    assert (packed.run.counts.blocks, apart.run.counts.blocks) == (1, 30)
    assert_same_answer(packed, one_file["lloyd"])
    assert_same_answer(apart, packed)


@pytest.mark.parametrize("layout", ["list", "fixed_size_list"])
def test_scalar_and_list_columns(fit, rows, one_file, tmp_path, layout):
    points, keys, weights = rows
    write_shards(
        tmp_path / "in", points, keys=keys, weights=weights, layout=layout, names=["v"], shards=2
    )
    answer = fit(tmp_path / "in", tmp_path / "out", *options("v"), *PLAIN)
    assert_same_answer(answer, one_file["lloyd"])


@pytest.fixture
def reads(monkeypatch):
    """Which columns are read, for each block and pass."""
    columns = []
    read_pieces = rows_module.read_pieces

    def read(store, spans, wanted, piece_rows):
        columns.append(",".join(column.name for column in wanted))
        return read_pieces(store, spans, wanted, piece_rows)

    monkeypatch.setattr(rows_module, "read_pieces", read)
    return columns


TRAINED, KEY = "f0,f1,f2,weight", "id"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("--iterations_per_job=1", [TRAINED, KEY]),
        ("--iterations_per_job=3", [TRAINED, KEY]),
        ("--cache_mb=0", [TRAINED] * 2 + [f"{TRAINED},{KEY}"]),
        ("--cache_mb=0 --stage=never", [TRAINED] * 5 + [f"{TRAINED},{KEY}"]),
    ],
)
def test_how_the_job_runs_and_how_often_it_reads(fit, one_file, tmp_path, reads, how, expected):
    answer = fit(
        one_file["input"], tmp_path / "out", *with_options([*options(), *PLAIN], *how.split())
    )
    assert_same_answer(answer, one_file["lloyd"])
    assert reads == expected


class Forgetful(dict):
    """What is remembered, every other time that it is asked for."""

    asked = 0

    def get(self, key, default=None):
        self.asked += 1
        return super().get(key, default) if self.asked % 2 else default


MEMOS = {
    "bounds": lambda: Memo(sums=False),
    "sums": lambda: Memo(bounds=False),
    "nothing": lambda: Memo(bounds=False, sums=False),
    "sometimes": lambda: Memo(trials=Forgetful()),
}


@pytest.mark.parametrize("training", ["lloyd", "double", "trained start"])
@pytest.mark.parametrize("kept", MEMOS)
def test_what_chunks_remember(fit, one_file, tmp_path, many_blocks, monkeypatch, kept, training):
    def begin(chunk, make):
        initial(chunk, make)
        chunk.memo = MEMOS[kept]()

    initial = Chunk.__init__
    monkeypatch.setattr(Chunk, "__init__", begin)
    answer = fit(one_file["input"], tmp_path / "out", *options(), *TRAINING[training])
    assert_same_answer(answer, one_file[training])


@pytest.fixture
def staged(monkeypatch):
    """The files that points were loaded from."""
    paths = []
    load = Staged.load

    def count(points):
        paths.append(points.path)
        return load(points)

    monkeypatch.setattr(Staged, "load", count)
    return paths


@pytest.mark.parametrize("part", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("training", ["lloyd", "double", "l1 by adam"])
@pytest.mark.parametrize("stage", ["auto", "never"])
def test_memory_for_some_of_the_rows_and_points(
    fit, rows, one_file, tmp_path, many_blocks, monkeypatch, reads, staged, stage, training, part
):
    """Memory for this part of the rows; points are larger, for these blocks are small."""
    points, keys, weights = rows
    write_shards(tmp_path / "in", points, shards=6, keys=keys, weights=weights, row_group_size=40)
    memory = int(part * N * (3 + 1) * 8)
    monkeypatch.setattr("pipeline.passes.cache.memory_share", lambda threads: memory)
    stage = f"--stage={stage}"
    answer = fit(tmp_path / "in", tmp_path / "out", *options(), *TRAINING[training], stage)
    assert_same_training(answer, one_file[training])
    blocks, iterations = answer.run.counts.blocks, answer.run.result.iterations
    assert blocks * 2 <= len(reads) <= blocks * (2 + iterations)
    if part == 8.0 or stage == "--stage=never":
        assert (part == 8.0) == (len(reads) == 2 * blocks)
    assert (stage == "--stage=auto" and part < 8.0) == bool(staged)


@pytest.mark.parametrize("training", ["lloyd", "double", "l1 by adam", "trained start"])
def test_all_points_in_files(
    fit, rows, one_file, tmp_path, many_blocks, monkeypatch, reads, staged, training
):
    points, keys, weights = rows
    write_shards(tmp_path / "in", points, shards=6, keys=keys, weights=weights, row_group_size=40)
    options_and_stage = (*options(), *TRAINING[training], "--stage=always")
    answer = fit(tmp_path / "in", tmp_path / "out", *options_and_stage)
    assert_same_training(answer, one_file[training])
    blocks = answer.run.counts.blocks
    assert len(set(staged)) == blocks
    assert len(staged) == blocks * (answer.run.result.iterations - 1)
    assert len(reads) == 2 * blocks
    assert not any(path.exists() for path in staged)


def test_points_that_another_attempt_took_away(fit, one_file, tmp_path, staged):
    """As where an output is made again from the start by a process that made it before."""
    args = (one_file["input"], tmp_path / "out", *options(), *PLAIN, "--stage=always")
    first = fit(*args)
    again = fit(*args, "--overwrite")
    assert_same_answer(first, one_file["lloyd"])
    assert_same_answer(again, first)
    assert len(set(staged)) == 1


def test_all_points_in_files_and_no_memory(fit, one_file, tmp_path, staged):
    args = (one_file["input"], tmp_path / "out", *options(), *PLAIN)
    answer = fit(*args, "--stage=always", "--cache_mb=0")
    assert_same_answer(answer, one_file["lloyd"])
    assert len(staged) == answer.run.result.iterations - 1


def test_types_that_hold_the_same_numbers(fit, tmp_path):
    points = np.random.default_rng(0).integers(0, 100, (300, 2))
    args = ("--k=3", "--max_iterations=1")
    answers = []
    for kind in (pa.int16(), pa.float32(), pa.decimal128(24, 3)):
        folder = tmp_path / str(kind.id)
        write_shards(folder / "in", points.astype(float), dtype=kind)
        answers.append(fit(folder / "in", folder / "out", *args))
    for answer in answers[1:]:
        assert_same_training(answer, answers[0])
