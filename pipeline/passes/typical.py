"""The rows nearest to each prototype, by which people know a cluster."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.data.places import Places

ROWS, PROTOTYPES = 3, 256  # of each prototype, and of how many: what people can look at
_HEAD = 16  # the part of the rows, one in so many, that bounds how far the nearest are


@dataclass(frozen=True, order=True)
class NearRow:
    """A row: its distance to its prototype, its place, its keys as text; in this order."""

    distance: float
    file: str
    row: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class TypicalRows:
    """The `ROWS` nearest rows, nearest first, by prototype; of the first `PROTOTYPES`."""

    rows: dict[int, tuple[NearRow, ...]] = field(default_factory=dict)

    def __add__(self, other: "TypicalRows") -> "TypicalRows":
        both = {
            prototype: tuple(sorted(self.rows.get(prototype, ()) + other.rows.get(prototype, ())))
            for prototype in sorted(self.rows.keys() | other.rows.keys())
        }
        return TypicalRows({prototype: rows[:ROWS] for prototype, rows in both.items()})


def typical_rows(
    index: np.ndarray, distance: np.ndarray, rows: np.ndarray, places: Places, keys: pa.Table
) -> TypicalRows:
    """The nearest of some rows.

    Args:
        index: (m,) the prototypes of m rows.
        distance: (m,) float64 from these.
        rows: (m,) which of the n rows they are.
        places: of the n rows.
        keys: of the n rows, a column each.
    """
    near = np.flatnonzero(distance <= _bounds(index, distance)[index])
    runs, numbers = places.at(rows[near])
    paths = [run.file.path for run in places.runs]
    order_of = {path: i for i, path in enumerate(sorted(set(paths)))}
    files = np.array([order_of[path] for path in paths], np.int64)[runs]
    order = np.lexsort((numbers, files, distance[near], index[near]))
    prototypes = index[near][order]
    rank = np.arange(len(order)) - np.searchsorted(prototypes, prototypes)
    kept = order[rank < ROWS]
    names = zip(*_texts(keys.take(rows[near][kept])), strict=True) if keys.num_columns else None
    found: dict[int, tuple[NearRow, ...]] = {}
    for i in kept:
        row = NearRow(
            float(distance[near[i]]),
            paths[runs[i]],
            int(numbers[i]),
            next(names) if names else (),
        )
        prototype = int(index[near[i]])
        found[prototype] = (*found.get(prototype, ()), row)
    return TypicalRows(found)


def _bounds(index: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(k,) float64: no row farther from its prototype is among the nearest."""
    bounds = np.full(int(index.max(initial=0)) + 1, -np.inf)
    bounds[:PROTOTYPES] = np.inf
    head = slice(0, max(1 << 10, len(index) // _HEAD))
    order = np.lexsort((distance[head], index[head]))
    prototypes = index[head][order]
    last = np.searchsorted(prototypes, np.arange(len(bounds[:PROTOTYPES]))) + ROWS - 1
    ends = np.searchsorted(prototypes, np.arange(len(last)), "right")
    known = np.flatnonzero(last < ends)
    bounds[known] = distance[head][order[last[known]]]
    return bounds


def _texts(table: pa.Table) -> list[list[str]]:
    return [[str(value) for value in column.to_pylist()] for column in table.columns]
