"""The training as an estimator with scikit-learn's habits, which need not be installed."""

from __future__ import annotations

import os
import reprlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np

from kmeans_tf.exact import addable, exact_sum, to_float, two_product
from kmeans_tf.local import fit
from kmeans_tf.model import Model
from kmeans_tf.points import piece_rows
from kmeans_tf.rows import row_weights, table_rows
from kmeans_tf.runtime import processors
from kmeans_tf.start import AUTO
from kmeans_tf.state import DIVERGED, TrainingOptions


@dataclass(repr=False, eq=False)
class KMeans:
    """k-means on rows in memory: arrays, or tables of pandas, polars, Arrow and their like.

    Args:
        n_clusters: k.
        init: 'auto', 'k-means++', 'k-means-parallel', 'random' or prototypes (at most k, d).
        max_iter: iterations at most.
        tol: stop when the cost changes by at most this part of itself; 0: when no bit of a
            prototype changes.
        random_state: a whole number; the same one gives the same clusters.
        metric: a name, see `get_metric`.
        standard: whether every feature is scaled to unit variance while training.
        optimizer: 'lloyd', 'sgd' or 'adam'.
        learning_rate, reduction: of the last two, see `TrainingOptions`.
        precision: 'auto', 'single' or 'double', see `kmeans_tf.fit`.
        threads: how many work at once; None: as many as there are processors.

    Attributes:
        model_: the `Model`.
        cluster_centers_: (k, d) float64, in the rows' units.
        labels_: (n,) int32, of the rows that were trained on.
        inertia_: their cost with these labels, in the (scaled) rows' units.
        n_iter_: how many iterations there were.
        n_features_in_: d.
        feature_names_in_: (d,) the names of the table's columns; not there for an array.

    What was loaded has no labels_, inertia_ or n_iter_: these are in the job's output. Errors are a
    ValueError, or a TypeError for what is no number, and name the row and the feature.
    """

    n_clusters: int = 8
    _: KW_ONLY
    init: str | np.ndarray = AUTO
    max_iter: int = 100
    tol: float = 1e-4
    random_state: int = 0
    metric: str = "sqeuclidean"
    standard: bool = False
    optimizer: str = "lloyd"
    learning_rate: float = 0.0
    reduction: str = "sum"
    precision: str = AUTO
    threads: int | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> KMeans:
        """The model of a finished output of the job, or one that `to_saved_model` wrote.

        Its labels are the numbers that the job gave, `model_.labels`. A row with a bad feature is
        what it was to the job: an error, a row without a label (-1), or imputed.

        Raises:
            ValueError: the folder holds no model.
        """
        model = Model.load(os.fspath(folder))
        scaled = bool((model.scale != 1).any())
        loaded = cls(len(model.prototypes), metric=model.metric, standard=scaled)
        loaded.model_ = model
        return loaded

    def to_saved_model(self, folder: str | os.PathLike[str]) -> None:
        """Writes a SavedModel, for TensorFlow, the job's `label --model` and `load`."""
        self._model.save(os.fspath(folder))

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Clusters the rows X (n, d); y is ignored, sample_weight is (n,) numbers from 0."""
        if not isinstance(self.random_state, Integral):
            raise ValueError(f"random_state = {self.random_state!r}: expected a whole number")
        rows, names = table_rows(X)
        weights = None if sample_weight is None else row_weights(sample_weight, len(rows))
        options = TrainingOptions(
            self.metric,
            self.optimizer,
            self.learning_rate,
            self.reduction,
            self.tol,
            self.max_iter,
        )
        model, state = fit(
            rows,
            self.n_clusters,
            weights=weights,
            init=self.init,
            seed=int(self.random_state),
            standard=self.standard,
            precision=self.precision,
            options=options,
            threads=self.threads,
            features=names,
        )
        trial = state.trials[0]
        if trial.status == DIVERGED:
            raise ValueError(
                f"the cost is not finite after {trial.iterations} iterations: choose a smaller "
                "learning_rate, or prototypes that are nearer"
            )
        self.model_: Model = model
        labels, cost = self._labels_and_cost(rows, weights)
        self.labels_: np.ndarray = labels
        self.inertia_: float = cost
        self.n_iter_: int = trial.iterations
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Labels (n,) int32 of rows."""
        return self._by_parts(self._model.label, self._rows(X))[0]

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Clusters the rows: their labels (n,) int32."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def transform(self, X: Any) -> np.ndarray:
        """Distances (n, k) float64 of rows from each centre, in the (scaled) rows' units."""
        (distances,) = self._by_parts(lambda rows: (self._model.distances(rows),), self._rows(X))
        return distances

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Clusters the rows: their distances (n, k) from each centre."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the cost of rows, so that more is better; those without a label cost nothing."""
        rows = self._rows(X)
        weights = None if sample_weight is None else row_weights(sample_weight, len(rows))
        return -self._labels_and_cost(rows, weights)[1]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the estimator was made with, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> KMeans:
        """Changes some of it, for the next `fit`."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"no parameter {name!r}: there are {', '.join(known)}")
            setattr(self, name, value)
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names (k,) for the columns of `transform`."""
        return np.array([f"kmeans{j}" for j in range(len(self._model.prototypes))], object)

    @property
    def cluster_centers_(self) -> np.ndarray:
        return self._model.prototypes

    @property
    def n_features_in_(self) -> int:
        return self._model.dimension

    @property
    def feature_names_in_(self) -> np.ndarray:
        if not self._model.names:
            raise AttributeError("the rows that were trained on have no names of features")
        return np.array(self._model.names, object)

    @property
    def _model(self) -> Model:
        if "model_" not in vars(self):
            raise _not_fitted("this KMeans is not fitted yet: call fit, or KMeans.load")
        return self.model_

    def __repr__(self) -> str:
        changed = [
            f"{field.name}={' '.join(reprlib.repr(value).split())}"
            for field in fields(self)
            if repr(value := getattr(self, field.name)) != repr(field.default)
        ]
        return f"KMeans({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of estimators that are none of its own."""
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags("clusterer", TargetTags(required=False), TransformerTags(preserves_dtype=[]))

    def _rows(self, table: Any) -> np.ndarray:
        """Rows (n, d) that the model has an answer for; a table's columns by their names."""
        rows, _ = table_rows(table, self._model.names)
        self._model.check(rows)
        return rows

    def _labels_and_cost(
        self, rows: np.ndarray, weights: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        """Labels (n,) of rows, and their cost, added exactly."""
        labels, costs, _ = self._by_parts(self._model.label_with_costs, rows)
        weights = np.ones(len(rows)) if weights is None else weights
        good = ~np.isnan(costs)
        costs, weights = costs[good], weights[good]
        held = addable(weights, costs)
        if not held.all():
            row = int(np.flatnonzero(good)[np.argmin(held)])
            raise ValueError(
                f"row {row} is too far from every centre, or too heavy, for its cost to be added: "
                "rescale the features, or leave the row out"
            )
        return labels, to_float(sum(map(exact_sum, two_product(weights, costs))))

    def _by_parts(
        self, of: Callable[[np.ndarray], tuple[np.ndarray, ...]], rows: np.ndarray
    ) -> list[np.ndarray]:
        """What a function gives of rows, some of them at once on each thread."""
        size = piece_rows(rows.shape[1])
        parts = [rows[start : start + size] for start in range(0, len(rows), size)] or [rows]
        with ThreadPoolExecutor(self.threads or processors()) as pool:
            return [np.concatenate(each) for each in zip(*pool.map(of, parts), strict=True)]


def _not_fitted(text: str) -> Exception:
    """Scikit-learn's own error where that is loaded: nobody can look out for it elsewhere."""
    known = sys.modules.get("sklearn.exceptions")
    return known.NotFittedError(text) if known else _NotFittedError(text)


class _NotFittedError(ValueError, AttributeError):
    """What scikit-learn's error is, too."""
