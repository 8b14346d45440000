"""What an iteration costs, as arithmetic: from constants to seconds by rows, d, k and workers.

Nothing is measured here. `Costs` are of one core and say what the job's own code takes; `Runner`
says what Beam adds. A worker's share is that of the busiest one, and what one process does alone
(the update, and adding what is not cut in slices) counts whole.
"""

from dataclasses import dataclass

from kmeans_tf.memo import Memo
from kmeans_tf.points import chunk_rows
from pipeline.passes.blocks import MOST_RANGES
from pipeline.passes.parcels import INLINE_BYTES
from pipeline.passes.train import SLICE_BYTES

_SUM = 8  # bytes of a number in the sums, and in the state


@dataclass(frozen=True)
class Costs:
    """Seconds on one core.

    Attributes:
        read_file, read_row, read_value: of a file, a row and a feature of a row, from Parquet to
            float64.
        encode: of a feature of a row, to a point.
        product, score: of a row compared anew, for each feature of each prototype and for each
            prototype.
        add: of a feature of a row that is added to the sums.
        keep: of a row, whatever is done with it.
        update: of a feature of a prototype, to its next place.
        write, fetch, join: of a byte written to the work folder, read from it, and read and added.
        crowded: how much longer a core takes while all of the machine's work.
    """

    read_file: float
    read_row: float
    read_value: float
    encode: float
    product: float
    score: float
    add: float
    keep: float
    update: float
    write: float
    fetch: float
    join: float
    crowded: float


@dataclass(frozen=True)
class Runner:
    """What Beam adds, in seconds.

    Attributes:
        launch: of a job.
        iteration: of an iteration, however many workers there are.
        worker: of an iteration, for each worker.
        carry: of a byte of sums that travels itself.
        restarts: whether each job has new worker processes, which know no block.
    """

    launch: float
    iteration: float
    worker: float
    carry: float
    restarts: bool = False


@dataclass(frozen=True)
class Job:
    """What is clustered.

    Attributes:
        rows, d, k: n, d and k.
        files: that the rows lie in.
        compared: the share of the rows that are compared anew, though they were before.
        group_rows: of a row group, which is a block of its own where it is larger than a chunk.
    """

    rows: int
    d: int
    k: int
    files: int
    compared: float = 1.0
    group_rows: int = 0


@dataclass(frozen=True)
class Workers:
    """Who does it.

    Attributes:
        count: worker processes.
        threads: of each.
        cores: of all machines together.
        cache: bytes that each may keep.
        busiest: the part of the rows that one of them has; None where they are shared out evenly.
    """

    count: int
    threads: int
    cores: int
    cache: int = 512 << 20
    busiest: float | None = None


@dataclass(frozen=True)
class Seconds:
    """Of an iteration, by what takes them."""

    launch: float
    runner: float
    read: float
    step: float
    sums: float
    state: float

    @property
    def total(self) -> float:
        return sum(vars(self).values())

    @property
    def largest(self) -> str:
        """What holds the iteration where it is."""
        return max(vars(self), key=lambda name: getattr(self, name))


def blocks(job: Job) -> int:
    """How many parts the rows can be shared out in."""
    rows = max(job.group_rows, chunk_rows(job.d))
    return min(MOST_RANGES, -(-job.rows // rows))


def share(job: Job, workers: Workers) -> float:
    """The busiest worker's part of the rows."""
    parts = blocks(job)
    return workers.busiest or -(-parts // workers.count) / parts


def kept(job: Job, workers: Workers) -> float:
    """The part of the rows that stays in the workers' caches."""
    points = 4 * (job.d + 1)
    rows = job.rows * share(job, workers)
    return min(1.0, workers.cache / (rows * Memo.nbytes(1, points) + rows * points))


def iteration(
    job: Job, workers: Workers, costs: Costs, runner: Runner, *, known: bool = True
) -> Seconds:
    """An iteration in the middle of a job.

    Args:
        known: whether the workers have seen the blocks before.
    """
    read, step = _rows(job, workers, costs, kept(job, workers) if known else 0.0)
    return Seconds(
        launch=0.0,
        runner=runner.iteration + runner.worker * workers.count,
        read=read,
        step=step,
        sums=_sums(job, workers, costs, runner),
        state=_state(job, workers, costs),
    )


def first_iteration(job: Job, workers: Workers, costs: Costs, runner: Runner) -> Seconds:
    """The first of a later job: the workers may know the blocks from the job before."""
    seconds = iteration(job, workers, costs, runner, known=not runner.restarts)
    return Seconds(**vars(seconds) | {"launch": runner.launch})


def mean_iteration(
    job: Job, workers: Workers, costs: Costs, runner: Runner, per_job: int
) -> Seconds:
    """What an iteration of a long training costs, with its share of a job's start."""
    first = first_iteration(job, workers, costs, runner)
    others = iteration(job, workers, costs, runner)
    both = zip(vars(first).values(), vars(others).values(), strict=True)
    return Seconds(*((a + (per_job - 1) * b) / per_job for a, b in both))


def _rows(job: Job, workers: Workers, costs: Costs, known: float) -> tuple[float, float]:
    """Seconds of reading that nothing hides, and of the step.

    One thread of a worker reads what the others work on.
    """
    part = share(job, workers)
    rows = job.rows * part
    fresh = 1 - known
    reading = fresh * (
        costs.read_file * job.files * part + rows * (costs.read_row + costs.read_value * job.d)
    )
    compared = fresh + known * job.compared
    added = fresh + known * (not _keeps_sums(job))
    working = rows * (
        fresh * costs.encode * job.d
        + compared * (costs.product * job.d + costs.score) * job.k
        + added * costs.add * job.d
        + costs.keep
    )
    cores = workers.cores / workers.count
    threads = min(workers.threads + (reading > 0), cores)
    if min(workers.count * (workers.threads + (reading > 0)), workers.cores) > 1:
        reading, working = reading * costs.crowded, working * costs.crowded
    step = working / min(workers.threads, cores)
    both = max(step, reading / min(1, cores), (reading + working) / threads)
    return both - step, step


def _keeps_sums(job: Job) -> bool:
    """Whether a chunk's sums are kept with it, so that only what moves is added."""
    points = 4 * (job.d + 1) * chunk_rows(job.d)
    return _SUM * job.k * job.d <= Memo.nbytes(0, points)


def _sums(job: Job, workers: Workers, costs: Costs, runner: Runner) -> float:
    size = _SUM * job.k * (job.d + 2)
    if size <= INLINE_BYTES:
        return runner.carry * size * workers.count
    slices = min(job.k, -(-_SUM * job.k * job.d // SLICE_BYTES))
    writing = costs.write * size / _at_once(workers, workers.count) * workers.count
    if slices == 1 or workers.count == 1:
        return writing + costs.join * size * workers.count
    adders = min(slices, workers.count)
    parts = -(-slices // adders) / slices  # of the sums, that the busiest adder has
    adding = (costs.join * workers.count + costs.write) * size * parts
    return writing + adding * adders / _at_once(workers, adders) + costs.join * size


def _state(job: Job, workers: Workers, costs: Costs) -> float:
    numbers = job.k * job.d
    fetching = costs.fetch * _SUM * numbers
    others = workers.count - 1  # the one that wrote it has it
    fetched = others and fetching * others / _at_once(workers, others)
    return costs.update * numbers + costs.write * _SUM * numbers + fetched


def _at_once(workers: Workers, processes: int) -> float:
    """How many of so many processes have a core at a time."""
    return min(processes, workers.cores)
