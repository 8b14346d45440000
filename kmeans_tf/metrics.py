"""Metrics: a cost of (points, their prototypes) written in TensorFlow; gradients follow from it.

Squared Euclidean and cosine have the *linear form*: with every point assigned to its prototype,

    cost = scale * sum_i v_i |x_i - u_k|**2        u = project(w)

so that the sums of the points by prototype are all that a gradient or an update needs. Any other
metric goes through automatic differentiation, row by row.
"""

from __future__ import annotations

import importlib
import operator
import sys
import threading
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kmeans_tf.exact import two_product
from kmeans_tf.runtime import load, on_processor, tf

Cost = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]

DEFAULT_GRADIENT_BOUND = 2.0**20
_MODULES = threading.RLock()  # one thread loads a user's module while others wait
SAFE_SQUARES = 2.0**-960, 2.0**1000  # between these a sum of squares has lost nothing
UP, DOWN = 2.0**600, 2.0**-600  # of numbers whose squares are not


@dataclass(frozen=True)
class Metric:
    """A differentiable cost and what the job may assume of it.

    Attributes:
        name: the option's value that names it.
        cost: points (n, d) and their prototypes (n, d) -> costs (n,), all float64, in
            differentiable TensorFlow ops.
        sums_suffice: whether it has the linear form above.
        scale: the factor of the linear form.
        normalize: whether points and prototypes are divided by their lengths.
        translation_invariant: whether shifting points and prototypes alike changes nothing, so
            that they may be centred.
        rescale: whether points may be multiplied by a power of two; the cost is then the square of
            a distance.
        gradient_bound: the largest |d cost / d prototype| of a row in any feature; row gradients
            are rounded to 2**-60 of it before they are added.
    """

    name: str
    cost: Cost
    sums_suffice: bool = False
    scale: float = 1.0
    normalize: bool = False
    translation_invariant: bool = False
    rescale: bool = False
    gradient_bound: float = DEFAULT_GRADIENT_BOUND

    def costs_to(self, points: tf.Tensor, prototype: tf.Tensor) -> tf.Tensor:
        """Costs (n,) of (n, d) points against one prototype (d,)."""
        return self.cost(points, tf.broadcast_to(prototype, tf.shape(points)))

    def distance(self, costs: Any, sqrt: Callable = np.sqrt) -> Any:
        """Costs (n,), an array or what else `sqrt` takes -> distances: their roots if squared."""
        return sqrt(costs) if self.rescale else costs

    def project(self, prototypes: np.ndarray) -> np.ndarray:
        """Prototypes (k, d) float64 as points are compared with them."""
        if not self.normalize:
            return prototypes
        top = np.frexp(np.abs(prototypes).max(1, initial=0.0, keepdims=True))[1]
        near = np.ldexp(prototypes, -top)  # so that squares neither overflow nor vanish
        return near / _lengths(near)

    def gradient(self, prototypes: np.ndarray, weight: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The closed form of the gradient of the cost, (k, d).

        Args:
            prototypes: (k, d) float64.
            weight: (k,) weight of the points assigned to each prototype.
            sums: (k, d) weighted sums of those points.
        """
        u = self.project(prototypes)
        gradient = 2 * self.scale * (weight[:, None] * u - sums)
        if self.normalize:
            along = (gradient * u).sum(1, keepdims=True)
            gradient = (gradient - along * u) / _lengths(prototypes)
        return gradient

    def minimizer(self, sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The prototypes (k, d) of least cost for the assigned points: Lloyd's step."""
        return sums / (_lengths(sums) if self.normalize else weight[:, None])


def _lengths(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((vectors * vectors).sum(1, keepdims=True))
    return np.where(lengths > 0, lengths, 1.0)


def _sqeuclidean(points: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(points - prototypes), 1)


def _cosine(points: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    lengths = tf.norm(points, axis=1) * tf.norm(prototypes, axis=1)
    return 1.0 - tf.reduce_sum(points * prototypes, 1) / lengths


def _l1(points: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.abs(points - prototypes), 1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "sqeuclidean", _sqeuclidean, sums_suffice=True, translation_invariant=True, rescale=True
        ),
        Metric("cosine", _cosine, sums_suffice=True, scale=0.5, normalize=True),
        Metric("l1", _l1, translation_invariant=True, gradient_bound=1.0),
    )
}


@cache
def get_metric(name: str) -> Metric:
    """The metric called `name`, or a user's own, see `metric_module`.

    The function is a `Cost`, any callable; it may carry an attribute `gradient_bound` (see
    `Metric`).

    Raises:
        ValueError: there is no such metric, module or function, or its bound is none.
    """
    if name in METRICS:
        return METRICS[name]
    module, _, attribute = name.rpartition(":")
    if not module or not attribute:
        names = ", ".join(METRICS)
        raise ValueError(f"unknown metric {name!r}: expected one of {names}, or module:function")
    load()  # not by the module, while another thread may be at it: it has many ways in
    try:
        cost = operator.attrgetter(attribute)(metric_module(name))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the module is the user's code, and may want to exit
        raise ValueError(f"metric {name!r} cannot be imported: {_reason(error)}") from error
    if not callable(cost):
        raise ValueError(f"metric {name!r} is a {type(cost).__name__}, not a function")
    return Metric(name, _hashable(cost), gradient_bound=_gradient_bound(name, cost))


def metric_module(name: str) -> ModuleType:
    """The module of a user's own metric, `module:function` or `path/to/module.py:function`.

    Raises:
        Exception: whatever its code, or that it is not there, raises.
    """
    place = name.rpartition(":")[0]
    with _MODULES:
        return _module_of(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def _module_of(path: Path) -> ModuleType:
    """A file as a module of its own name, or of another where a module has that already."""
    path = path.absolute()
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name = f"{name}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # of what it imports from beside it
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _hashable(cost: Any) -> Cost:
    """The cost, or its method that is called: programs are kept by it, so it needs a hash."""
    try:
        hash(cost)
    except TypeError:
        return cost.__call__
    return cost


def _gradient_bound(name: str, cost: Cost) -> float:
    bound = getattr(cost, "gradient_bound", DEFAULT_GRADIENT_BOUND)
    try:
        number = float(bound)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < np.inf:
        raise ValueError(
            f"metric {name!r} has a gradient_bound of {bound!r}: expected a positive number"
        )
    return number


def check_metric(metric: Metric) -> None:
    """Tries a metric on two rows.

    Raises:
        ValueError: it fails, or does not give one float64 cost for each row.
    """
    rows = tf.constant([[0.25, 0.5], [0.5, 1.0]], tf.float64)
    try:
        costs = metric.cost(rows, rows[::-1])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may want to exit
        raise ValueError(f"{metric.name!r} fails on two rows: {_reason(error)}") from error
    if not tf.is_tensor(costs) or costs.dtype != tf.float64 or costs.shape != [2]:
        raise ValueError(
            f"{metric.name!r} gives {costs!r} for two rows: expected a float64 tensor of shape (2,)"
        )


def _reason(error: BaseException) -> str:
    """What an error of the user's code says, in one line, and where that is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    first_lines = str(error).strip().splitlines()[:1]
    users = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    place = f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
    return ": ".join([type(error).__name__, *first_lines]) + place


def _is_users(file: str) -> bool:
    """Whether a file of code is neither Python's, nor installed, nor of this package."""
    path = Path(file)
    libraries = (Path(__file__).parent, Path(traceback.__file__).parent)
    installed = {"site-packages", "dist-packages"} & {*path.parts}
    return path.is_absolute() and not installed and not any(map(path.is_relative_to, libraries))


def good_rows(metric: Metric, rows: np.ndarray) -> np.ndarray:
    """(n,) bool: which (n, d) float64 rows are finite, and under cosine have a length above 0."""
    finite = np.isfinite(rows)
    good = np.ones(len(rows), bool) if finite.all() else finite.all(1)  # row by row is slow
    return good & ~zero_rows(rows) if metric.normalize else good


def zero_rows(rows: np.ndarray) -> np.ndarray:
    """(n,) bool: which (n, d) float64 rows have no direction."""
    return np.logical_not(rows.any(1))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Finite rows (n, d) float64 over their Euclidean lengths; a row of zeros stays one."""
    rows, lengths = near_lengths(rows)
    return rows / lengths


def unit_parts(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`unit_rows`, and what rounding took off them, (n, d) float64 each."""
    rows, lengths = near_lengths(rows)
    units = rows / lengths
    product, error = two_product(units, lengths)
    return units, ((rows - product) - error) / lengths


def near_lengths(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite rows (n, d) float64 times powers of two, and their Euclidean lengths (n, 1).

    The powers are 1, but where squares of a row would overflow or vanish. The length of a row of
    zeros is said to be 1.
    """
    with np.errstate(over="ignore", under="ignore"):
        squares = _row_squares(rows)
    far = np.flatnonzero(~is_safe(squares))
    if len(far):
        rows = rows.copy()
        rows[far] *= safe_power(squares[far])[:, None]
        squares[far] = _row_squares(rows[far])
    lengths = np.sqrt(squares)[:, None]
    return rows, np.where(lengths > 0, lengths, 1.0)


def is_safe(squares: np.ndarray) -> np.ndarray:
    """(n,) bool: which sums of squares (n,) float64 neither overflowed nor lost digits."""
    return (squares >= SAFE_SQUARES[0]) & (squares <= SAFE_SQUARES[1])


def safe_power(squares: np.ndarray) -> np.ndarray:
    """(n,) float64: the powers of two that bring numbers to where squares are safe."""
    small, large = squares < SAFE_SQUARES[0], squares > SAFE_SQUARES[1]
    return np.where(small, UP, np.where(large, DOWN, 1.0))


def _row_squares(rows: np.ndarray) -> np.ndarray:
    """Sums of squares (n,) of (n, d) float64 rows, accumulated feature by feature."""
    squares = np.zeros(len(rows))
    for column in rows.T:
        squares += column * column
    return squares


def pairwise_costs(metric: Metric, points: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """Costs (n, k) float64 of (n, d) points against (k, d) prototypes, one prototype at a time."""
    with on_processor():
        points = tf.constant(points, tf.float64)
        columns = [metric.costs_to(points, tf.constant(w, tf.float64)).numpy() for w in prototypes]
    return np.stack(columns, 1)


def min_distance_cost(
    points: tf.Tensor, prototypes: tf.Tensor, metric: str | Metric = "sqeuclidean"
) -> tf.Tensor:
    """E(W) = sum_i min_k c(x_i, w_k), differentiable in the prototypes.

    Args:
        points: (n, d) float32 or float64.
        prototypes: (k, d), of the same type.
        metric: a metric or its name.

    Returns:
        A scalar. Its gradient is automatic differentiation's, or for a metric of the linear form
        the closed form 2 (n_k w_k - s_k) of Bottou and Bengio (1995), registered here.
    """
    metric = get_metric(metric) if isinstance(metric, str) else metric
    costs = tf.map_fn(lambda w: metric.costs_to(points, w), tf.stop_gradient(prototypes))
    labels = tf.argmin(costs, 0)
    if not metric.sums_suffice:
        return tf.reduce_sum(metric.cost(points, tf.gather(prototypes, labels)))

    @tf.custom_gradient
    def linear_cost(w):
        total = tf.reduce_sum(metric.cost(points, tf.gather(w, labels)))
        return total, lambda upstream: upstream * _linear_gradient(metric, points, w, labels)

    return linear_cost(prototypes)


def _linear_gradient(metric: Metric, points: tf.Tensor, w: tf.Tensor, labels: tf.Tensor):
    if metric.normalize:
        points = tf.math.l2_normalize(points, 1, epsilon=0.0)
    k = tf.shape(w)[0]
    weight = tf.math.unsorted_segment_sum(tf.ones_like(points[:, 0]), labels, k)
    sums = tf.math.unsorted_segment_sum(points, labels, k)
    gradient = tf.numpy_function(metric.gradient, [w, weight, sums], w.dtype)
    return tf.ensure_shape(gradient, w.shape)
