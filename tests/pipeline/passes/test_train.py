"""The transforms in a user's own pipeline: scan, train and label without the command.

Input and output have a store each, which refuses what is meant for the other.
"""

import dataclasses

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to

import kmeans_tf
from kmeans_tf import Model, TrainingOptions, TrainingState, Trial, assign, get_metric
from kmeans_tf.layout import SumLayout
from kmeans_tf.sample import sample_capacity
from pipeline.errors import RunError
from pipeline.passes import parcels, train
from pipeline.passes.checkpoint import Checkpoint, checkpoints, fetch_state, find_checkpoint
from pipeline.passes.label import Trained
from pipeline.passes.parcels import Parcel
from pipeline.passes.sums import ONLY
from pipeline.passes.train import AddSlice, Iteration, Update
from pipeline.transforms import (
    Blocks,
    ColumnNames,
    JobCache,
    Label,
    LabelSpec,
    Loader,
    Scan,
    ScanSpec,
    SharedBlocks,
    Train,
    TrainSpec,
    WorkFolder,
    load_manifest,
    load_summary,
    make_plan,
    save_state,
)
from tests.stores import ReadOnly, WriteOnly

pytestmark = pytest.mark.xdist_group("train")  # for the fixtures of this module

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
K = 3


@pytest.fixture(scope="module")
def plan(three_blobs):
    names = ColumnNames(("f0", "f1"), ("id",))
    return make_plan(str(three_blobs.folder), names, store=ReadOnly(), block_rows=150)


@pytest.fixture
def work(tmp_path):
    return WorkFolder(str(tmp_path / "work"), WriteOnly())


@pytest.fixture(scope="module")
def summary(plan, tmp_path_factory):
    work = WorkFolder(str(tmp_path_factory.mktemp("scan")), WriteOnly())
    spec = ScanSpec(
        columns=plan.columns,
        metric="sqeuclidean",
        seed=0,
        capacity=sample_capacity(2, K),
        moments=True,
        impute=False,
        work=work,
        store=plan.store,
        cache=JobCache(work.path, 2),
    )
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | Blocks(SharedBlocks.write(work, plan.blocks).ranges()) | Scan(spec)
    return load_summary(work)


@pytest.fixture
def spec(plan, work, summary):
    layout = SumLayout.fit(summary, get_metric("sqeuclidean"), standard=False, impute=False)
    return TrainSpec(
        loader=Loader(plan.columns, layout, "sqeuclidean", drop_bad=False, store=plan.store),
        options=TrainingOptions(tolerance=0.0, max_iterations=20),
        work=work,
        cache=JobCache(work.path, 2, 1),
    )


@pytest.fixture
def start(spec, three_blobs):
    return TrainingState(
        (Trial.start(spec.loader.layout.encoding.encode_prototypes(three_blobs.start)),)
    )


KEPT = []  # of this process, as the runner is: what a pipeline is given it copies


def keep(checkpoint: Checkpoint) -> None:
    KEPT.append(checkpoint)


@pytest.fixture(params=[False, True], ids=["combined", "gathered"])
def trained(request):
    """trained(plan, spec, start, iterations) -> the state after a round, in either shape."""

    def train(plan, spec, start, iterations) -> TrainingState:
        KEPT.clear()
        ranges = SharedBlocks.write(spec.work, plan.blocks).ranges()
        with beam.Pipeline(runner=IN_PROCESS) as pipeline:
            blocks = pipeline | Blocks(ranges, spread=not request.param)
            first = pipeline | "Start" >> beam.Create([save_state(spec.work, start)])
            checkpoint = (blocks, first) | Train(spec, iterations, gathered=request.param)
            _ = checkpoint | beam.Map(keep)
        (checkpoint,) = KEPT
        state = fetch_state(spec.work, checkpoint)
        assert (state.iteration, state.done) == (checkpoint.iteration, checkpoint.done)
        return state

    return train


def test_a_scan_finds_what_numpy_finds(plan, summary, three_blobs):
    assert len(plan.blocks) > 3
    points = three_blobs.points.astype(np.float64)
    assert (summary.rows, summary.bad_rows) == (600, 0)
    np.testing.assert_array_equal(summary.minimum, points.min(0))
    np.testing.assert_array_equal(summary.maximum, points.max(0))
    np.testing.assert_allclose(summary.moments.mean(), points.mean(0), rtol=1e-15)
    np.testing.assert_allclose(summary.moments.standard_deviation(), points.std(0), rtol=1e-12)
    sample = summary.sample.rows[np.lexsort(summary.sample.rows.T)]
    np.testing.assert_array_equal(sample, points[np.lexsort(points.T)])


def test_training_in_a_pipeline_is_training_in_memory(plan, spec, start, three_blobs, trained):
    state = trained(plan, spec, start, 6)
    options = spec.options
    _, expected = kmeans_tf.fit(
        three_blobs.points, K, init=three_blobs.start, seed=0, options=options
    )
    assert state.trials[0].prototypes.tobytes() == expected.trials[0].prototypes.tobytes()
    assert state.trials[0].costs == expected.trials[0].costs
    assert state.trials[0].status == "converged"


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_sums_that_go_through_the_work_folder_are_the_same(
    plan, spec, start, tmp_path, monkeypatch, slices, trained
):
    alone = trained(plan, spec, start, 4)
    monkeypatch.setattr(parcels, "INLINE_BYTES", 0)
    work = WorkFolder(str(tmp_path / "another"), WriteOnly())
    spec = dataclasses.replace(spec, work=work, slices=slices)
    state = trained(plan, spec, start, 4)
    assert state.trials[0].prototypes.tobytes() == alone.trials[0].prototypes.tobytes()
    assert state.trials[0].costs == alone.trials[0].costs
    assert not work.store.files(work.sums, recursive=True)


def test_a_retry_of_what_is_done_needs_no_sums(plan, spec, start, work, trained):
    """A worker that is lost behind its update has left the next checkpoint, and taken the sums."""
    state = trained(plan, spec, start, 1)
    first, after = find_checkpoint(work, 0), find_checkpoint(work, 1)
    gone = Iteration(first, {0: Parcel(None, (work.file("gone"), work.file("gone too")))})
    assert list(AddSlice(spec).process((0, gone))) == [(ONLY, gone)]
    (again,) = Update(spec).process((ONLY, gone))
    assert again == after
    assert fetch_state(work, again).trials[0].costs == state.trials[0].costs
    work.store.delete(work.state(1))
    with pytest.raises(RunError, match=r"a worker's sums in .*gone cannot be read"):
        list(Update(spec).process((ONLY, gone)))


def test_every_iteration_is_written_down(plan, spec, start, work, trained):
    state = trained(plan, spec, start, 6)
    names = [path.rpartition("/")[2] for path in checkpoints(work)]
    assert names == [f"{i:06d}" for i in range(state.iteration + 1)]


def test_a_converged_state_makes_the_rest_of_the_round_free(
    plan, spec, start, monkeypatch, trained
):
    steps, loads = [], []
    step, chunks = train.step, train.cached_chunks

    def count_steps(*args):
        steps.append(args)
        return step(*args)

    def count_loads(*args):
        loads.append(args)
        return chunks(*args)

    monkeypatch.setattr(train, "step", count_steps)
    monkeypatch.setattr(train, "cached_chunks", count_loads)
    state = trained(plan, spec, start, 6)
    assert 1 < state.iteration < 6
    assert len(steps) == len(loads) == state.iteration * len(plan.blocks)
    steps.clear()
    again = trained(plan, spec, state, 3)
    assert not steps
    assert again.iteration == state.iteration
    assert again.trials[0].prototypes.tobytes() == state.trials[0].prototypes.tobytes()


def test_trials_of_one_state_share_reads_and_end_as_they_do_alone(plan, spec, three_blobs, trained):
    encoding = spec.loader.layout.encoding
    starts = [three_blobs.start, three_blobs.start[:2]]
    several = [Trial.start(encoding.encode_prototypes(rows)) for rows in starts]
    both = trained(plan, spec, TrainingState(tuple(several)), 4)
    for i, trial in enumerate(several):
        alone = trained(plan, spec, TrainingState((trial,)), 4)
        assert both.trials[i].prototypes.tobytes() == alone.trials[0].prototypes.tobytes()
        assert both.trials[i].costs == alone.trials[0].costs


def labelled(plan, spec, state, trained=None):
    """The labels of all rows by a state's first trial, and the totals."""
    prototypes = state.trials[0].prototypes
    numbers = np.arange(len(prototypes), dtype=np.int32)
    model = Model.trained(spec.loader.layout.encoding, "sqeuclidean", prototypes, numbers)
    labels = LabelSpec.of(plan, model, spec.work, spec.cache, trained=trained)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        ranges = SharedBlocks.write(spec.work, plan.blocks).ranges()
        done = pipeline | Blocks(ranges) | Label(labels)
        assert_that(done, equal_to([None]))
    totals = load_manifest(spec.work)
    parts = [pq.read_table(path) for _, path in sorted(totals.parts.items())]
    return pa.concat_tables(parts), totals


def test_labels_are_written_and_named_in_the_manifest(plan, spec, start, three_blobs):
    table, totals = labelled(plan, spec, start)
    assert totals.rows.tolist() == np.bincount(three_blobs.truth).tolist()
    assert len(totals.parts) == len(plan.blocks)
    np.testing.assert_array_equal(table["label"], three_blobs.truth)


def test_rows_are_labelled_by_what_the_training_knew(plan, spec, start, trained, monkeypatch):
    monkeypatch.setattr(assign, "_FEW", 0)
    state = trained(plan, spec, start, 2)
    known, nearest = [], Model.nearest

    def looked_at(model, rows, what):
        known.append((len(rows), what and len(rows) - len(what.unproven)))
        return nearest(model, rows, what)

    monkeypatch.setattr(Model, "nearest", looked_at)
    from_trial = Trained(spec.loader.layout.encoding, 0)
    table, totals = labelled(plan, spec, state, from_trial)
    assert sum(count for count, _ in known) == 600
    assert sum(count for _, count in known) > 500
    known.clear()
    again, same = labelled(plan, spec, state, from_trial)
    assert [count for _, count in known] == [None] * len(plan.blocks), "it is known once"
    assert table.equals(again)
    assert (totals.cost, totals.digest) == (same.cost, same.digest)


def test_another_number_of_prototypes_knows_nothing(plan, spec, start, trained, monkeypatch):
    """As where a start is still drawn in the last step."""
    monkeypatch.setattr(assign, "_FEW", 0)
    trained(plan, spec, start, 2)
    two = TrainingState((Trial.start(start.trials[0].prototypes[:2]),))
    table, _ = labelled(plan, spec, two, Trained(spec.loader.layout.encoding, 0))
    again, _ = labelled(plan, spec, two)
    assert table.equals(again)
