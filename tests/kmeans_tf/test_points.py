import numpy as np
import pytest

from kmeans_tf.points import CAPACITIES, CHUNK_ELEMENTS, Points, capacity_for, chunk_rows
from tests.kmeans_tf.build import fractions, raw_encoding, raw_points


@pytest.mark.parametrize("rows", [0, 1, 4096, 4097, 16385, 65536])
def test_a_chunk_is_padded_with_zeros(rows):
    values = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    points = raw_points(values)
    padded = points.values.numpy()
    assert padded.shape == (capacity_for(rows), 2)
    assert padded.dtype == np.float32
    assert np.array_equal(points.array, values)
    assert not padded[rows:].any()
    assert not points.norms.numpy()[rows:].any()
    assert points.rows == rows
    assert points.weights is None


def test_a_chunk_has_a_limit():
    with pytest.raises(ValueError, match="65537 rows in one chunk; the limit is 65536"):
        Points.encode(raw_encoding(1), np.zeros((CAPACITIES[-1] + 1, 1)), None)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18])
def test_norms_are_never_too_small(scale):
    values = (np.random.default_rng(1).standard_normal((300, 5)) * scale).astype(np.float32)
    norms = fractions(raw_points(values).norms.numpy()[:300])
    squares = (fractions(values) ** 2).sum(1)
    assert (norms >= squares).all()
    smallest = fractions([2.0**-149])[0]  # the step of a subnormal
    assert (norms <= squares * (1 + fractions([2.0**-22])[0]) + 2 * smallest).all()


@pytest.mark.parametrize("features", [1, 2, 16, 128, 129, 512, 2048, 2049, 10**6])
def test_chunk_rows_bound_memory(features):
    rows = chunk_rows(features)
    assert rows in CAPACITIES
    assert rows * features <= CHUNK_ELEMENTS or rows == CAPACITIES[0]
    assert capacity_for(rows) == rows
