"""What a training leaves: prototypes that label rows, as a value and as a SavedModel.

The definition of a label: the argmin over the prototypes of the float64 squared distance to the
row in the input's units (times the scaling, where one was asked for), features in order, ties to
the lowest index. Under cosine row and prototype have length 1, and what rounding took off their
directions is made good where they are close; a metric of another form compares its own float64
costs. How a training encoded the rows does not matter any more.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kmeans_tf import saved_model
from kmeans_tf.assign import Targets, assign_rows, assigned_costs
from kmeans_tf.bounds import Bounded, Known, lengths_rounded_up
from kmeans_tf.definition import BAD_LABEL, Compared, costs_by_definition
from kmeans_tf.encoding import Encoding
from kmeans_tf.metrics import get_metric, good_rows
from kmeans_tf.points import chunk_rows
from kmeans_tf.rows import array_rows, check_rows, check_width
from kmeans_tf.summary import impute

_SMALL, _LARGE = 2.0**-70, 2.0**90  # of prototypes about which float32 holds distances


@dataclass(frozen=True)
class Model:
    """k prototypes, and how rows are compared with them.

    Attributes:
        metric: a name for `get_metric`.
        prototypes: (k, d) float64, in the input's units.
        labels: (k,) int32, the label that each prototype gives.
        offset, scale: (d,) float64; rows are compared as (row - offset) * scale.
        means: (d,) float64 in the input's units, for bad features; None where they are not
            imputed.
        features: the names of the columns that make a row.
        on_bad_row: 'fail', 'null' or 'impute'.
    """

    metric: str
    prototypes: np.ndarray
    labels: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    means: np.ndarray | None = None
    features: tuple[str, ...] = ()
    on_bad_row: str = "fail"

    def __repr__(self) -> str:
        k, d = self.prototypes.shape
        return f"Model(metric={self.metric!r}, {k} prototypes of {d} features)"

    @classmethod
    def trained(
        cls,
        encoding: Encoding,
        metric: str,
        prototypes: np.ndarray,
        labels: np.ndarray,
        features: tuple[str, ...] = (),
        on_bad_row: str = "fail",
    ) -> "Model":
        """The model of prototypes (k, d) float64 that are in the units of an encoding's points."""
        rows = encoding.decode(get_metric(metric).project(prototypes))
        offset, scale = encoding.scaling
        return cls(metric, rows, labels, offset, scale, encoding.means, features, on_bad_row)

    @property
    def dimension(self) -> int:
        """d, the features of a row."""
        return self.prototypes.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names (d,) of the features of a row; none where they are one column, or unknown."""
        return self.features if len(self.features) == self.dimension else ()

    def impute(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 with the means for what is not finite, where there are means."""
        return rows if self.means is None else impute(rows, self.means)

    def good_rows(self, rows: np.ndarray) -> np.ndarray:
        """(n,) bool: which of (n, d) float64 rows have nothing wrong with them."""
        return good_rows(get_metric(self.metric), rows)

    def label(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels rows.

        Args:
            rows: (n, d) float64 in the input's units. A bad row is imputed if the model was
                trained so; else its label is -1 and its distance NaN.

        Returns:
            Labels (n,) int32 and distances (n,) float64: Euclidean in the (scaled) input's units,
            or the metric's own.

        Raises:
            ValueError: the rows have another number of features.
        """
        labels, _, distances = self.label_with_costs(rows)
        return labels, distances

    def label_with_costs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, costs and distances (n,) of (n, d) rows, see `label`; a bad row's cost is NaN."""
        rows = self._ready(rows)
        labels = np.full(len(rows), BAD_LABEL, np.int32)
        costs, distances = np.full((2, len(rows)), np.nan)
        good = np.flatnonzero(self.good_rows(rows))
        step = chunk_rows(self.dimension)
        for start in range(0, len(good), step):
            part = good[start : start + step]
            index, costs[part], distances[part] = self.nearest(rows[part])
            labels[part] = self.labels[index]
        return labels, costs, distances

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Distances (n, k) float64 of (n, d) rows from every prototype; NaN of a bad row."""
        rows = self._ready(rows)
        found = np.full((len(rows), len(self.prototypes)), np.nan)
        good = np.flatnonzero(self.good_rows(rows))
        with np.errstate(all="ignore"):
            compared = self._compared(rows[good])
        for j in range(found.shape[1]):
            _, found[good, j] = self._measured(compared, np.full(len(good), j))
        return found

    def check(self, rows: np.ndarray) -> None:
        """Raises a ValueError that names the first bad one of (n, d) rows, if it takes none.

        One whose `on_bad_row` is 'null' or 'impute' has an answer for them.
        """
        check_width(rows, self.dimension)
        if self.on_bad_row == "fail":
            check_rows(get_metric(self.metric), rows, self.names)

    def known(self, encoding: Encoding, bounded: Bounded) -> Known:
        """What bounds on the distances of points say of the rows that they were encoded from.

        Args:
            encoding: of the points.
            bounded: for prototypes that stand in the order of the model's.
        """
        moves = encoding.moved(self.prototypes, bounded.prototypes)
        # A point's length is at most a prototype's and their distance, of which bounds have more
        # than this share to spare.
        reach = float(np.linalg.norm(bounded.prototypes, axis=1).max())
        return Known(bounded, lengths_rounded_up(moves, encoding.rounding(reach)))

    def nearest(
        self, rows: np.ndarray, known: Known | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The prototypes of (n, d) good rows.

        Args:
            known: of the same rows; it spares comparing them, and changes nothing.

        Returns:
            The index (n,) of each one's prototype, its cost (n,) float64 in the (scaled) input's
            units, and its distance (n,) float64, see `label`. A cost may be infinite or 0 where the
            distance is not.
        """
        with np.errstate(all="ignore"):  # what overflows is infinitely far, and said to be
            compared = self._compared(rows)
            metric = get_metric(self.metric)
            index = assign_rows(metric, compared, self._nearby, known)
            return index, *self._measured(compared, index)

    @np.errstate(all="ignore")
    def _measured(self, compared: Compared, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Costs and distances (n,) float64 of rows from the prototypes of an index (n,)."""
        metric, targets = get_metric(self.metric), self._targets
        if metric.sums_suffice:
            return costs_by_definition(metric, compared, targets, index, self._factors)
        costs = assigned_costs(metric, compared.values, targets.values, index)
        return costs, metric.distance(costs)

    def distance_type(self, *corners: np.ndarray) -> type[np.floating]:
        """float32, or float64 where distances may be too large or too small for it.

        A float64 number is equal to another or differs from it by 2**-54 of it, or more.

        Args:
            corners: (d,) float64 rows between which all others are, where that is known.
        """
        metric = get_metric(self.metric)
        if metric.normalize:  # of a cost below 2**-90 nothing is certain
            return np.float32
        if not metric.translation_invariant:  # nothing is known of what it gives
            return np.float64
        reach = np.abs(self._targets.values * self._factors).max(1)
        away = [np.abs(self._scaled(corner) * self._factors).max() for corner in corners]
        held = reach.min() >= _SMALL and max(reach.max(), *away, 0.0) <= _LARGE
        return np.float32 if held else np.float64

    @property
    def digest(self) -> str:
        """Another for every other model."""
        digest = hashlib.sha256(self.describe().encode())
        for array in (self.prototypes, self.labels, self.offset, self.scale, self.means):
            digest.update(b"none" if array is None else array.tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Everything beside its arrays that its labels depend on, as JSON."""
        names = ("metric", "features", "on_bad_row")
        return json.dumps({name: getattr(self, name) for name in names})

    def save(self, folder: str) -> None:
        """Writes a SavedModel that needs nothing of this package to be loaded and used.

        Raises:
            OSError: it cannot be written.
        """
        saved_model.save(self, folder)

    @classmethod
    def load(cls, folder: str) -> "Model":
        """Reads what `save` wrote; nothing in the folder is run.

        Raises:
            ValueError: the folder holds no such model.
        """
        attributes, digest = saved_model.load(folder)
        model = cls(**attributes)
        if model.digest != digest:
            raise ValueError(f"{folder} holds no model of this job: its files are not of one model")
        return model

    @property
    def _scales_differences(self) -> bool:
        """Whether differences are scaled rather than rows, which costs the fewest digits."""
        return get_metric(self.metric).rescale

    def _ready(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) numbers as float64 rows of so many features, imputed where there are means."""
        rows = array_rows(rows)
        check_width(rows, self.dimension)
        return self.impute(np.ascontiguousarray(rows, np.float64))

    def _compared(self, rows: np.ndarray) -> Compared:
        """(n, d) rows as they are compared with the targets."""
        return Compared.rows(get_metric(self.metric), self._scaled(rows))

    @cached_property
    def _targets(self) -> Compared:
        """The k prototypes as rows are compared with them."""
        return Compared.targets(get_metric(self.metric), self._scaled(self.prototypes))

    @cached_property
    def _nearby(self) -> Targets:
        """The same, with what is found of them once for all rows."""
        return Targets(self._targets, self._factors)

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._scales_differences else (rows - self.offset) * self.scale

    @cached_property
    def _factors(self) -> np.ndarray:
        """(d,) float64, of the differences."""
        return self.scale if self._scales_differences else np.ones(self.dimension)
