"""The constants of `scale_model`, measured: what Beam adds, by empty iterations on a runner."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from benchmarks.data import OUT, Case
from benchmarks.overhead import no_work
from benchmarks.scale_costs import METRIC, Counted, layout, loader_of, per_count, plan_of
from benchmarks.scale_model import Costs, Runner
from kmeans_tf import TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.notices import native_notices_hidden
from kmeans_tf.runtime import load
from pipeline.command_line.options import RunOptions
from pipeline.data.blocks import BlockTable, plan_blocks
from pipeline.data.columns import Columns
from pipeline.data.files import Footer, Footers
from pipeline.data.store import FileVersion
from pipeline.passes.checkpoint import checkpoint_files, find_checkpoint
from pipeline.passes.counters import BLOCKS_BY_WORKER, by_name
from pipeline.passes.sums import Task
from pipeline.passes.train import BlockTasks, block_tasks, slices_for
from pipeline.runners.runner import Runner as BeamRunner
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

CACHE_MB = 512
_D, _SMALL, _LARGE = 16, 64, 7000  # sums of 9 KB, and of nearly as much as travels itself
_SMALL_BYTES, _LARGE_BYTES = (8 * k * (_D + 2) for k in (_SMALL, _LARGE))
_BLOCKS, _ITERATIONS = 16, 10


@dataclass(frozen=True)
class Empty:
    """Iterations of a job without rows, in seconds.

    Attributes:
        workers: how many there are.
        first: with the start of the job in it.
        small, large: a later one, with sums of 9 KB and 1 MB.
    """

    workers: int
    first: float
    small: float
    large: float


def settings_of(runner: str, options: Sequence[str]) -> Settings:
    """How jobs run on a runner that is up."""
    return Settings(RunOptions(runner=runner, beam=tuple(options))).connect()


def empty(settings: Settings, workers: int) -> Empty:
    """Two jobs in which there is nothing to do; the first warms workers that outlive it."""
    footer = Footer(FileVersion("none", 0, 0), pa.schema([]), (1,) * _BLOCKS)
    loader = Loader(Columns(("f",), _D, False), layout(_D), METRIC, False)
    table = plan_blocks(Footers([footer]), 1)
    large, small = (
        _train(settings, loader, table, np.zeros((k, _D)), _no_work, _ITERATIONS)[0]
        for k in (_LARGE, _SMALL)
    )
    return Empty(workers, small[0], *(statistics.median(times[1:]) for times in (small, large)))


def train(settings: Settings, case: Case, iterations: int, jobs: int) -> tuple[list[float], float]:
    """Goes over a table, with so many iterations in each of some jobs.

    Returns:
        seconds of each iteration, and the busiest process's part of the last job's blocks.
    """
    plan = plan_of(case)
    loader = loader_of(plan)
    start = loader.layout.encoding.encode_prototypes(np.load(case.start).astype(np.float64))
    return _train(settings, loader, plan.blocks, start, block_tasks, iterations, jobs)


def runner_of(seen: Sequence[Empty], costs: Costs, *, restarts: bool) -> Runner:
    """What a runner adds, by what was seen of it with several numbers of workers."""
    iteration, worker = per_count([Counted((1.0, one.workers), one.small) for one in seen])
    updates = (_LARGE - _SMALL) * _D * (costs.update + 8 * costs.write)
    carried = [
        (one.large - one.small - updates) / one.workers / (_LARGE_BYTES - _SMALL_BYTES)
        for one in seen
    ]
    return Runner(
        launch=statistics.median(one.first - one.small for one in seen),
        iteration=iteration,
        worker=worker,
        carry=max(0.0, statistics.median(carried)),
        restarts=restarts,
    )


def _train(
    settings: Settings,
    loader: Loader,
    table: BlockTable,
    prototypes: np.ndarray,
    tasks: BlockTasks,
    iterations: int,
    jobs: int = 1,
) -> tuple[list[float], float]:
    """See `train`. Times are those of the checkpoints, as `fit` tells them."""
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        work = WorkFolder(str(Path(folder).absolute()))
        spec = TrainSpec(
            loader=loader,
            options=TrainingOptions(tolerance=0.0, max_iterations=iterations * jobs + 1),
            work=work,
            cache=JobCache(work.path, settings.threads, CACHE_MB),
            slices=slices_for(loader.layout, get_metric(METRIC), [len(prototypes)]),
        )
        ranges = SharedBlocks.write(spec.work, table).ranges()
        one = settings.one_process
        save_state(spec.work, TrainingState((Trial.start(prototypes),)))

        def build(pipeline: beam.Pipeline) -> None:
            newest, _ = checkpoint_files(spec.work)[-1]
            start = find_checkpoint(spec.work, newest)
            blocks = pipeline | Blocks(ranges, spread=not one)
            states = pipeline | beam.Create([start])
            _ = (blocks, states) | Train(spec, iterations, tasks, gathered=one)

        for _ in range(jobs):
            with native_notices_hidden():  # of worker processes
                counters = BeamRunner(settings).run(build)
        times = np.diff([file.modified for _, file in checkpoint_files(spec.work)]) / 1e9
        return times.tolist(), _busiest(counters)


def _busiest(counters: Counter) -> float:
    """The largest part of the blocks that one process had; 1 where there was none."""
    loads = by_name(counters).get(BLOCKS_BY_WORKER, {})
    return max(loads.values()) / sum(loads.values()) if isinstance(loads, dict) and loads else 1.0


def _no_work(spec: TrainSpec, state: TrainingState, block: BlockRef) -> Iterator[Task]:
    """Waits for TensorFlow as any work does."""
    load()
    return no_work(spec, state, block)
