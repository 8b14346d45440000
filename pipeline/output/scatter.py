"""Two coordinates of some rows and of the prototypes: scatter.parquet."""

import numpy as np
import pyarrow as pa

from kmeans_tf.model import Model
from pipeline.data.columns import Columns
from pipeline.output.run_record import Scatter

POINTS = 2000
_ROUNDING = 1e-12  # of the largest square: what is below it is rounding
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
    axes, shares = _principal((rows - centre) * model.scale)
    names = [f"principal component {i + 1} ({shares[i]:.0%} of the variance)" for i in (0, 1)]
    return model.scale[:, None] * axes, (names[0], names[1]), centre


def _principal(away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal axes (d, 2) of rows (m, d) around 0, and their shares (2,).

    An axis along which rows do not differ is 0. To find all axes takes several times as long.
    """
    from scipy.linalg import eigh  # which is slow to load

    m, d = away.shape
    products = away @ away.T if m < d else away.T @ away
    last = len(products) - 1
    squares, vectors = eigh(products, subset_by_index=[max(0, last - 1), last])
    axes, shares = np.zeros((d, 2)), np.zeros(2)
    for place, (square, vector) in enumerate(zip(squares[::-1], vectors.T[::-1], strict=True)):
        if square > _ROUNDING * squares[-1]:
            along = away.T @ vector if m < d else vector
            axes[:, place] = along / np.linalg.norm(along)
            shares[place] = square / np.square(away).sum()
    return axes, shares


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
