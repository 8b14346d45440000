"""The model handler for RunInference; tests/examples has it on a whole table and on a stream."""

from collections import namedtuple

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from kmeans_tf import Model
from pipeline.inference import KMeansModelHandler

ENDS = np.array([[0.0, 0], [10, 10]])
NUMBERS = np.array([3, 8], np.int32)
Named = namedtuple("Named", "b a")


def model(policy="fail", means=None, features=("a", "b")):
    return Model("sqeuclidean", ENDS, NUMBERS, np.zeros(2), np.ones(2), means, features, policy)


def inferred(batch, of):
    handler = KMeansModelHandler("somewhere")
    return [result.inference for result in handler.run_inference(batch, of)]


@pytest.mark.parametrize(
    "row",
    [
        np.array([3.0, 4.0]),
        [3, 4],
        {"b": 4, "c": "else", "a": 3.0},
        beam.Row(b=4, c="else", a=3.0),
        Named(4, 3),
    ],
    ids=["array", "list", "dict", "Row", "named tuple"],
)
def test_a_row_may_be(row):
    assert inferred([row, [10.0, 10.0]], model()) == [
        {"label": 3, "distance": 5.0},
        {"label": 8, "distance": 0.0},
    ]


def test_one_column_of_lists_is_a_row():
    rows = [{"embedding": [3.0, 4.0]}, {"embedding": np.array([10, 10])}]
    labels = [each["label"] for each in inferred(rows, model(features=("embedding",)))]
    assert labels == [3, 8]


def test_a_batch_is_labelled_as_a_whole_to_the_bit():
    rows = np.random.default_rng(0).normal(5, 9, (500, 2))
    labels, distances = model().label(rows)
    answers = inferred(list(rows), model())
    assert [each["label"] for each in answers] == labels.tolist()
    assert [each["distance"] for each in answers] == distances.tolist()


@pytest.mark.parametrize(
    ("policy", "means", "answer"),
    [
        ("null", None, {"label": None, "distance": None}),
        ("impute", np.array([4.0, 3.0]), {"label": 3, "distance": 5.0}),
    ],
)
def test_a_bad_row_is_what_the_model_says(policy, means, answer):
    rows = [{"a": None, "b": 3.0}, {"a": 0, "b": 0}]
    assert inferred(rows, model(policy, means)) == [answer, {"label": 3, "distance": 0.0}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": 1, "b": None}, "row 1, feature 'b' is NaN"),
        ({"a": 1}, "a row has no feature 'b': {'a': 1}"),
        (beam.Row(b=1), r"a row has no feature 'a': Row\(b=1\)"),
        ([1.0], "rows have 1 feature, the model has 2"),
    ],
)
def test_a_row_that_is_none_is_told(row, message):
    with pytest.raises(ValueError, match=message):
        inferred([[1.0, 2], row], model())


def test_a_model_without_names_takes_arrays():
    assert inferred([[1.0, 0]], model(features=())) == [{"label": 3, "distance": 1.0}]
    with pytest.raises(ValueError, match="knows no names of features: give rows as arrays"):
        inferred([{"a": 1, "b": 0}], model(features=()))


def test_a_pipeline_labels_rows_in_batches_and_leaves_keys_alone(tmp_path):
    model().save(str(tmp_path / "model"))
    rows = np.random.default_rng(0).normal(5, 9, (40, 2))
    labels, distances = model().label(rows)
    expected = [
        (str(i), tuple(row.tolist()), {"label": int(label), "distance": float(distance)})
        for i, (row, label, distance) in enumerate(zip(rows, labels, distances, strict=True))
    ]
    handler = KMeansModelHandler(str(tmp_path), max_batch_size=16)  # an output: not all in one
    assert handler.batch_elements_kwargs() == {"max_batch_size": 16}

    def seen(keyed: tuple[str, PredictionResult]):
        key, (row, inference, model_id) = keyed
        assert model_id == str(tmp_path)
        return key, tuple(row.tolist()), inference

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = (
            pipeline
            | beam.Create([(str(i), row) for i, row in enumerate(rows)])
            | RunInference(KeyedModelHandler(handler))
            | beam.Map(seen)
        )
        assert_that(found, equal_to(expected))


def test_a_newer_model_takes_over(tmp_path):
    handler = KMeansModelHandler(str(tmp_path / "old"))
    model().save(str(tmp_path / "new"))
    handler.update_model_path(str(tmp_path / "new"))
    assert handler.load_model().digest == model().digest
    handler.update_model_path(None)
    assert handler.run_inference([[1.0, 0]], model())[0].model_id == str(tmp_path / "new")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path} holds no model of this job"):
        KMeansModelHandler(str(tmp_path)).load_model()
