"""Real Parquet inputs for the tests, and the labels back. Axes: n rows, d features, k clusters."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Centres of `blobs` are at least SPACING - 2 JITTER = 14 standard deviations apart.
SPACING, JITTER = 20.0, 3.0


def write_shards(
    folder: str | pathlib.Path,
    points: np.ndarray | Sequence,
    *,
    shards: int = 1,
    keys: Mapping[str, Any] | None = None,
    weights: Sequence | None = None,
    layout: str = "scalars",
    names: Sequence[str] | None = None,
    dtype: str | pa.DataType = "float64",
    row_group_size: int | None = None,
    shuffle_seed: int | None = None,
    compression: str = "zstd",
) -> list[pathlib.Path]:
    """Write points (n, d) as shard-00000.parquet and on, rows in order over the files; their paths.

    layout: 'scalars' is d columns (names, or f0 to f{d-1}); 'list', 'large_list' and
    'fixed_size_list' are one (names[0], or embedding); there points may be a list of rows, None
    among them (Arrow 25 cannot read that back if of fixed size), in the first two of any length.
    NaN stays NaN; None in an object array is a null.
    keys: name to sequence or Arrow array, as the first columns; weights: the last, `weight`.
    shuffle_seed moves whole rows, keys and weights with them, before they are split.
    More shards than rows makes some empty; row_group_size is counted within a shard.
    """
    columns = {name: _column(values) for name, values in (keys or {}).items()}
    columns |= _features(points, layout, names, _type(dtype))
    if weights is not None:
        columns["weight"] = _column(weights)
    table = pa.table(columns)
    if shuffle_seed is not None:
        table = table.take(np.random.default_rng(shuffle_seed).permutation(table.num_rows))
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"shard-{i:05d}.parquet" for i in range(shards)]
    for path, rows in zip(paths, np.array_split(np.arange(table.num_rows), shards), strict=True):
        shard = table.slice(rows[0], len(rows)) if len(rows) else table.slice(0, 0)
        pq.write_table(shard, path, row_group_size=row_group_size, compression=compression)
    return paths


def points_of_type(points: np.ndarray | Sequence, arrow_type: str | pa.DataType) -> pa.Array:
    """One column (n,) as any integer, float (half too), bool or decimal type; None is a null.

    Integers and decimals round to the nearest and must fit, or it is an error; a float beyond a
    narrower one becomes infinite. For bool, what is not 0 is true.
    """
    column, arrow_type = _column(points), _type(arrow_type)
    if pa.types.is_boolean(arrow_type) and not pa.types.is_null(column.type):
        return pc.not_equal(column, pa.scalar(0, column.type))
    if pa.types.is_integer(arrow_type) and pa.types.is_floating(column.type):
        column = pc.round(column)
    return column.cast(arrow_type)


def read_labels(folder: str | pathlib.Path) -> pa.Table:
    """The rows of folder/labels/part-*.parquet, files in the order of their names."""
    paths = sorted(pathlib.Path(folder, "labels").glob("part-*.parquet"))
    if not paths:
        raise FileNotFoundError(f"no labels/part-*.parquet in {folder}")
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])


def overlapping(n=2000, d=4, k=10, seed=1):
    """(n, d) rows in groups that lie across each other."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((k, d))[rng.integers(0, k, n)] * 2 + rng.standard_normal((n, d))


def blobs(n: int, d: int, k: int, seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """points (n, d) float32 and true labels (n,) int64: k unit normals far apart, equal in size.

    The centres sit near the places of a grid; offset moves everything. Same arguments, same bits.
    """
    rng = np.random.default_rng(seed)
    side = next(m for m in range(1, k + 1) if m**d >= k)
    grid = np.array([[c // side**j % side for j in range(d)] for c in range(k)], dtype=np.float64)
    centres = SPACING * grid + rng.uniform(-JITTER, JITTER, (k, d))
    labels = rng.permutation(np.arange(n) % k)
    points = centres[labels] + rng.standard_normal((n, d)) + offset
    return points.astype(np.float32), labels


def _features(
    points: np.ndarray | Sequence, layout: str, names: Sequence[str] | None, value: pa.DataType
) -> dict[str, pa.Array]:
    """The feature columns by name."""
    if layout == "scalars":
        points = np.asarray(points)
        columns = [points_of_type(x, value) for x in points.T]
        return dict(zip(names or [f"f{j}" for j in range(len(columns))], columns, strict=True))
    rows = [None if row is None else list(row) for row in points]
    ends = np.cumsum([0] + [len(row or ()) for row in rows])
    flat = points_of_type([x for row in rows for x in row or ()], value)
    nulls = pa.array([row is None for row in rows], pa.bool_())
    lists = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), flat, mask=nulls)
    width = max((len(row) for row in rows if row), default=0) if rows else points.shape[1]
    kinds = {"list": pa.list_(value), "large_list": pa.large_list(value)}
    kinds["fixed_size_list"] = pa.list_(value, int(width))
    return {(names or ["embedding"])[0]: lists.cast(kinds[layout])}


def _type(dtype: str | pa.DataType) -> pa.DataType:
    return pa.type_for_alias(dtype) if isinstance(dtype, str) else dtype


def _column(values: Any) -> pa.Array:
    """Any sequence, NumPy or Arrow array (n,) as an Arrow array."""
    return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
