"""Adding up what blocks give: in a bundle by threads, across bundles by a combiner.

Bundles are summed before the combiner sees them, under the one key ONLY: `CombineGlobally` would
add the key itself, by four more transforms for every iteration.

The values have a `zero` and a `+` that is associative and commutative to the bit, so neither the
threads nor the runner can change the sum. They travel as parcels, for they may be large.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, reduce
from operator import add
from queue import SimpleQueue
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from kmeans_tf.runtime import load_ahead
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.counters import TENSORFLOW_STARTS, count
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.loading import loading
from pipeline.passes.lost_channel import watch_beams_own
from pipeline.passes.parcels import send
from pipeline.passes.sampler import sample_often

ONLY = 0


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """The process's pool: threads outlive the bundles, which are short.

    The cache is what makes it one a process, and so what it does besides happen once: TensorFlow
    is loaded while the first blocks are read, and the start is counted.
    """
    load_ahead(threads, loading)
    count(TENSORFLOW_STARTS)
    watch_beams_own()
    sample_often()
    return ThreadPoolExecutor(threads)


Task = Callable[[Any], Any]


class PlainDoFn(beam.DoFn):
    """A DoFn that has neither state nor timers.

    Beam looks for these in the signature of every method that a DoFn lists, seven times for each
    in a graph, which was a third of what an iteration cost. So it lists what Beam calls.
    """

    def __dir__(self) -> list[str]:
        return ["finish_bundle", "process", "start_bundle"]


class SumBlocks(PlainDoFn):
    """Adds up what there is to do for a bundle's elements, and emits the sum.

    A subclass gives `tasks`: each is called with what was added before, or None, and returns it
    with more. A pool of threads runs them, as many at once as there are threads, each adding to a
    total of its own.
    """

    def __init__(self, heartbeat: Heartbeat, threads: int):
        self.heartbeat, self.threads = heartbeat, threads

    @property
    def work(self) -> WorkFolder:
        """Where workers leave what they share."""
        return self.heartbeat.work

    def tasks(self, element: Any, *side_inputs: Any) -> Iterable[Task]:
        raise NotImplementedError

    def sent(self, total: Any) -> Iterable[tuple[int, Any]]:
        """What a bundle emits of its total, which is None where there was nothing to do."""
        return [] if total is None else [(ONLY, send(self.work, self.work.sums, total))]

    def start_bundle(self) -> None:
        self._running = 0
        self._done: SimpleQueue[Future] = SimpleQueue()
        self._totals: list[Any] = []  # of the threads that are idle

    def process(self, element: Any, *side_inputs: Any) -> None:
        for task in self.tasks(element, *side_inputs):
            if self._running == self.threads:  # the next was read meanwhile
                self._wait()
            total = self._totals.pop() if self._totals else None
            running = thread_pool(self.threads).submit(task, total)
            running.add_done_callback(self._done.put)
            self._running += 1

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._running:
            self._wait()
        totals, self._totals = self._totals, []  # Beam keeps this, as long as the job is
        total = reduce(add, totals) if totals else None
        del totals
        window = GlobalWindow()
        for element in self.sent(total):
            yield WindowedValue(element, window.max_timestamp(), (window,))

    def _wait(self) -> None:
        """Takes the total of the first thread that is done."""
        self._totals.append(self._done.get().result())
        self._running -= 1
        self.heartbeat.did_a_task()


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
