"""On this machine's runners; tests/clusters/test_same_bits.py has the others."""

from itertools import combinations, product

import pytest

from tests.same_bits import WAYS, answer_of, named, pairwise

RUNNERS = {
    "embedded": (),
    "two threads": ("--threads=2",),
    "one process": (
        "--runner=DirectRunner",
        *("--direct_running_mode=multi_processing", "--direct_num_workers=1"),
    ),
    "two processes": (
        "--runner=DirectRunner",
        *("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    ),
}
DESIGN = pairwise(WAYS | {"runner": tuple(RUNNERS)})


def test_every_two_values_meet():
    factors = WAYS | {"runner": tuple(RUNNERS)}
    for a, b in combinations(factors, 2):
        met = {(row[a], row[b]) for row in DESIGN}
        assert met == set(product(factors[a], factors[b]))


@pytest.fixture(scope="module")
def digests(fit, run, tmp_path_factory):
    """Of the table in one file, on the embedded runner."""
    plain = {name: values[0] for name, values in WAYS.items()}
    answer = answer_of(fit, run, tmp_path_factory.mktemp("plain"), plain, "--threads=1")
    assert len(answer.history) == 5
    return answer.run.digests


@pytest.mark.parametrize("way", DESIGN, ids=named)
def test_one_answer(fit, run, digests, tmp_path, way):
    answer = answer_of(fit, run, tmp_path, way, *RUNNERS[way["runner"]])
    assert answer.run.digests == digests
