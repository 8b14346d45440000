"""What Beam itself costs an iteration: the job's round beside the plain chain anyone would write.

Both run on the embedded runner with 100 block references and no work in a block, so that what is
left is building, running and passing the state on. The job's round writes its checkpoints too.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from benchmarks.processes import held, table
from kmeans_tf import TrainingOptions, TrainingState, Trial
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import get_metric
from kmeans_tf.runtime import load
from kmeans_tf.stats import ClusterStats, IterationStats
from kmeans_tf.summary import Summary
from pipeline.command_line.options import RunOptions
from pipeline.data.blocks import plan_blocks
from pipeline.data.columns import Columns
from pipeline.data.files import Footer, Footers
from pipeline.data.store import FileVersion
from pipeline.passes.sums import Task
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings
from pipeline.transforms import (
    BlockRef,
    Blocks,
    JobCache,
    Loader,
    SharedBlocks,
    Train,
    TrainSpec,
    WorkFolder,
    save_state,
)

BLOCKS = 100
ITERATIONS = 10
REPEATS = 5
_BAR = 0.5
_D, _K = 16, 64


PLAIN, JOB = "plain chain", "the job's round"


def measure() -> str:
    """Runs both in turn and returns a table of milliseconds an iteration."""
    medians = milliseconds()
    rows = [(name, f"{median:.0f} ms") for name, median in medians.items()]
    ratio = ("ratio", held(medians[JOB] / medians[PLAIN], most=_BAR))
    return table(("an iteration of", "median"), [*rows, ratio])


def milliseconds(repeats: int = REPEATS) -> dict[str, float]:
    """The median time of an iteration of each, which run in turn."""
    load()  # as it is by the time that a job trains; meanwhile nothing else gets on
    runs: dict[str, Callable[[], None]] = {PLAIN: _plain, JOB: _round}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append((time.perf_counter() - start) * 1e3 / ITERATIONS)
    return {name: statistics.median(of_name) for name, of_name in times.items()}


def _plain() -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        blocks = pipeline | beam.Create(range(BLOCKS)) | beam.Reshuffle()
        state = pipeline | "state" >> beam.Create([np.zeros((_K, _D))])
        for i in range(ITERATIONS):
            sums = (
                blocks
                | f"step{i}" >> beam.ParDo(_PlainStep(), beam.pvalue.AsSingleton(state))
                | f"sum{i}" >> beam.CombineGlobally(sum).without_defaults()
            )
            state = sums | f"update{i}" >> beam.Map(lambda total: total)


class _PlainStep(beam.DoFn):
    def process(self, block, state):
        yield state


def _round() -> None:
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(
            Loader(
                Columns(tuple(f"f{j}" for j in range(_D)), _D, False),
                _layout(),
                "sqeuclidean",
                False,
            ),
            TrainingOptions(tolerance=0.0, max_iterations=ITERATIONS + 1),
            WorkFolder(folder),
            JobCache("none", 2, 0),
        )
        state = TrainingState((Trial.start(np.zeros((_K, _D))),))

        footer = Footer(FileVersion("none", 0, 0), pa.schema([]), (1,) * BLOCKS)

        def build(pipeline: beam.Pipeline) -> None:
            ranges = SharedBlocks.write(spec.work, plan_blocks(Footers([footer]), 1)).ranges()
            blocks = pipeline | Blocks(ranges, spread=not settings.one_process)
            start = pipeline | beam.Create([save_state(spec.work, state)])
            _ = (blocks, start) | Train(spec, ITERATIONS, no_work, settings.one_process)

        settings = Settings(RunOptions())
        Runner(settings).run(build)


def _layout() -> SumLayout:
    rows = np.random.default_rng(0).normal(size=(100, _D))
    summary = Summary.of(rows, np.ones(100), np.ones(100, bool), seed=0, capacity=100)
    return SumLayout.fit(summary, get_metric("sqeuclidean"), standard=False, impute=False)


def no_work(spec: TrainSpec, state: TrainingState, block: BlockRef) -> Iterator[Task]:
    """One task for a block: stats that move the prototypes a little, so that none is skipped."""
    k, d = state.trials[0].prototypes.shape

    def add(total: IterationStats | None) -> IterationStats:
        total = total or IterationStats({0: ClusterStats.zero(k, 1, d)})
        total.clusters[0].rows += 1
        total.clusters[0].weight += 1
        total.clusters[0].sums += 1 + state.iteration
        return total

    yield add
