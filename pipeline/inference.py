"""Labels in a pipeline of the user's own: a model handler for Beam's RunInference.

rows | RunInference(KMeansModelHandler("out/customers"))    ─► PredictionResult of each row
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from kmeans_tf import Model
from kmeans_tf.model import BAD_LABEL
from kmeans_tf.rows import check_width
from pipeline.data.store import Store

Row = np.ndarray | Sequence[float] | beam.Row | Mapping[str, Any]


class KMeansModelHandler(ModelHandler[Row, PredictionResult, Model]):
    """Labels rows by the model's definition, a batch at a time.

    A row is an array (d,) in the order of the model's features, or it has them by name: a dict, a
    `beam.Row`, a named tuple; what else it has is left alone, and None is a missing value. The
    inference of a row is its `label`, an int, and its `distance`, a float, by these names. A row
    with a bad feature is what it was to the job that trained the model: an error, a row whose label
    and distance are None, or imputed.

    Args:
        model: an output folder of the job, or a model's, at any address that the job knows.
        options: how rows are batched, and what else Beam's `ModelHandler` takes.
    """

    def __init__(self, model: str, **options: Any):
        super().__init__(**options)
        self._path = model

    def load_model(self) -> Model:
        """Reads the model.

        Raises:
            ValueError: the folder holds none.
        """
        store = Store.reaching([self._path])
        path = store.plain(self._path)
        inner = f"{path}/model"
        with store.local_copy(inner if store.is_folder(inner) else path) as folder:
            return Model.load(folder)

    def run_inference(
        self, batch: Sequence[Row], model: Model, inference_args: dict[str, Any] | None = None
    ) -> list[PredictionResult]:
        """Labels some rows.

        Raises:
            ValueError: a row lacks a feature, has another number of them, or is bad where the model
                takes no bad rows.
        """
        rows = np.concatenate([_numbers(row, model) for row in batch])
        model.check(rows)
        labels, distances = model.label(rows)
        answers = zip(batch, labels.tolist(), distances.tolist(), strict=True)
        return [
            PredictionResult(row, _inference(label, distance), self._path)
            for row, label, distance in answers
        ]

    def update_model_path(self, model_path: str | None = None) -> None:
        """Takes another model from now on: last night's, where RunInference watches for it."""
        self._path = model_path or self._path

    def get_metrics_namespace(self) -> str:
        """Where Beam's counts of batches and their times are found."""
        return "kmeans_tf"


def _inference(label: int, distance: float) -> dict[str, Any]:
    if label == BAD_LABEL:
        return {"label": None, "distance": None}
    return {"label": label, "distance": distance}


def _numbers(row: Row, model: Model) -> np.ndarray:
    """The features (1, d) float64 of a row."""
    by_name = isinstance(row, Mapping | beam.Row) or hasattr(row, "_fields")
    values = [_feature(row, name) for name in _names(model)] if by_name else row
    numbers = np.asarray(values, np.float64).reshape(1, -1)
    check_width(numbers, model.dimension)
    return numbers


def _names(model: Model) -> tuple[str, ...]:
    if not model.features:
        raise ValueError("the model knows no names of features: give rows as arrays")
    return model.features


def _feature(row: Any, name: str) -> Any:
    try:
        return row[name] if isinstance(row, Mapping) else getattr(row, name)
    except (KeyError, AttributeError) as error:
        raise ValueError(f"a row has no feature {name!r}: {row!r:.200}") from error
