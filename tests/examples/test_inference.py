"""A model of the job in pipelines of a user: on a table, and on a stream."""

import contextlib
import io
import re
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from examples import inference
from tests import reference
from tests.tables import read_labels

pytestmark = pytest.mark.xdist_group("inference")  # for the fixtures of this module


@pytest.fixture(scope="module")
def ran(tmp_path_factory, commands_run_here):
    """The folder of the example, and what it printed."""
    folder = tmp_path_factory.mktemp("inference")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as told:
        patch.setattr(inference, "OUT", folder)
        inference.main()
    return folder, told.getvalue()


def test_a_table_is_labelled_as_by_the_job(ran):
    folder, _ = ran
    ours = pq.read_table(folder / "labels").sort_by("customer")
    jobs = read_labels(folder / "result").sort_by("customer")
    assert ours.num_rows == 20_000
    assert ours["label"].equals(jobs["label"])
    distances = ours["distance"].to_numpy()
    np.testing.assert_array_equal(distances.astype(np.float32), jobs["distance"].to_numpy())


def test_a_stream_is_counted_minute_by_minute(ran):
    folder, told = ran
    prototypes = pq.read_table(folder / "result/prototypes.parquet")
    scale = np.std(feature_rows(pq.read_table(folder / "customers.parquet")), axis=0)
    centres = feature_rows(prototypes) / scale
    rows = feature_rows(inference.make_customers(inference.STREAM_ROWS, seed=1)) / scale
    places = reference.labels(rows, centres, "sqeuclidean")
    labels = prototypes["label"].to_numpy()[places]
    printed = re.findall(r"^  (\d)  (.*)$", told, re.M)
    counts = {
        int(minute): {int(label): int(n) for label, n in re.findall(r"(\d+): +(\d+)", text)}
        for minute, text in printed
    }
    minutes = np.array_split(labels, inference.MINUTES)
    assert counts == {i: dict(Counter(part.tolist())) for i, part in enumerate(minutes)}


def feature_rows(table):
    return np.stack([table[name].to_numpy() for name in ("orders", "basket")], 1)
