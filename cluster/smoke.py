"""Five k-means iterations in one Beam graph: does this runner truly run such a job, and where?

The chain has the shape of the real job and none of its parts: prototypes go as a side input
into a ParDo over blocks of points, sums are combined globally, new prototypes come out. NumPy
computes the same in this process. The answer also lists who did the work.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import grpc
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from cluster.home import ClusterError, folder, write

ITERATIONS = 5
BLOCKS = 16
POINTS = 500
FEATURES = 4
PROTOTYPES = 5
# Sums are added in whatever order the workers finish.
TOLERANCE = 1e-9

Worker = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """The prototypes (k, d) of a run, the (host, pid) of its workers, and its wall time."""

    prototypes: np.ndarray
    workers: frozenset[Worker]
    seconds: float


@dataclass(frozen=True)
class Sums:
    """Per-prototype sums (k, d) and counts (k,) of points, and who added them up."""

    sums: np.ndarray
    counts: np.ndarray
    workers: frozenset[Worker]

    @classmethod
    def zero(cls) -> "Sums":
        return cls(np.zeros((PROTOTYPES, FEATURES)), np.zeros(PROTOTYPES), frozenset())

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.sums + other.sums, self.counts + other.counts, self.workers | other.workers
        )


@dataclass(frozen=True)
class State:
    """What goes from one iteration to the next: prototypes (k, d) and all workers so far."""

    prototypes: np.ndarray
    workers: frozenset[Worker] = frozenset()

    def moved(self, total: Sums) -> "State":
        """The next state: means of the points, an empty cluster's prototype left in place."""
        means = total.sums / np.maximum(total.counts, 1)[:, None]
        prototypes = np.where(total.counts[:, None] > 0, means, self.prototypes)
        return State(prototypes, self.workers | total.workers)


def block(seed: int) -> np.ndarray:
    """The points (n, d) of one block, the same in every process."""
    generator = np.random.default_rng(seed)
    centres = generator.integers(0, PROTOTYPES, size=POINTS)
    return generator.normal(size=(POINTS, FEATURES)) + 10.0 * centres[:, None]


def first_state() -> State:
    """Prototypes far enough apart that no two points argue about a tie."""
    return State(np.random.default_rng(0).normal(size=(PROTOTYPES, FEATURES)) * 10.0)


def assign(seed: int, state: State) -> Sums:
    """One block's sums, seen from the given prototypes."""
    points = block(seed)
    distances = ((points[:, None, :] - state.prototypes[None]) ** 2).sum(-1)
    chosen = np.eye(PROTOTYPES)[distances.argmin(1)]
    worker = (socket.gethostname(), os.getpid())
    return Sums(chosen.T @ points, chosen.sum(0), frozenset({worker}))


class AddUp(beam.CombineFn):
    """Sums of blocks into the sums of all."""

    def create_accumulator(self) -> Sums:
        return Sums.zero()

    def add_input(self, accumulator: Sums, element: Sums) -> Sums:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        return sum(accumulators, Sums.zero())

    def extract_output(self, accumulator: Sums) -> Sums:
        return accumulator


class Iteration(beam.PTransform):
    """blocks, state → ParDo with the state as side input → CombineGlobally → next state."""

    def __init__(self, state: beam.PCollection):
        super().__init__()
        self.state = state

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        state = beam.pvalue.AsSingleton(self.state)
        return (
            blocks
            | "Assign" >> beam.Map(assign, state)
            | "AddUp" >> beam.CombineGlobally(AddUp())
            | "Move" >> beam.Map(lambda total, state: state.moved(total), state)
        )


def write_state(state: State, path: str) -> None:
    """Leaves the last state where the driver, on the same machine, finds it."""
    workers = sorted(state.workers)
    text = json.dumps({"prototypes": state.prototypes.tolist(), "workers": workers})
    write(Path(path), text)


def expected() -> np.ndarray:
    """The prototypes (k, d) that NumPy alone arrives at."""
    state = first_state()
    for _ in range(ITERATIONS):
        state = state.moved(sum((assign(seed, state) for seed in range(BLOCKS)), Sums.zero()))
    return state.prototypes


def run(arguments: Sequence[str]) -> Answer:
    """Runs the chain with the given Beam options and reads back what it left.

    Raises:
      ClusterError: the job failed, or no job server answered.
    """
    path = folder("smoke") / f"{uuid.uuid4().hex}.json"
    pipeline = beam.Pipeline(options=PipelineOptions(list(arguments)))
    build_graph(pipeline, path)
    began = time.monotonic()
    try:
        pipeline.run().wait_until_finish()
    except grpc.RpcError as error:
        raise ClusterError(f"the job server does not answer: {error.details()}") from error
    except RuntimeError as error:
        raise ClusterError(f"the job failed: {str(error).splitlines()[0]}") from error
    seconds = time.monotonic() - began
    found = json.loads(path.read_text())
    workers = frozenset((host, pid) for host, pid in found["workers"])
    return Answer(np.array(found["prototypes"]), workers, seconds)


def build_graph(pipeline: beam.Pipeline, path: Path) -> None:
    """Puts all iterations into one pipeline whose last state goes to a file."""
    blocks = pipeline | "Blocks" >> beam.Create(range(BLOCKS))
    state = pipeline | "FirstState" >> beam.Create([first_state()], reshuffle=False)
    for i in range(ITERATIONS):
        state = blocks | f"Iteration{i}" >> Iteration(state)
    _ = state | "Write" >> beam.Map(write_state, str(path))


def check(arguments: Sequence[str], least_workers: int) -> Answer:
    """Runs the chain and judges it.

    Raises:
      ClusterError: another answer than NumPy's, the driver among the workers, or too few of them.
    """
    answer = run(arguments)
    if not np.allclose(answer.prototypes, expected(), rtol=TOLERANCE, atol=0):
        raise ClusterError(f"wrong answer: {answer.prototypes} where NumPy has {expected()}")
    if (socket.gethostname(), os.getpid()) in answer.workers:
        raise ClusterError("the driver itself was among the workers")
    if len(answer.workers) < least_workers:
        raise ClusterError(f"{least_workers} workers expected, found {sorted(answer.workers)}")
    return answer
