"""Training on points in memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add

from kmeans_tf.layout import SumLayout
from kmeans_tf.memo import Memo
from kmeans_tf.points import Points
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step

Advance = Callable[[TrainingState, IterationStats], TrainingState]


def train(
    layout: SumLayout,
    options: TrainingOptions,
    state: TrainingState,
    chunks: Sequence[Points],
    advance: Advance,
    threads: int = 1,
) -> TrainingState:
    """Iterates over all chunks until the state is done.

    Args:
        layout: of the sums.
        options: how to train.
        state: where to begin.
        chunks: the points, gone through again and again.
        advance: gives the next state from a state and its stats.
        threads: how many chunks are worked on at once.
    """
    remembered = [(chunk, Memo()) for chunk in chunks]

    def share(state: TrainingState, rest: Iterator[tuple[Points, Memo]]) -> IterationStats:
        total = IterationStats.zero()
        for chunk, memo in rest:
            step(layout, options.metric, state, chunk, total, memo)
        return total

    with ThreadPoolExecutor(threads) as pool:
        while not state.done and state.iteration < options.max_iterations:
            rest = iter(remembered)  # of a list: each thread gets the next that none has had
            shares = [pool.submit(share, state, rest) for _ in range(threads)]
            state = advance(state, reduce(add, [each.result() for each in shares]))
    return state
