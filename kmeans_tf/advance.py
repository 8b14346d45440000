"""An iteration's end: the next state, with what the starts of the trials still need."""

from collections.abc import Callable

import numpy as np

from kmeans_tf.layout import SumLayout
from kmeans_tf.oversampling import grown
from kmeans_tf.proof import judged
from kmeans_tf.start import WeightedPoints
from kmeans_tf.state import TrainingOptions, TrainingState
from kmeans_tf.stats import IterationStats
from kmeans_tf.summary import Summary
from kmeans_tf.update import update


def advance(
    layout: SumLayout,
    options: TrainingOptions,
    state: TrainingState,
    stats: IterationStats,
    summary: Callable[[], Summary],
    threads: int = 1,
    got_on: Callable[[], None] = lambda: None,
) -> TrainingState:
    """The state after one more iteration.

    Args:
        layout, options, state, stats: see `update`.
        summary: gives what the scan found, asked for only where its sample is needed.
        threads: how many there are for a start that is trained again, which may take minutes.
        got_on: called now and then meanwhile.
    """

    def sample_points() -> np.ndarray:
        return WeightedPoints.of(layout.encoding, summary().sample).points

    after = update(layout, options, state, stats, sample_points)
    changed = {}
    for index, trial in state.running().items():
        new, clusters = after.trials[index], stats.clusters[index]
        if trial.oversampling:
            changed[index] = grown(layout, options, trial, new, clusters, summary)
        elif trial.proof and trial.proof.open:
            changed[index] = judged(layout, options, trial, new, clusters, summary, threads, got_on)
    return after.with_trials(changed)
