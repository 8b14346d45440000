"""Where a training begins: the layout of its sums and the prototypes of its first iteration."""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.assign import assign, assigned_costs
from kmeans_tf.encoding import DOUBLE, SINGLE
from kmeans_tf.layout import SumLayout
from kmeans_tf.metrics import Metric
from kmeans_tf.points import Points, chunk_rows
from kmeans_tf.sample import Sample
from kmeans_tf.seeding import initial_prototypes
from kmeans_tf.summary import Summary

AUTO = "auto"
PRECISIONS = (AUTO, SINGLE, DOUBLE)
NOISE = 1e-9  # of the cost: what rounding to float32 may add before points are kept finer


@dataclass(frozen=True)
class StartOptions:
    """How a training is to begin.

    Attributes:
        k: how many prototypes.
        init: see `initial_prototypes`.
        seed: of the random numbers.
        standard, impute: see `Encoding.fit`.
        precision: 'single', 'double', or 'auto': double where float32 is too coarse for the rows.
        first: (k0, d) float64 prototypes in the input's units that come first; None for none.
    """

    k: int
    init: str
    seed: int = 0
    standard: bool = False
    impute: bool = False
    precision: str = AUTO
    first: np.ndarray | None = None


def layout_for(
    summary: Summary, metric: Metric, options: StartOptions, precision: str
) -> SumLayout:
    """The layout of the sums, for points of a precision.

    Raises:
        WeightError: the weights are too large to be added exactly.
    """
    return SumLayout.fit(
        summary, metric, standard=options.standard, impute=options.impute, precision=precision
    )


def choose_start(
    summary: Summary, metric: Metric, options: StartOptions
) -> tuple[SumLayout, np.ndarray]:
    """The layout, and k prototypes (k, d) float64 in the units of its encoding's points.

    Raises:
        WeightError: the weights are too large to be added exactly.
        ValueError: more prototypes are to come first than k, or there are fewer than k distinct
            rows.
    """
    precision = DOUBLE if options.precision == DOUBLE else SINGLE
    layout = layout_for(summary, metric, options, precision)
    prototypes = _prototypes(layout, summary.sample, metric, options)
    if options.precision == AUTO and _is_too_coarse(layout, summary.sample, metric, prototypes):
        layout = layout_for(summary, metric, options, DOUBLE)
        prototypes = _prototypes(layout, summary.sample, metric, options)
    return layout, prototypes


def _prototypes(
    layout: SumLayout, sample: Sample, metric: Metric, options: StartOptions
) -> np.ndarray:
    encoding = layout.encoding
    points = encoding.encode(sample.rows).astype(np.float64)
    first = None if options.first is None else encoding.encode_prototypes(options.first)
    return initial_prototypes(
        options.init, metric, points, sample.weights, options.k, options.seed, first
    )


def _is_too_coarse(
    layout: SumLayout, sample: Sample, metric: Metric, prototypes: np.ndarray
) -> bool:
    """Whether rounding moves the sample's rows by more than `NOISE` of their cost."""
    encoding, noise, cost = layout.encoding, 0.0, 0.0
    if not metric.sums_suffice:
        return False
    targets = metric.project(prototypes)
    size = chunk_rows(len(encoding.centre))
    for start in range(0, len(sample.rows), size):
        part = slice(start, start + size)
        points = Points.encode(encoding, sample.rows[part])
        moved = points.array - encoding.exactly(sample.rows[part])
        noise += float(sample.weights[part] @ (moved * moved).sum(1))
        labels = assign(metric, points, prototypes)
        costs = assigned_costs(metric, points.array, targets, labels)
        cost += float(sample.weights[part] @ costs)
    return metric.scale * noise > NOISE * cost
