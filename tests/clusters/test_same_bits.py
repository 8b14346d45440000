"""Whatever the cluster, and however the table is cut: the digests of the embedded runner."""

import pytest

from tests.same_bits import WAYS, answer_of, named, pairwise

DESIGN = pairwise(WAYS | {"files": (1, 40)})


@pytest.fixture(scope="session")
def digests(fit, run, tmp_path_factory):
    """Of the table in one file, on the embedded runner."""
    plain = {name: values[0] for name, values in WAYS.items()}
    return answer_of(fit, run, tmp_path_factory.mktemp("plain"), plain).run.digests


@pytest.mark.parametrize("way", DESIGN, ids=named)
def test_one_answer(fit, run, digests, tmp_path, runner, way):
    assert answer_of(fit, run, tmp_path, way, *runner).run.digests == digests
