"""k-means||: a start that draws its candidates from all rows (Bahmani et al. 2012)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import get_metric
from kmeans_tf.seeding import K_MEANS_PLUS_PLUS, initial_prototypes
from kmeans_tf.state import DRAWS, Oversampling, TrainingOptions, Trial
from kmeans_tf.stats import ClusterStats
from kmeans_tf.summary import Summary

PASSES = DRAWS + 1  # the last weighs the candidates


def first_candidate(
    points: np.ndarray, weights: np.ndarray, k: int, seed: int
) -> tuple[np.ndarray, Oversampling]:
    """One prototype (1, d), drawn from points (m, d) by their weights (m,)."""
    random = np.random.RandomState(seed % 2**32)
    place = random.choice(len(points), 1, p=weights / weights.sum())
    return points[place], Oversampling(seed, k)


def grown(
    layout: SumLayout,
    options: TrainingOptions,
    trial: Trial,
    updated: Trial,
    stats: ClusterStats,
    summary: Callable[[], Summary],
) -> Trial:
    """The trial after an iteration of k-means||: with more candidates, or with k prototypes.

    Args:
        layout: of the sums.
        options: how to train.
        trial: what the stats were made with.
        updated: the trial after its update, of which the costs are kept.
        stats: of all rows, with the points that were drawn.
        summary: gives what the scan found, asked for only where too few points were drawn.
    """
    growing = trial.oversampling
    assert growing
    if growing.draws_on:
        assert stats.drawn
        candidates = np.concatenate([trial.prototypes, stats.drawn.rows])
        return _continued(options, updated, candidates, replace(growing, draws=growing.draws + 1))
    weights = layout.join_weight(stats.weight)
    used = weights > 0
    points, weights, first = trial.prototypes[used], weights[used], None
    if len(points) < growing.k:  # equal rows of different weights were drawn
        sample, first = summary().sample, points
        points, weights = layout.encoding.encode(sample.rows).astype(np.float64), sample.weights
    metric = get_metric(options.metric)
    prototypes = initial_prototypes(
        K_MEANS_PLUS_PLUS, metric, points, weights, growing.k, growing.seed, first
    )
    return _continued(options, updated, prototypes, None)


def _continued(
    options: TrainingOptions, trial: Trial, prototypes: np.ndarray, growing: Oversampling | None
) -> Trial:
    return replace(
        trial,
        prototypes=prototypes,
        optimizer_state=(),
        status=trial.stopped(options),
        relocated=(*trial.relocated[:-1], 0),
        oversampling=growing,
    )
