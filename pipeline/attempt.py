"""One attempt at an output: what every pass of it shares."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import apache_beam as beam

from pipeline.checkpoint import WorkFolder
from pipeline.console import say
from pipeline.identity import Worker
from pipeline.plan import Plan
from pipeline.runner import Runner
from pipeline.store import Store


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block and says how long it took."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        say(f"{name}: {self.seconds[name]:.1f} s")


@dataclass
class Attempt:
    """What is read, where it is worked on, and who does the work.

    Attributes:
        store: the door to files.
        plan: the input.
        work: the folder of this configuration, with whatever an attempt before has left.
        runner: runs the passes.
        configuration: the options that the answer depends on.
        workers: the worker processes that answered before the first pass.
        clock: seconds by stage.
        counters: what the workers counted.
    """

    store: Store
    plan: Plan
    work: WorkFolder
    runner: Runner
    configuration: dict
    workers: Sequence[Worker] = ()
    clock: Clock = field(default_factory=Clock)
    counters: Counter = field(default_factory=Counter)

    def run(self, build: Callable[[beam.Pipeline], object]) -> None:
        """Runs one pass; see `Runner.run`."""
        self.counters += self.runner.run(build)
