"""A model as a SavedModel, which needs nothing of this package to be loaded and used.

Read back, it is data: its numbers lie in the variables, and what else there is in a JSON file
beside them. A SavedModel's graph is code, which a folder of anybody's could bring along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmeans_tf.definition import BAD_LABEL, CLOSE
from kmeans_tf.exact import two_product
from kmeans_tf.metrics import DOWN, SAFE_SQUARES, UP, get_metric
from kmeans_tf.runtime import on_processor, tf

SETTINGS = "settings.json"
# Python's and TensorFlow's of what is no model, or a damaged one.
_DAMAGE = (OSError, AttributeError, ValueError, LookupError, TypeError, RuntimeError)
_POLICIES = ("fail", "null", "impute")


def save(model: Any, folder: str) -> None:
    """Writes a `kmeans_tf.model.Model`.

    Raises:
        OSError: it cannot be written.
    """
    try:
        save_module(_Labeller(model).module, folder)
    except tf.errors.OpError as error:  # what TensorFlow makes of a disk's
        raise OSError(f"{folder}: {error.message}") from error
    settings = json.loads(model.describe()) | {"digest": model.digest}
    Path(folder, SETTINGS).write_text(json.dumps(settings, indent=1))


def save_module(module: tf.Module, folder: str) -> None:
    """Traces a labeller's module, which is most of the time that saving takes, and writes it."""
    tf.saved_model.save(module, folder, signatures=module.label)


def load(folder: str) -> tuple[dict[str, Any], str]:
    """Reads what `save` wrote, without running any of it.

    Returns:
        The model's attributes by name, and the digest that it had.

    Args:
        folder: that of the model, or an output of the job, which has it in its folder `model`.

    Raises:
        ValueError: the folder holds no such model.
    """
    try:
        inner = Path(folder, "model")
        place = inner if inner.is_dir() else Path(folder)
        settings = read_settings((place / SETTINGS).read_bytes())
        reader = tf.train.load_checkpoint(str(place / "variables" / "variables"))
        attributes = {
            "metric": settings["metric"],
            "prototypes": _variable(reader, "prototypes", np.float64, 2),
            "labels": _variable(reader, "label_numbers", np.int32, 1),
            "offset": _variable(reader, "offset", np.float64, 1),
            "scale": _variable(reader, "scale", np.float64, 1),
            "means": None,
            "features": tuple(settings["features"]),
            "on_bad_row": settings["on_bad_row"],
        }
        if reader.has_tensor(_stored("means")):
            attributes["means"] = _variable(reader, "means", np.float64, 1)
        _check(attributes)
        return attributes, settings["digest"]
    except (*_DAMAGE, tf.errors.OpError) as error:
        raise ValueError(f"{folder} holds no model of this job: {error}") from error


def read_settings(text: bytes) -> dict[str, Any]:
    """What the JSON file says: metric, features, on_bad_row and digest.

    Raises:
        ValueError: it is something else.
    """
    settings = json.loads(text)
    kinds = {"metric": str, "features": list, "on_bad_row": str, "digest": str}
    if not isinstance(settings, dict):
        raise ValueError(f"{SETTINGS} is no object")
    wrong = [name for name, kind in kinds.items() if not isinstance(settings.get(name), kind)]
    if wrong or not all(isinstance(name, str) for name in settings["features"]):
        raise ValueError(f"{SETTINGS} has no {(wrong or ['features'])[0]!r} as it is written there")
    return settings


def _stored(name: str) -> str:
    return f"{name}/.ATTRIBUTES/VARIABLE_VALUE"


def _variable(reader: Any, name: str, kind: type, axes: int) -> np.ndarray:
    value = reader.get_tensor(_stored(name))
    if value.dtype != kind or value.ndim != axes:
        raise ValueError(f"{name} is of {value.dtype} in {value.ndim} axes")
    return value


def _check(attributes: Mapping[str, Any]) -> None:
    k, d = attributes["prototypes"].shape
    for name, size in (("labels", k), ("offset", d), ("scale", d), ("means", d)):
        value = attributes[name]
        if value is not None and len(value) != size:
            raise ValueError(f"{name} are {len(value)}, expected {size}")
    if not k or attributes["on_bad_row"] not in _POLICIES:
        raise ValueError("it has no prototype" if not k else f"{SETTINGS} has another on_bad_row")


class _Labeller:
    """The model in plain TensorFlow ops: the definition of a label, in float64.

    TensorFlow takes subnormal numbers, those below 2**-1022, for 0.

    Attributes:
        module: what is saved.
    """

    def __init__(self, model: Any):
        self._model, self._metric = model, get_metric(model.metric)
        self.module = module = tf.Module(name="kmeans")

        def constant(value, name, dtype=tf.float64):
            return tf.Variable(value, trainable=False, dtype=dtype, name=name)

        module.prototypes = constant(model.prototypes, "prototypes")
        module.offset = constant(model.offset, "offset")
        module.scale = constant(model.scale, "scale")
        module.label_numbers = constant(model.labels, "label_numbers", tf.int32)
        if model.means is not None:
            module.means = constant(model.means, "means")
        module.label = tf.function(
            self._label,
            input_signature=[tf.TensorSpec([None, model.dimension], tf.float64, "rows")],
            autograph=":" in model.metric,  # which only a user's own cost may need
        )
        text = model.describe()
        module.describe = tf.function(
            lambda: tf.constant(text), input_signature=[], autograph=False
        )

    def _label(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        module = self.module
        if self._model.means is not None:
            rows = tf.where(tf.math.is_finite(rows), rows, module.means)
        good = tf.reduce_all(tf.math.is_finite(rows), 1)
        if self._metric.normalize:
            good &= tf.reduce_any(rows != 0, 1)
        if not self._metric.rescale:
            rows = (rows - module.offset) * module.scale
        label_of = self._by_squares if self._metric.sums_suffice else self._by_costs
        index, distance = label_of(rows)
        nan = tf.constant(np.nan, tf.float64)
        return {
            "label": tf.where(good, tf.gather(module.label_numbers, index), BAD_LABEL),
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
