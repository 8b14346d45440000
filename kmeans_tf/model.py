"""What a training leaves: prototypes that label rows, as a value and as a SavedModel."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from kmeans_tf.assign import assign, assigned_costs
from kmeans_tf.encoding import Encoding
from kmeans_tf.metrics import Metric, get_metric
from kmeans_tf.points import Points, chunk_rows

BAD_LABEL = -1


@dataclass(frozen=True)
class Model:
    """k prototypes, and how rows become points beside them.

    Attributes:
        encoding: from rows to points.
        metric: a name for `get_metric`.
        prototypes: (k, d) float64, in the points' units.
        labels: (k,) int32, the label that each prototype gives.
        features: the names of the columns that make a row.
        on_bad_row: 'fail', 'null' or 'impute'.
    """

    encoding: Encoding
    metric: str
    prototypes: np.ndarray
    labels: np.ndarray
    features: tuple[str, ...] = ()
    on_bad_row: str = "fail"

    @property
    def dimension(self) -> int:
        """d, the features of a row."""
        return self.prototypes.shape[1]

    @property
    def prototype_rows(self) -> np.ndarray:
        """The prototypes (k, d) float64 in the input's units."""
        return self.encoding.decode(get_metric(self.metric).project(self.prototypes))

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
        rows = self.encoding.impute(rows)
        good = np.flatnonzero(self.good_rows(rows))
        step = chunk_rows(self.dimension)
        for start in range(0, len(good), step):
            part = good[start : start + step]
            index, cost = self.nearest(Points.encode(self.encoding, rows[part]))
            labels[part] = self.labels[index]
            distances[part] = self.distance(cost)
        return labels, distances

    def nearest(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """The index (n,) of each point's prototype, and its cost (n,) in the points' units."""
        metric = get_metric(self.metric)
        index = assign(metric, points, self.prototypes)
        return index, assigned_costs(metric, points.array, self.prototypes, index)

    def distance(self, cost: np.ndarray) -> np.ndarray:
        """Costs in the points' units -> distances (see `Metric.distance`)."""
        return get_metric(self.metric).distance(cost, self.encoding.unit)

    def describe(self) -> str:
        """Everything that its labels depend on, as JSON."""
        arrays = {"prototypes": self.prototypes.tolist(), "labels": self.labels.tolist()}
        return json.dumps(arrays) + _describe(self)

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
        except (OSError, AttributeError, ValueError) as error:
            raise ValueError(f"{folder} holds no model of this job: {error}") from error
        return cls(
            encoding=_encoding_from(described.pop("encoding")),
            prototypes=saved.prototypes.numpy(),
            labels=saved.label_numbers.numpy(),
            metric=described["metric"],
            features=tuple(described["features"]),
            on_bad_row=described["on_bad_row"],
        )


def good_rows(metric: Metric, rows: np.ndarray) -> np.ndarray:
    """(n,) bool: which (n, d) float64 rows are finite, and under cosine not zero."""
    good = np.isfinite(rows).all(1)
    return good & rows.any(1) if metric.normalize else good


def _encoding_from(described: dict) -> Encoding:
    for name in ("centre", "factor", "quantum", "means"):
        if described[name] is not None:
            described[name] = np.array(described[name])
    return Encoding(**described)


def _describe(model: Model) -> str:
    described = {
        "metric": model.metric,
        "features": model.features,
        "on_bad_row": model.on_bad_row,
        "encoding": asdict(model.encoding),
    }
    return json.dumps(described, default=lambda value: value.tolist())


class _Labeller(tf.Module):
    """The model in plain TensorFlow ops: the definition of a label, in float64."""

    def __init__(self, model: Model):
        super().__init__(name="kmeans")
        encoding = model.encoding

        def constant(value, name, dtype=tf.float64):
            return tf.Variable(value, trainable=False, dtype=dtype, name=name)

        self.prototypes = constant(model.prototypes, "prototypes")
        self.centre = constant(encoding.centre, "centre")
        self.factor = constant(encoding.factor, "factor")
        self.quantum = constant(encoding.quantum, "quantum")
        self.label_numbers = constant(model.labels, "label_numbers", tf.int32)
        if encoding.means is not None:
            self.means = constant(encoding.means, "means")
        self._model = model
        self._metric = get_metric(model.metric)
        d = model.dimension
        self.label = tf.function(
            self._label, input_signature=[tf.TensorSpec([None, d], tf.float64, "rows")]
        )
        text = _describe(model)
        self.describe = tf.function(lambda: tf.constant(text), input_signature=[])

    def _label(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        encoding = self._model.encoding
        if encoding.means is not None:
            rows = tf.where(tf.math.is_finite(rows), rows, self.means)
        good = tf.reduce_all(tf.math.is_finite(rows), 1)
        if encoding.normalize:
            good &= tf.reduce_any(rows != 0, 1)
        costs = self._costs(self._encode(rows))
        best = tf.reduce_min(costs, 1, keepdims=True)
        k = tf.shape(costs)[1]
        # tf.argmin does not promise the lowest index of a tie.
        index = tf.reduce_min(tf.where(costs == best, tf.range(k), k - 1), 1)
        distance = self._metric.distance(best[:, 0], encoding.unit, tf.sqrt)
        nan = tf.constant(np.nan, tf.float64)
        return {
            "label": tf.where(good, tf.gather(self.label_numbers, index), BAD_LABEL),
            "distance": tf.where(good, distance, nan),
        }

    def _encode(self, rows: tf.Tensor) -> tf.Tensor:
        points = (rows - self.centre) * self.factor
        if self._model.encoding.normalize:
            lengths = tf.sqrt(self._by_feature(tf.square, points))[:, None]
            points /= tf.where(lengths > 0, lengths, tf.ones_like(lengths))
        points = tf.cast(tf.cast(points, tf.float32), tf.float64)
        points = tf.math.rint(points / self.quantum) * self.quantum
        return tf.cast(tf.cast(points, tf.float32), tf.float64)

    def _by_feature(self, term, points: tf.Tensor) -> tf.Tensor:
        """term(x_1) + term(x_2) + …, one feature after the other."""
        columns = tf.transpose(points)
        return tf.foldl(lambda total, x: total + term(x), columns, tf.zeros_like(columns[0]))

    def _costs(self, points: tf.Tensor) -> tf.Tensor:
        """(n, k) float64 costs in the points' units."""
        if not self._metric.sums_suffice:
            return tf.transpose(
                tf.map_fn(lambda w: self._metric.costs_to(points, w), self.prototypes)
            )
        projected = tf.constant(self._metric.project(self._model.prototypes))

        def add(total, pair):
            difference = pair[0][:, None] - pair[1][None, :]
            return total + difference * difference

        start = tf.zeros([tf.shape(points)[0], tf.shape(projected)[0]], tf.float64)
        pairs = (tf.transpose(points), tf.transpose(projected))
        return self._metric.scale * tf.foldl(add, pairs, start)
