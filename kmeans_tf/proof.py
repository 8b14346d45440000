"""A start that was trained on a sample, proven on all rows.

The first iteration knows the cost of all rows. Where it is more than the sample said, the sample
missed something: the start is trained again, on the sample together with points that were drawn in
proportion to their cost, each weighted by one over how often it was to be expected in both.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kmeans_tf.assign import nearest
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import get_metric
from kmeans_tf.seeding import K_MEANS_PLUS_PLUS, initial_prototypes
from kmeans_tf.start import WeightedPoints, optimism, trained_start
from kmeans_tf.state import TrainingOptions, Trial
from kmeans_tf.stats import ClusterStats
from kmeans_tf.summary import Summary

PROVEN = 1.05  # times the cost that the sample said


def judged(
    layout: SumLayout,
    options: TrainingOptions,
    trial: Trial,
    updated: Trial,
    stats: ClusterStats,
    summary: Callable[[], Summary],
    threads: int = 1,
    got_on: Callable[[], None] = lambda: None,
) -> Trial:
    """The trial after an iteration that compares its cost with the sample's.

    Args:
        layout: of the sums.
        options: how to train.
        trial: what the stats were made with; its proof is open.
        updated: the trial after its update, which stands if the start does.
        stats: of all rows, with the points that were drawn.
        summary: gives what the scan found.
        threads: how many train another start.
        got_on: called after each of its iterations.
    """
    proof = trial.proof
    assert proof
    proof = replace(proof, cost=updated.costs[-1])
    if updated.costs[-1] <= PROVEN * proof.expected_cost or proof.last:
        # Where the start is another than the last iteration's, so is the cost.
        status = updated.status if proof.trainings == 1 else updated.stopped(options)
        return replace(updated, status=status, proof=replace(proof, open=False))
    both = _both_samples(layout, options, trial, stats, summary())
    metric, k = get_metric(options.metric), len(trial.prototypes)
    seed = proof.seed + proof.trainings
    begun = initial_prototypes(K_MEANS_PLUS_PLUS, metric, both.points, both.weights, k, seed)
    rows = int(stats.rows.sum())
    prototypes, cost = trained_start(layout, metric, both, begun, seed, rows, threads, got_on)
    expected_cost = cost * optimism(len(both.weights), k)
    return replace(
        updated,
        prototypes=prototypes,
        status=updated.stopped(options),
        relocated=(*updated.relocated[:-1], 0),
        proof=replace(proof, expected_cost=expected_cost, trainings=proof.trainings + 1),
    )


def _both_samples(
    layout: SumLayout,
    options: TrainingOptions,
    trial: Trial,
    stats: ClusterStats,
    summary: Summary,
) -> WeightedPoints:
    """The points of the scan's sample and those drawn by cost, standing for all rows together.

    A point of the first is there with the same chance as any other, and is to be expected in the
    second in proportion to its cost. Of the two estimates that this gives of everything, each
    point takes a mean in proportion to how often it was to be expected in either.
    """
    metric = get_metric(options.metric)
    first, second = WeightedPoints.of(layout.encoding, summary.sample), stats.drawn
    assert second and trial.proof
    first_chance = summary.sample.chance
    mean_weight = layout.total_weight / int(stats.rows.sum())

    def expected(points: np.ndarray) -> np.ndarray:
        _, costs = nearest(metric, points, trial.prototypes)
        chances = np.zeros(len(costs))  # of what costs nothing, even where all else was drawn
        np.multiply(costs, mean_weight * second.size_chance, out=chances, where=costs > 0)
        return np.minimum(1.0, chances)

    of_first = first.weights / (first_chance + expected(first.points))
    of_second = expected(second.rows)
    of_second *= second.weights / second.chances(trial.proof.seed) / (first_chance + of_second)
    return WeightedPoints(
        np.concatenate([first.points, second.rows]), np.concatenate([of_first, of_second])
    )
