"""What all rows have of each feature: features.parquet."""

import numpy as np
import pyarrow as pa

from kmeans_tf.summary import Summary
from pipeline.data.columns import Columns

_EXACT = b"exact"  # whether the figures are of all rows and not of a sample


def feature_table(columns: Columns, summary: Summary) -> pa.Table:
    """feature, mean, standard_deviation, minimum, maximum.

    Mean and deviation are weighted. They are of all rows where the scan has added them up or its
    sample holds every distinct row, else of the sample, which the schema's metadata says.
    """
    sample, moments = summary.sample, summary.moments
    if moments:
        mean, deviation = moments.mean(), moments.standard_deviation()
        deviation = np.where(summary.minimum == summary.maximum, 0.0, deviation)
    else:
        mean, deviation = _moments(sample.rows, sample.weights)
    exact = moments is not None or not sample.full
    table = pa.table(
        {
            "feature": [columns.feature(j) for j in range(columns.dimension)],
            "mean": mean,
            "standard_deviation": deviation,
            "minimum": summary.minimum,
            "maximum": summary.maximum,
        }
    )
    return table.replace_schema_metadata({_EXACT: b"yes" if exact else b"no"})


def is_exact(features: pa.Table) -> bool:
    """Whether means and deviations are of all rows."""
    return (features.schema.metadata or {}).get(_EXACT) == b"yes"


def _moments(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (d,) float64 of (n, d) rows with (n,) weights."""
    if not len(rows):
        nothing = np.full(rows.shape[1], np.nan)
        return nothing, nothing
    share = weights / weights.sum()
    mean = share @ rows
    return mean, np.sqrt(share @ (rows - mean) ** 2)
