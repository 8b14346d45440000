"""What it takes to make a round over 1,000,000 row groups, in a process of its own."""

import json
import tempfile
import time

import apache_beam as beam
import numpy as np
import pyarrow as pa

from benchmarks.processes import held, run_module, table
from kmeans_tf import TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.layout import SumLayout
from kmeans_tf.summary import Summary
from pipeline.data.blocks import plan_blocks
from pipeline.data.columns import resolve_columns
from pipeline.data.files import Footer, Footers
from pipeline.data.store import FileVersion, Store
from pipeline.transforms import (
    Blocks,
    ColumnNames,
    JobCache,
    Loader,
    SharedBlocks,
    Train,
    TrainSpec,
    WorkFolder,
    save_state,
)

FILES, GROUPS, GROUP_ROWS, D, K = 10_000, 100, 5_000, 16, 64
CHUNK_ROWS, ITERATIONS = 1 << 16, 20
_SECONDS, _GRAPH_MB, _PEAK_GB = 2.0, 10.0, 1.5


def measure() -> str:
    """Returns a table of one row."""
    finished = run_module("benchmarks.rounds")
    told = finished.json
    header = (
        *("files", "row groups", "blocks", "to plan, s", "to construct, s"),
        *("graph, MB", "memory, peak, GB"),
    )
    seconds = f"{told['plan']:.2f}", held(told["construct"], most=_SECONDS)
    sizes = held(told["graph"] / 1e6, most=_GRAPH_MB), held(finished.peak / 1e9, most=_PEAK_GB)
    counts = (f"{told[name]:,}" for name in ("files", "groups", "blocks"))
    return table(header, [(*counts, *seconds, *sizes)])


def main() -> None:
    """Plans the blocks and makes the graph of a round; prints what that took."""
    schema = pa.schema([(f"f{j}", pa.float32()) for j in range(D)])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        footers = Footers(
            Footer(FileVersion(f"/data/{i:06d}.parquet", 1, 1), schema, (GROUP_ROWS,) * GROUPS)
            for i in range(FILES)
        )
        work, blocks = WorkFolder(folder), plan_blocks(footers, CHUNK_ROWS)
        shared = SharedBlocks.write(work, blocks)
        planned = time.perf_counter()
        spec, state = _round(work, footers)
        begun = time.perf_counter()
        pipeline = beam.Pipeline("FnApiRunner")
        ranges = pipeline | Blocks(shared.ranges())
        first = pipeline | "Start" >> beam.Create([save_state(work, state)])
        _ = (ranges, first) | Train(spec, ITERATIONS)
        graph = pipeline.to_runner_api().ByteSize()
        constructed = time.perf_counter()
    told = {"files": FILES, "groups": FILES * GROUPS, "blocks": len(blocks), "graph": graph}
    told |= {"plan": planned - start, "construct": constructed - begun}
    print(json.dumps(told))


def _round(work: WorkFolder, footers: Footers) -> tuple[TrainSpec, TrainingState]:
    """How to train, and from where."""
    rows, metric = np.random.default_rng(0).normal(size=(1000, D)), get_metric("sqeuclidean")
    summary = Summary.of(rows, np.ones(1000), np.ones(1000, bool), seed=0, capacity=1000)
    layout = SumLayout.fit(summary, metric, standard=False, impute=False)
    columns = resolve_columns(Store(), footers, ColumnNames())
    loader = Loader(columns, layout, metric.name, drop_bad=False)
    trial = Trial.start(layout.encoding.encode_prototypes(rows[:K]))
    spec = TrainSpec(loader, TrainingOptions(), work, JobCache(work.path, 2), 1)
    return spec, TrainingState((trial,))


if __name__ == "__main__":
    main()
