"""The axes of the scatter, held to all singular vectors of the rows."""

import numpy as np
import pytest

from kmeans_tf import Model
from pipeline.data.columns import Columns
from pipeline.output.scatter import scatter_table


@pytest.mark.parametrize(("rows", "d"), [(40, 5), (5, 40), (2, 3), (1, 3), (0, 3)])
@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_rows_lie_along_their_principal_components(rows, d, spread):
    random = np.random.default_rng(rows)
    places, scale = 7 + spread * random.normal(size=(rows, d)), random.uniform(1, 2, d)
    model = Model("sqeuclidean", np.zeros((1, d)), np.zeros(1, np.int32), np.zeros(d), scale)
    told, table = scatter_table(Columns(("v",), d, is_list=True), model, places, None)
    if not rows:
        assert table.num_rows == 0
        return
    away = (places - places.mean(0)) * scale
    left, lengths, _ = np.linalg.svd(away, full_matrices=False)
    expected = np.pad(left * lengths, ((0, 0), (0, 2)))[:, :2]
    for axis, name in enumerate("xy"):
        assert np.abs(table[name][:rows]) == pytest.approx(np.abs(expected[:, axis]), abs=1e-6)
    share = lengths[0] ** 2 / ((lengths**2).sum() or 1.0)
    assert f"1 ({share:.0%} of" in told.x
