"""What a runner carries between processes is small, however large the tables and the models are."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.worker.data_plane import ClosableOutputStream, InMemoryDataChannel

from kmeans_tf import Model, TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.layout import SumLayout
from kmeans_tf.sample import sample_capacity
from kmeans_tf.state import Proof
from pipeline.data.blocks import plan_blocks
from pipeline.data.files import Footer, Footers
from pipeline.data.store import FileVersion
from pipeline.passes.checkpoint import latest_state
from pipeline.passes.train import slices_for
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

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
MB = 1 << 20


@pytest.fixture
def carried(monkeypatch):
    """How many bytes each bundle sent out of one of its transforms."""
    sizes: list[int] = []
    output_stream = InMemoryDataChannel.output_stream

    def measured(self, instruction_id, transform_id):
        stream = output_stream(self, instruction_id, transform_id)
        assert isinstance(stream, ClosableOutputStream)
        close = stream._close_callback
        stream._close_callback = lambda data: (sizes.append(len(data)), close(data))
        return stream

    monkeypatch.setattr(InMemoryDataChannel, "output_stream", measured)
    return sizes


def graph_bytes(pipeline: beam.Pipeline) -> int:
    return len(pipeline.to_runner_api().SerializeToString())


@pytest.mark.parametrize(("n", "d", "k"), [(1500, 4096, 64), (9000, 512, 8192)])
def test_wide_rows_and_many_prototypes_stay_behind(tmp_path, carried, n, d, k):
    """Also a sample drawn by cost, in the first iteration."""
    rows = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    lists = pa.FixedSizeListArray.from_arrays(rows.ravel(), d)
    pq.write_table(pa.table({"v": lists}), tmp_path / "t.parquet", row_group_size=n // 3)
    plan = make_plan(str(tmp_path / "t.parquet"), ColumnNames(("v",)))
    work, metric = WorkFolder(str(tmp_path / "work")), get_metric("sqeuclidean")
    ranges = SharedBlocks.write(work, plan.blocks).ranges()
    cache = JobCache(work.path, 2, 0)
    columns, store, capacity = plan.columns, plan.store, sample_capacity(d, k)
    scan = ScanSpec(columns, metric.name, 0, capacity, False, False, work, store, cache)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | Blocks(ranges) | Scan(scan)
    summary = load_summary(work)
    layout = SumLayout.fit(summary, metric, standard=False, impute=False)
    prototypes = layout.encoding.encode_prototypes(rows[:k].astype(np.float64))
    trial = Trial(prototypes, np.arange(k, dtype=np.int32), proof=Proof(0, np.inf))
    checkpoint = save_state(work, TrainingState((trial,)))
    loader = Loader(columns, layout, metric.name, drop_bad=False)
    slices = slices_for(layout, metric, [k])
    spec = TrainSpec(loader, TrainingOptions(tolerance=0.0), work, cache, slices)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        start = pipeline | "Start" >> beam.Create([checkpoint])
        _ = (pipeline | Blocks(ranges), start) | Train(spec, 2)
        assert graph_bytes(pipeline) < MB
    model = Model.trained(layout.encoding, metric.name, prototypes, trial.labels)
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | Blocks(ranges) | Label(LabelSpec.of(plan, model, work, cache))
        assert graph_bytes(pipeline) < MB
    large = [summary.sample.rows.nbytes, prototypes.nbytes]
    assert max(large) > 4 * MB  # the premise
    assert len(carried) > 10
    assert max(carried) < MB
    assert load_manifest(work).all_rows == latest_state(work).trials[0].iterations / 2 * n == n


def test_a_round_over_a_million_row_groups_is_a_small_graph(tmp_path):
    footers = [
        Footer(FileVersion(f"/data/{i:06d}.parquet", 1, 1), pa.schema([]), (5000,) * 100)
        for i in range(10_000)
    ]
    table = plan_blocks(Footers(footers), 1 << 16)
    assert len(table.span_rows) == 1_000_000
    work = WorkFolder(str(tmp_path))
    shared = SharedBlocks.write(work, table)
    for number, ranges in enumerate((shared.ranges(), shared.ranges_of(1 << 16))):
        pipeline = beam.Pipeline(runner=IN_PROCESS)
        _ = pipeline | f"{number}" >> Blocks(ranges)
        assert graph_bytes(pipeline) < 2 * MB
        assert sum(each.stop - each.start for each in ranges) == len(table)
