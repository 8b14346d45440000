"""Adding up what blocks give: in a bundle by threads, across bundles by a combiner.

Bundles are summed before the combiner sees them, under the one key ONLY: `CombineGlobally` would
add the key itself, by four more transforms for every iteration.

The values are small and frozen, with a `zero` and a `+` that is associative and commutative to
the bit, so neither the threads nor the runner can change the sum.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from kmeans_tf.runtime import configure
from pipeline.passes.counters import TENSORFLOW_STARTS, count
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.lost_channel import watch_beams_own

ONLY = 0


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The process's pool: threads outlive the bundles, which are short.

    The cache is what makes it one a process, and so what it does besides happen once: TensorFlow
    is configured before its first use, and the start is counted.
    """
    configure(threads)
    count(TENSORFLOW_STARTS)
    watch_beams_own()
    return ThreadPoolExecutor(threads)


class SumBlocks(beam.DoFn):
    """Adds up `tasks` over a bundle's blocks and emits (ONLY, sum), if there were any tasks.

    A subclass gives `tasks`: callables without arguments, each returning a value that can be
    added. They run on a pool of threads, a bounded number ahead.
    """

    def __init__(self, threads: int, heartbeat: Heartbeat):
        self.threads = threads
        self.heartbeat = heartbeat

    def tasks(self, block: Any, *side_inputs: Any) -> Iterable[Callable[[], Any]]:
        raise NotImplementedError

    def start_bundle(self) -> None:
        self._running: deque[Future] = deque()
        self.total: Any = None

    def process(self, block: Any, *side_inputs: Any) -> None:
        self.heartbeat.began(block)
        for task in self.tasks(block, *side_inputs):
            while len(self._running) >= self.threads:  # the next is read meanwhile
                self._add(self._running.popleft())
            self._running.append(_pool(self.threads).submit(task))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._running:
            self._add(self._running.popleft())
        if self.total is not None:
            window = GlobalWindow()
            yield WindowedValue((ONLY, self.total), window.max_timestamp(), (window,))

    def _add(self, future: Future) -> None:
        value = future.result()
        self.heartbeat.did_a_task()
        self.total = value if self.total is None else self.total + value


class Sum(beam.CombineFn):
    """Adds values with `+`; the sum of none is None."""

    def create_accumulator(self) -> Any:
        return None

    def add_input(self, total: Any, value: Any) -> Any:
        return value if total is None else total + value

    def merge_accumulators(self, totals: Iterable[Any]) -> Any:
        total = None
        for value in totals:
            if value is not None:
                total = self.add_input(total, value)
        return total

    def extract_output(self, total: Any) -> Any:
        return total
