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
import tensorflow as tf

from kmeans_tf.assign import assign_rows, assigned_costs
from kmeans_tf.definition import CLOSE, Compared, costs_by_definition
from kmeans_tf.encoding import Encoding
from kmeans_tf.exact import two_product
from kmeans_tf.metrics import DOWN, SAFE_SQUARES, UP, get_metric, good_rows
from kmeans_tf.points import chunk_rows
from kmeans_tf.runtime import on_processor
from kmeans_tf.summary import impute

_SMALL, _LARGE = 2.0**-70, 2.0**90  # of prototypes about which float32 holds distances
BAD_LABEL = -1


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
        """
        rows = np.ascontiguousarray(rows, np.float64)
        labels = np.full(len(rows), BAD_LABEL, np.int32)
        distances = np.full(len(rows), np.nan)
        rows = self.impute(rows)
        good = np.flatnonzero(self.good_rows(rows))
        step = chunk_rows(self.dimension)
        for start in range(0, len(good), step):
            part = good[start : start + step]
            index, _, distances[part] = self.nearest(rows[part])
            labels[part] = self.labels[index]
        return labels, distances

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The prototypes of (n, d) good rows.

        Returns:
            The index (n,) of each one's prototype, its cost (n,) float64 in the (scaled) input's
            units, and its distance (n,) float64, see `label`. A cost may be infinite or 0 where the
            distance is not.
        """
        metric, targets, factors = get_metric(self.metric), self._targets, self._factors
        with np.errstate(all="ignore"):  # what overflows is infinitely far, and said to be
            compared = self._compared(rows)
            index = assign_rows(metric, compared, targets, factors)
            if metric.sums_suffice:
                return index, *costs_by_definition(metric, compared, targets, index, factors)
            costs = assigned_costs(metric, compared.values, targets.values, index)
        return index, costs, metric.distance(costs)

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
        """Writes a SavedModel that needs nothing of this package to be loaded and used."""
        labeller = _Labeller(self)
        tf.saved_model.save(labeller, folder, signatures=labeller.label)

    @classmethod
    def load(cls, folder: str) -> "Model":
        """Reads what `save` wrote.

        Raises:
            ValueError: the folder holds no such model.
        """
        try:
            saved = tf.saved_model.load(folder)
            described = json.loads(saved.describe().numpy())
            means = getattr(saved, "means", None)
            return cls(
                metric=described["metric"],
                prototypes=saved.prototypes.numpy(),
                labels=saved.label_numbers.numpy(),
                offset=saved.offset.numpy(),
                scale=saved.scale.numpy(),
                means=None if means is None else means.numpy(),
                features=tuple(described["features"]),
                on_bad_row=described["on_bad_row"],
            )
        except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} holds no model of this job: {error}") from error

    @property
    def _scales_differences(self) -> bool:
        """Whether differences are scaled rather than rows, which costs the fewest digits."""
        return get_metric(self.metric).rescale

    def _compared(self, rows: np.ndarray) -> Compared:
        """(n, d) rows as they are compared with the targets."""
        return Compared.rows(get_metric(self.metric), self._scaled(rows))

    @cached_property
    def _targets(self) -> Compared:
        """The k prototypes as rows are compared with them."""
        return Compared.targets(get_metric(self.metric), self._scaled(self.prototypes))

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._scales_differences else (rows - self.offset) * self.scale

    @cached_property
    def _factors(self) -> np.ndarray:
        """(d,) float64, of the differences."""
        return self.scale if self._scales_differences else np.ones(self.dimension)


class _Labeller(tf.Module):
    """The model in plain TensorFlow ops: the definition of a label, in float64.

    TensorFlow takes subnormal numbers, those below 2**-1022, for 0.
    """

    def __init__(self, model: Model):
        super().__init__(name="kmeans")

        def constant(value, name, dtype=tf.float64):
            return tf.Variable(value, trainable=False, dtype=dtype, name=name)

        self.prototypes = constant(model.prototypes, "prototypes")
        self.offset = constant(model.offset, "offset")
        self.scale = constant(model.scale, "scale")
        self.label_numbers = constant(model.labels, "label_numbers", tf.int32)
        if model.means is not None:
            self.means = constant(model.means, "means")
        self._model = model
        self._metric = get_metric(model.metric)
        self.label = tf.function(
            self._label,
            input_signature=[tf.TensorSpec([None, model.dimension], tf.float64, "rows")],
        )
        text = model.describe()
        self.describe = tf.function(lambda: tf.constant(text), input_signature=[])

    def _label(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._model.means is not None:
            rows = tf.where(tf.math.is_finite(rows), rows, self.means)
        good = tf.reduce_all(tf.math.is_finite(rows), 1)
        if self._metric.normalize:
            good &= tf.reduce_any(rows != 0, 1)
        if not self._metric.rescale:
            rows = (rows - self.offset) * self.scale
        label_of = self._by_squares if self._metric.sums_suffice else self._by_costs
        index, distance = label_of(rows)
        nan = tf.constant(np.nan, tf.float64)
        return {
            "label": tf.where(good, tf.gather(self.label_numbers, index), BAD_LABEL),
            "distance": tf.where(good, distance, nan),
        }

    def _by_costs(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Indices (n,) of the prototypes, and distances (n,)."""
        with on_processor():
            targets = tf.constant(self._model._targets.values)
            costs = tf.transpose(tf.map_fn(lambda w: self._metric.costs_to(rows, w), targets))
        return _lowest(costs), self._metric.distance(tf.reduce_min(costs, 1), tf.sqrt)

    def _by_squares(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What `kmeans_tf.definition` has for arrays: indices (n,) and distances (n,)."""
        exactly = self._model._targets.parts()
        targets = [
            tf.constant(part) for part in (exactly.values, exactly.rests) if part is not None
        ]
        parts = _unit_parts(rows) if self._metric.normalize else [rows]
        factors = tf.constant(self._model._factors)
        columns = [tf.transpose(part) for part in parts]
        of_all = [tf.transpose(part)[:, None, :] for part in targets]

        def to_all(power: tf.Tensor) -> tf.Tensor:
            return _squares([x[:, :, None] for x in columns], of_all, factors, power[:, None])

        one = tf.ones_like(rows[:, 0])
        squares = _in_range(to_all, one, lambda found: tf.reduce_min(found, 1))[0]
        index = _lowest(squares)
        chosen = [tf.transpose(tf.gather(part, index)) for part in targets]

        def to_chosen(power: tf.Tensor) -> tf.Tensor:
            return _squares(columns, chosen, factors, power)

        if not self._metric.normalize:
            found, power = _in_range(to_chosen, one, lambda found: found)
            return index, tf.sqrt(found) / power
        values = tf.transpose(tf.gather(self._model._targets.values, index))
        plain = _squares(columns[:1], [values], factors, one)
        return index, self._metric.scale * tf.where(plain < CLOSE, to_chosen(one), plain)


def _in_range(squares, one: tf.Tensor, judged) -> tuple[tf.Tensor, tf.Tensor]:
    """Squares that neither overflow nor vanish, and the powers (n,) that numbers were times."""
    found = squares(one)
    power = _safe_power(judged(found))
    return tf.cond(tf.reduce_any(power != one), lambda: squares(power), lambda: found), power


def _squares(rows: list, targets: list, factors: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """Squared distances, one feature after the other, of arrays whose first axis is features."""

    def add(total, column):
        x, w, factor = column
        difference = (x[0] - w[0]) * factor
        if len(x) > 1:
            difference += x[1] - w[1]
        difference *= power
        return total + difference * difference

    return tf.foldl(add, (rows, targets, factors), tf.zeros_like(rows[0][0] - targets[0][0]))


def _lowest(costs: tf.Tensor) -> tf.Tensor:
    """(n,) int32, the lowest index of the least of costs (n, k): tf.argmin does not promise it."""
    best, k = tf.reduce_min(costs, 1, keepdims=True), tf.shape(costs)[1]
    return tf.reduce_min(tf.where(costs == best, tf.range(k), k - 1), 1)


def _unit_parts(rows: tf.Tensor) -> list[tf.Tensor]:
    """What `kmeans_tf.metrics.unit_parts` is for arrays."""
    rows *= _safe_power(_row_squares(rows))[:, None]
    lengths = tf.sqrt(_row_squares(rows))[:, None]
    lengths = tf.where(lengths > 0, lengths, tf.ones_like(lengths))
    units = rows / lengths
    product, error = two_product(units, lengths)
    return [units, ((rows - product) - error) / lengths]


def _row_squares(rows: tf.Tensor) -> tf.Tensor:
    """(n,) sums of squares, one feature after the other."""
    columns = tf.transpose(rows)
    return tf.foldl(lambda total, x: total + x * x, columns, tf.zeros_like(columns[0]))


def _safe_power(squares: tf.Tensor) -> tf.Tensor:
    """What `kmeans_tf.metrics.safe_power` is for arrays."""
    small, large = squares < SAFE_SQUARES[0], squares > SAFE_SQUARES[1]
    one = tf.ones_like(squares)
    return tf.where(small, UP * one, tf.where(large, DOWN * one, one))
