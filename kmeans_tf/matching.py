"""Clusters of one training matched to those of an earlier one, so that a label outlives a night.

A matching is one to one, and of least total distance: an assignment problem (Kuhn, "The Hungarian
method for the assignment problem", 1955). Distances are those that the earlier model measures, in
its scaling and by its metric: what it would say of tonight's prototypes.
"""

import numpy as np

from kmeans_tf.definition import LARGEST_LABEL
from kmeans_tf.metrics import get_metric
from kmeans_tf.model import Model

NEW = -1
_FARTHEST = 2.0  # in the place of a distance that is not finite; the others are at most 1


def match(earlier: Model, prototypes: np.ndarray) -> np.ndarray:
    """Which prototype of an earlier model each of others goes on from.

    Args:
        earlier: k0 prototypes, and how they are compared.
        prototypes: (k, d) float64 in the input's units.

    Returns:
        (k,) int64, the places of the earlier ones, none of them twice; NEW where there is none,
        which is so for k - k0 of them, or for none.
    """
    from scipy.optimize import linear_sum_assignment  # which takes a fifth of a second to load

    k = len(prototypes)
    distances = earlier.distances(prototypes)
    finite = np.isfinite(distances)
    top = distances[finite].max(initial=0.0)
    with np.errstate(invalid="ignore"):
        relative = np.where(finite, distances / (top or 1.0), _FARTHEST)
    matched = np.full(k, NEW)
    matched.put(*linear_sum_assignment(relative))
    return matched


def numbered(matched: np.ndarray, labels: np.ndarray, highest: int) -> np.ndarray:
    """The labels (k,) int32 of matched prototypes: the earlier ones', or numbers never given.

    Args:
        matched: (k,), see `match`.
        labels: (k0,) int32 of the earlier prototypes.
        highest: the highest label that was ever given.
    """
    numbers, new = labels[matched], matched == NEW
    numbers[new] = free_numbers(labels, highest, int(new.sum()))
    return numbers.astype(np.int32)


def free_numbers(taken: np.ndarray, highest: int, count: int) -> np.ndarray:
    """(count,) int64: the numbers after the highest.

    Where there are not so many above, the smallest that are not among those taken.
    """
    if highest + count > LARGEST_LABEL:
        return np.setdiff1d(np.arange(len(taken) + count), taken)[:count]
    return np.arange(highest + 1, highest + 1 + count)


def moves(
    earlier: Model, places: np.ndarray, prototypes: np.ndarray, mean_costs: np.ndarray
) -> np.ndarray:
    """How far prototypes are from the earlier ones, in units of the clusters' own spread.

    The spread is the distance that the mean cost stands for: for squared distances the root mean
    square distance of a cluster's rows.

    Args:
        earlier: the earlier prototypes.
        places: (m,) of those that are gone on from.
        prototypes: (m, d) float64 in the input's units.
        mean_costs: (m,) float64, the earlier clusters' costs per unit weight.

    Returns:
        (m,) float64; NaN where an earlier cluster had no spread.
    """
    spread = get_metric(earlier.metric).distance(np.asarray(mean_costs, np.float64))
    distances = earlier.distances(prototypes)[np.arange(len(places)), places]
    return np.divide(distances, spread, out=np.full(len(places), np.nan), where=spread > 0)
