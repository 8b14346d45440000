"""The passes in worker processes of their own, on the direct runner.

Every Beam job starts its processes, and each loads TensorFlow anew: so one job has all passes.
"""

import json
import os
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.layout import SumLayout
from pipeline.command_line.options import RunOptions
from pipeline.errors import DataError
from pipeline.passes.checkpoint import latest_state
from pipeline.passes.counters import by_name
from pipeline.passes.footers import ReadFooters, SharedFiles
from pipeline.runners.preflight import PROBES, probe
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings
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
from tests.processes.failing import MESSAGE, fail_at_three

HERE = Settings(RunOptions())
IN_PROCESSES = Settings(
    RunOptions(
        runner="DirectRunner",
        beam=("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    )
)
METRIC, ITERATIONS = get_metric("sqeuclidean"), 6


@pytest.fixture(scope="module")
def plan(three_blobs):
    plan = make_plan(str(three_blobs.folder), ColumnNames(("f0", "f1"), ("id",)), block_rows=150)
    assert len(plan.blocks) > 3
    return plan


@pytest.fixture
def layout(three_blobs, plan, tmp_path):
    work = WorkFolder(str(tmp_path / "layout"))
    blocks = Blocks(SharedBlocks.write(work, plan.blocks).ranges())
    Runner(HERE).run(lambda pipeline: pipeline | blocks | scan(plan, work))
    return SumLayout.fit(load_summary(work), METRIC, standard=False, impute=False)


def cache(work):
    return JobCache(work.path, 1, 1)


def scan(plan, work):
    return Scan(
        ScanSpec(plan.columns, METRIC.name, 0, 200, True, False, work, plan.store, cache(work))
    )


def train(plan, layout, work):
    loader = Loader(plan.columns, layout, METRIC.name, drop_bad=False, store=plan.store)
    options = TrainingOptions(tolerance=0.0, max_iterations=ITERATIONS)
    return Train(TrainSpec(loader, options, work, cache(work)), ITERATIONS)


def all_passes(settings, plan, layout, start, work):
    """Runs them, and the preflight's probe, in one job; what its workers counted."""
    state = TrainingState((Trial.start(start),))
    model = Model.trained(layout.encoding, METRIC.name, start, state.trials[0].labels)
    task = partial(probe, work, "probes", plan.store, plan.footers[0].file)

    def build(pipeline):
        blocks = pipeline | Blocks(SharedBlocks.write(work, plan.blocks).ranges())
        first = pipeline | "Start" >> beam.Create([save_state(work, state)])
        _ = blocks | scan(plan, work)
        _ = (blocks, first) | train(plan, layout, work)
        _ = blocks | Label(LabelSpec.of(plan, model, work))
        _ = pipeline | ReadFooters(SharedFiles.write(work, plan.files), work, plan.store)
        _ = pipeline | "Numbers" >> beam.Create(range(PROBES)) | "Probe" >> beam.Map(task)

    return by_name(Runner(settings).run(build))


def labels(work):
    parts = load_manifest(work).parts
    return pa.concat_tables([pq.read_table(path) for _, path in sorted(parts.items())])


def test_they_leave_what_the_embedded_runner_leaves(plan, layout, three_blobs, tmp_path):
    start = layout.encoding.encode_prototypes(three_blobs.points[:5].astype(np.float64))
    here, there = WorkFolder(str(tmp_path / "here")), WorkFolder(str(tmp_path / "there"))
    all_passes(HERE, plan, layout, start, here)
    counters = all_passes(IN_PROCESSES, plan, layout, start, there)
    one, other = load_summary(here), load_summary(there)
    assert (one.rows, one.weight, one.moments) == (other.rows, other.weight, other.moments)
    assert one.sample.rows.tobytes() == other.sample.rows.tobytes()
    mine, theirs = latest_state(here).trials[0], latest_state(there).trials[0]
    assert mine.iterations == ITERATIONS
    assert (mine.costs, mine.status) == (theirs.costs, theirs.status)
    assert mine.prototypes.tobytes() == theirs.prototypes.tobytes()
    assert labels(here).equals(labels(there))
    assert len(labels(there)) == 600
    assert list(SharedFiles.write(there, plan.files).footers(there)) == list(plan.footers)
    blocks = counters["blocks_by_worker"]
    assert sum(blocks.values()) == ITERATIONS * len(plan.blocks)
    assert os.getpid() not in {int(worker.rpartition(":")[2]) for worker in blocks}
    reports = [json.loads(path.read_text()) for path in (tmp_path / "there/probes").iterdir()]
    assert [report["problem"] for report in reports] == [None] * PROBES
    assert os.getpid() not in {report["pid"] for report in reports}


def test_a_data_error_in_one_is_found_again():
    with pytest.raises(DataError) as caught:
        Runner(IN_PROCESSES).run(lambda p: p | beam.Create(range(9)) | beam.Map(fail_at_three))
    assert str(caught.value) == MESSAGE
