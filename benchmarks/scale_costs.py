"""The constants of `scale_model`, measured: the job's own code, in seconds of a core.

The processor's time is taken, not the clock's, so that other work on the machine changes little;
but by the clock for how cores crowd one another, where a thread may wait for what another holds.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.data import OUT, Case, make
from benchmarks.scale_model import Costs
from kmeans_tf import TrainingOptions, TrainingState, Trial, get_metric
from kmeans_tf.bounds import Drift
from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.points import Points
from kmeans_tf.runtime import configure, load
from kmeans_tf.scoring import comparisons
from kmeans_tf.stats import ClusterStats, IterationStats
from kmeans_tf.step import step
from kmeans_tf.summary import Summary
from kmeans_tf.update import update
from pipeline.data.names import ColumnNames
from pipeline.data.plan import Plan, make_plan
from pipeline.passes.archive import pack, unpack
from pipeline.passes.chunks import Chunk
from pipeline.passes.cores import cores as usable_cores
from pipeline.transforms import (
    Loader,
    WorkFolder,
)

# Few prototypes, many, and in many dimensions; then many files.
FEATURES = Case(2_000_000, 16, 64, 4)
MANY = Case(65_536, 256, 4352, 8, centres=1)
CASES = ((FEATURES, 8), (Case(262_144, 16, 1024, 4, centres=1), 3), (MANY, 4))
FILES = Case(200_000, 16, 8, 2_000)
METRIC = "sqeuclidean"
_SUMS = (4096, 256)  # k and d of sums that are written, read and added: 8 MB
_REPEATS = 5
_WORTH_CHOOSING = 0.8  # of the distances: where more are in doubt, the step finds all


@dataclass(frozen=True)
class Counted:
    """What took so many seconds: how often was done what each of some constants stands for."""

    counts: tuple[float, ...]
    seconds: float


def costs() -> tuple[Costs, dict[Case, list[float]]]:
    """The constants, and what share of a case's rows each iteration compared anew."""
    configure(usable_cores())
    load()
    alone = [_alone(case, iterations) for case, iterations in CASES]
    reads = [seen for case in alone for seen in case.reads] + [_read(FILES)[0]]
    product, score, add, keep = per_count([seen for case in alone for seen in case.steps])
    read_file, read_row, read_value = per_count(reads)
    (encode,) = per_count([seen for case in alone for seen in case.encodes])
    (updated,) = per_count([seen for case in alone for seen in case.updates])
    write, fetch, join = _bytes()
    found = Costs(
        read_file=read_file,
        read_row=read_row,
        read_value=read_value,
        encode=encode,
        product=product,
        score=score,
        add=add,
        keep=keep,
        update=updated,
        write=write,
        fetch=fetch,
        join=join,
        crowded=_crowded(CASES[0][0]),
    )
    return found, {case: one.compared for (case, _), one in zip(CASES, alone, strict=True)}


def per_count(seen: Sequence[Counted]) -> list[float]:
    """What each count costs, none below 0, so that the sum is near what was seen, relatively."""
    rows = np.array([np.array(one.counts) / one.seconds for one in seen])
    scale = rows.max(0)
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    return (found / scale).tolist()


@dataclass
class _Alone:
    """A training on one thread, by what was seen of it."""

    reads: list[Counted]
    encodes: list[Counted]
    steps: list[Counted]
    updates: list[Counted]
    compared: list[float]


def _alone(case: Case, iterations: int) -> _Alone:
    """Goes through some iterations as a worker does, one piece of work after the other."""
    read, chunks, layout = _read(case)
    seconds = _timed(lambda: [chunk.points() for chunk in chunks])
    result = _Alone([read], [Counted((case.n * case.d,), seconds)], [], [], [])
    prototypes = layout.encoding.encode_prototypes(np.load(case.start).astype(np.float64))
    state = TrainingState((Trial.start(prototypes),))
    options = TrainingOptions(tolerance=0.0, max_iterations=iterations + 1)
    step(layout, METRIC, state, chunks[0].points())  # the program is compiled
    for _ in range(iterations):
        rows, total = _steps(case, layout, state, chunks, result)
        result.compared.append(rows / case.n)
        start = time.process_time()
        after = update(layout, options, state, total, lambda: prototypes)
        result.updates.append(Counted((case.k * case.d,), time.process_time() - start))
        _steps(case, layout, state, chunks, result)  # where no prototype has moved
        state = after
    return result


def _steps(
    case: Case, layout: SumLayout, state: TrainingState, chunks: Sequence[Chunk], result: _Alone
) -> tuple[float, IterationStats]:
    """A step of every chunk: how many rows it compared, and its sums."""
    rows = sum(_compared(chunk, state.trials[0].prototypes) for chunk in chunks)
    first, total = not chunks[0].memo.trials, IterationStats.zero()
    start = time.process_time()
    for chunk in chunks:
        step(layout, METRIC, state, chunk.points(), total, chunk.memo)
    seconds = time.process_time() - start
    added = case.n if first or chunks[0].memo.trials[0].stats is None else 0
    counts = (rows * case.d * case.k, rows * case.k, added * case.d, case.n)
    result.steps.append(Counted(counts, seconds))
    return rows, total


def _read(case: Case) -> tuple[Counted, list[Chunk], SumLayout]:
    """Reads a table, with one thread where its files are large."""
    plan = plan_of(case)
    loader = loader_of(plan)
    chunks: list[Chunk] = []
    seconds = _timed(lambda: chunks.extend(c for b in plan.blocks for c in loader.chunks(b)))
    return Counted((case.files, case.n, case.n * case.d), seconds), chunks, loader.layout


def plan_of(case: Case) -> Plan:
    """The table's plan, its footers read."""
    names = ColumnNames(("vector",) if case.is_list else tuple(f"f{j:03d}" for j in range(case.d)))
    return make_plan(str(make(case)), names)


def loader_of(plan: Plan) -> Loader:
    """How the plan's rows become points."""
    return Loader(plan.columns, layout(plan.columns.dimension), METRIC, False, plan.store)


def layout(d: int) -> SumLayout:
    """Of the tables' rows, which are normal, and by no means beyond 16."""
    rows = np.random.default_rng(0).normal(size=(1000, d)) * 4
    summary = Summary.of(rows, np.ones(1000), np.ones(1000, bool), seed=0, capacity=1000)
    return SumLayout.fit(summary, get_metric(METRIC), standard=False, impute=False)


def _compared(chunk: Chunk, prototypes: np.ndarray) -> float:
    """How many rows a step will compare, each counted by its share of the prototypes."""
    rows, known = chunk.points().rows, chunk.memo.trials.get(0)
    if known is None:
        return rows
    drift = Drift.between(known.bounded.prototypes, prototypes)
    doubt = known.bounded.moved(prototypes, drift)[1]
    doubtful = float(comparisons(doubt).sum() / len(prototypes))
    return rows if doubtful > _WORTH_CHOOSING * rows else doubtful


def _bytes() -> tuple[float, float, float]:
    """Seconds to write a byte of sums, to read one, and to read and add one."""
    k, d = _SUMS
    sums = ClusterStats.zero(k, 1, d)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        work = WorkFolder(str(Path(folder).absolute()))
        path = work.file("sums")

        def read() -> ClusterStats:
            return unpack(work.store.read(path), [ClusterStats], path)

        write = _median(lambda: work.store.write(path, pack(sums, path)))
        fetch = _median(read)
        join = _median(lambda: read() + sums)
    size = sums.sums.nbytes
    return write / size, fetch / size, join / size


def _crowded(case: Case) -> float:
    """How much longer a step takes while all cores are at one, by the clock."""
    cores = usable_cores()
    _, chunks, layout = _read(case)
    prototypes = layout.encoding.encode_prototypes(np.load(case.start).astype(np.float64))
    state = TrainingState((Trial.start(prototypes),))
    points = [chunk.points() for chunk in chunks[:cores]]

    def steps(of: Points) -> None:
        for _ in range(_REPEATS):
            step(layout, METRIC, state, of, memo=Memo())

    with ThreadPoolExecutor(cores) as pool:
        alone = _median(lambda: list(map(steps, points)), time.perf_counter)
        together = _median(lambda: list(pool.map(steps, points)), time.perf_counter)
    return max(1.0, together * cores / alone)


def _median(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    return statistics.median(_timed(work, clock) for _ in range(_REPEATS))


def _timed(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    work()
    return clock() - start
