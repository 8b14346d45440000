"""Training on points in memory."""

from collections.abc import Callable, Iterable

from kmeans_tf.layout import SumLayout
from kmeans_tf.points import Points
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.step import step

Advance = Callable[[TrainingState, IterationStats], TrainingState]


def train(
    layout: SumLayout,
    options: TrainingOptions,
    state: TrainingState,
    chunks: Iterable[Points],
    advance: Advance,
) -> TrainingState:
    """Iterates over all chunks until the state is done.

    Args:
        layout: of the sums.
        options: how to train.
        state: where to begin.
        chunks: the points, gone through again and again.
        advance: gives the next state from a state and its stats.
    """
    while not state.done and state.iteration < options.max_iterations:
        stats = IterationStats.zero()
        for chunk in chunks:
            step(layout, options.metric, state, chunk, stats)
        state = advance(state, stats)
    return state
