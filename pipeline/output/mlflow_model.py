"""How MLflow loads a model of this job: `mlflow.pyfunc.load_model` calls `_load_pyfunc`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmeans_tf import Model
from kmeans_tf.rows import table_rows


@dataclass(frozen=True)
class MlflowModel:
    """A model, with the method that MLflow calls."""

    model: Model

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """`label` (n,) int32 and `distance` (n,) float64 of n rows, see `Model.label`.

        Args:
            rows: a table with the features, in any order, or an array (n, d).
            params: none is known.

        Raises:
            TypeError, ValueError: the rows are not what the model takes.
        """
        values, _ = table_rows(rows, self.model.features)
        labels, distances = self.model.label(values)
        return {"label": labels, "distance": distances}


def _load_pyfunc(path: str) -> MlflowModel:
    return MlflowModel(Model.load(path))
