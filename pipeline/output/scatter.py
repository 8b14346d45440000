"""Two coordinates of some rows and of the prototypes: scatter.parquet."""

import numpy as np
import pyarrow as pa

from kmeans_tf.model import Model
from pipeline.data.columns import Columns
from pipeline.output.run_record import Scatter

POINTS = 2000
ROW, PROTOTYPE, BEFORE = "row", "prototype", "before"


def scatter_table(
    columns: Columns, model: Model, rows: np.ndarray, before: pa.Table | None
) -> tuple[Scatter, pa.Table]:
    """What the axes are, and kind, x, y, label of each place.

    The axes are the features, or the principal components of more than two, scaled as the rows
    were clustered.

    Args:
        rows: (m, d) float64, of which the first are taken.
        before: an earlier run's prototypes, with the same features.
    """
    rows = rows[:POINTS]
    labels, _ = model.label(rows)
    places = [(ROW, rows, labels), (PROTOTYPE, model.prototypes, model.labels)]
    if before is not None and len(rows):
        places.append((BEFORE, _values(before), before.column(0).to_numpy()))
    axes, (x, y), centre = _axes(columns, model, rows)
    tables = [_placed(kind, (v - centre) @ axes, named) for kind, v, named in places]
    return Scatter(x, y), pa.concat_tables(tables if len(rows) else [t[:0] for t in tables])


def _axes(
    columns: Columns, model: Model, rows: np.ndarray
) -> tuple[np.ndarray, tuple[str, str], np.ndarray]:
    """(d, 2) axes, their names, and the (d,) centre."""
    nothing = np.zeros(columns.dimension)
    if not len(rows):
        return np.zeros((columns.dimension, 2)), ("", ""), nothing
    if columns.dimension == 1:
        return np.array([[1.0, 0.0]]), (columns.feature(0), ""), nothing
    if columns.dimension == 2:
        return np.eye(2), (columns.feature(0), columns.feature(1)), nothing
    centre = rows.mean(0)
    _, lengths, vectors = np.linalg.svd((rows - centre) * model.scale, full_matrices=False)
    squares = np.append(lengths**2, [0.0, 0.0])
    shares = squares / (squares.sum() or 1.0)
    names = [f"principal component {i + 1} ({shares[i]:.0%} of the variance)" for i in (0, 1)]
    axes = np.zeros((columns.dimension, 2))
    axes[:, : len(vectors[:2])] = vectors[:2].T
    return model.scale[:, None] * axes, (names[0], names[1]), centre


def _placed(kind: str, places: np.ndarray, labels: np.ndarray) -> pa.Table:
    x, y = places.T
    names = pa.array([kind] * len(places), pa.string())
    return pa.table({"kind": names, "x": x, "y": y, "label": pa.array(labels, pa.int32())})


def _values(prototypes: pa.Table) -> np.ndarray:
    """(k, d) float64."""
    columns = prototypes.columns[4:]
    if len(columns) == 1 and hasattr(columns[0].type, "value_type"):
        return np.array(columns[0].to_pylist(), np.float64)
    return np.stack([column.to_numpy() for column in columns], 1)
