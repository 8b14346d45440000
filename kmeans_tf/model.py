"""What a training leaves: prototypes that label rows, as a value and as a SavedModel.

The definition of a label: the argmin over the prototypes of the float64 squared distance to the
row in the input's units (times the scaling, where one was asked for), features in order, ties to
the lowest index. Under cosine row and prototype have length 1; a metric of another form compares
its own float64 costs. How a training encoded the rows does not matter any more.
"""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from kmeans_tf.assign import assign_rows, assigned_costs
from kmeans_tf.encoding import Encoding
from kmeans_tf.metrics import DOWN, SAFE_SQUARES, UP, get_metric, good_rows, unit_rows
from kmeans_tf.points import chunk_rows
from kmeans_tf.summary import impute

_SMALL, _LARGE = 2.0**-90, 2.0**90  # of prototypes about which float32 holds distances
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
            index, cost = self.nearest(rows[part])
            labels[part] = self.labels[index]
            distances[part] = self.distance(cost)
        return labels, distances

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The index (n,) of the prototype of each of (n, d) good rows, and its cost (n,) float64.

        Costs are in the (scaled) input's units.
        """
        metric = get_metric(self.metric)
        rows = self._compared(rows)
        with np.errstate(all="ignore"):  # what overflows is infinitely far, and said to be
            index = assign_rows(metric, rows, self._targets, self._factors)
            return index, assigned_costs(metric, rows, self._targets, index, self._factors)

    def distance(self, cost: np.ndarray) -> np.ndarray:
        """Costs -> distances (see `Metric.distance`)."""
        return get_metric(self.metric).distance(cost)

    @property
    def distance_type(self) -> type[np.floating]:
        """float32, or float64 where distances may be too large or too small for it."""
        reach = np.abs(self._targets * self._factors).max()
        return np.float32 if not reach or _SMALL <= reach <= _LARGE else np.float64

    def describe(self) -> str:
        """Everything that its labels depend on, as JSON."""
        described = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(described, default=lambda array: array.tolist())

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
            means = described["means"]
            return cls(
                metric=described["metric"],
                prototypes=np.array(described["prototypes"]),
                labels=np.array(described["labels"], np.int32),
                offset=np.array(described["offset"]),
                scale=np.array(described["scale"]),
                means=None if means is None else np.array(means),
                features=tuple(described["features"]),
                on_bad_row=described["on_bad_row"],
            )
        except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} holds no model of this job: {error}") from error

    @property
    def _scales_differences(self) -> bool:
        """Whether differences are scaled rather than rows, which costs the fewest digits."""
        return get_metric(self.metric).rescale

    def _compared(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) rows as they are compared with the targets."""
        if self._scales_differences:
            return rows
        rows = (rows - self.offset) * self.scale
        return unit_rows(rows) if get_metric(self.metric).normalize else rows

    @cached_property
    def _targets(self) -> np.ndarray:
        """(k, d) float64, the prototypes as rows are compared with them."""
        if self._scales_differences:
            return self.prototypes
        return get_metric(self.metric).project((self.prototypes - self.offset) * self.scale)

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
        costs = self._costs(rows)
        best = tf.reduce_min(costs, 1, keepdims=True)
        k = tf.shape(costs)[1]
        # tf.argmin does not promise the lowest index of a tie.
        index = tf.reduce_min(tf.where(costs == best, tf.range(k), k - 1), 1)
        distance = self._metric.distance(best[:, 0], tf.sqrt)
        nan = tf.constant(np.nan, tf.float64)
        return {
            "label": tf.where(good, tf.gather(self.label_numbers, index), BAD_LABEL),
            "distance": tf.where(good, distance, nan),
        }

    def _costs(self, rows: tf.Tensor) -> tf.Tensor:
        """(n, k) float64 costs."""
        targets = tf.constant(self._model._targets)
        if not self._metric.rescale:
            rows = (rows - self.offset) * self.scale
        if self._metric.normalize:
            rows, lengths = self._near_lengths(rows)
            rows /= lengths
        if not self._metric.sums_suffice:
            return tf.transpose(tf.map_fn(lambda w: self._metric.costs_to(rows, w), targets))

        def add(total, column):
            x, w, factor = column
            difference = (x[:, None] - w[None, :]) * factor
            return total + difference * difference

        start = tf.zeros([tf.shape(rows)[0], tf.shape(targets)[0]], tf.float64)
        columns = (tf.transpose(rows), tf.transpose(targets), tf.constant(self._model._factors))
        return self._metric.scale * tf.foldl(add, columns, start)

    def _near_lengths(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What `kmeans_tf.metrics.near_lengths` is for arrays."""
        power = _safe_power(_row_squares(rows))
        rows *= power[:, None]
        lengths = tf.sqrt(_row_squares(rows))[:, None]
        return rows, tf.where(lengths > 0, lengths, tf.ones_like(lengths))


def _row_squares(rows: tf.Tensor) -> tf.Tensor:
    """(n,) sums of squares, one feature after the other."""
    columns = tf.transpose(rows)
    return tf.foldl(lambda total, x: total + x * x, columns, tf.zeros_like(columns[0]))


def _safe_power(squares: tf.Tensor) -> tf.Tensor:
    """What `kmeans_tf.metrics.safe_power` is for arrays."""
    small, large = squares < SAFE_SQUARES[0], squares > SAFE_SQUARES[1]
    one = tf.ones_like(squares)
    return tf.where(small, UP * one, tf.where(large, DOWN * one, one))
