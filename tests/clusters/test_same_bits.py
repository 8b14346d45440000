"""Whatever the cluster and its size, and however the table is cut: the embedded runner's digests.

What a worker makes of a block is the same wherever it is; tests/crashes/test_same_bits.py has it in
all ways. Here each size of a cluster meets many files, and jobs that are killed.
"""

from collections.abc import Iterator
from types import ModuleType

import pytest

from cluster import flink, prism, spark
from cluster.__main__ import CLUSTERS, flags
from tests.clusters.conftest import require
from tests.same_bits import WAYS, answer_of

PLAIN = {name: values[0] for name, values in WAYS.items()}
OTHER = {name: values[-1] for name, values in WAYS.items()} | {"files": 40}
# TaskManagers and slots of each, or workers. Those of the default size, of all three clusters, have
# the plain way in all other tests.
RUNS = {
    "Flink, 2 TaskManagers": (flink, (2, 1), [OTHER]),
    "Flink, 1 TaskManager": (flink, (1, 1), [PLAIN, OTHER]),
    "Flink, 1 TaskManager of 2 slots": (flink, (1, 2), [OTHER]),
    "Spark, 2 workers": (spark, (2,), [OTHER]),
    "Spark, 1 worker": (spark, (1,), [OTHER]),
    "Prism": (prism, (), [OTHER]),
}


@pytest.fixture(scope="module")
def bring_up() -> Iterator:
    """bring_up(cluster, *sizes): the options of a job on it, alone on this machine."""

    def up(cluster: ModuleType, *sizes: int) -> list[str]:
        for name, other in CLUSTERS.items():
            if other is cluster:
                require(name)
            else:
                other.down()
        cluster.up(*sizes)
        return flags(cluster.options())

    yield up
    for cluster in CLUSTERS.values():
        cluster.down()


@pytest.fixture(scope="module")
def digests(fit, run, tmp_path_factory):
    """Of the table in one file, on the embedded runner."""
    return answer_of(fit, run, tmp_path_factory.mktemp("plain"), PLAIN).run.digests


@pytest.mark.parametrize("name", RUNS)
def test_one_answer(fit, run, bring_up, digests, tmp_path, name):
    cluster, sizes, ways = RUNS[name]
    runner = bring_up(cluster, *sizes)
    for number, way in enumerate(ways):
        answer = answer_of(fit, run, tmp_path / f"{number}", way, *runner)
        assert answer.run.digests == digests, way
