"""Clusters of this machine, brought up once for all tests that run on them and then down."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.__main__ import CLUSTERS, flags
from tests.pipeline.conftest import fit, run, three_blobs
from tests.runner_cases import embedded, fitted, many_blocks
from tests.tables import blobs, write_shards

__all__ = ["embedded", "fit", "fitted", "many_blocks", "run", "three_blobs"]

RUNNERS = {"FlinkRunner": "flink", "SparkRunner": "spark", "PrismRunner": "prism"}
NEEDS = {"flink": ("java", "mvn"), "spark": ("java", "mvn"), "prism": ("go",), "boot": ("go",)}


def require(name: str) -> None:
    """Skips where a cluster cannot be built; fails where that must not be."""
    missing = [program for program in NEEDS[name] if not shutil.which(program)]
    if missing:
        text = f"{name} needs {' and '.join(missing)} on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


def brought_up(name: str) -> Iterator[str]:
    """The name of a cluster, while it is up."""
    require(name)
    try:
        CLUSTERS[name].up()
        yield name
    finally:
        CLUSTERS[name].down()


@pytest.fixture(scope="session", params=RUNNERS.values(), ids=RUNNERS.keys())
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a cluster that is up."""
    yield from brought_up(request.param)


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """240,000 rows of eight blobs in six shards of two blocks or more."""
    folder = tmp_path_factory.mktemp("rows") / "in"
    points, _ = blobs(240_000, 16, 8, seed=2)
    write_shards(folder, points, shards=6, keys={"id": range(len(points))}, row_group_size=20_000)
    return folder


@pytest.fixture(scope="session")
def runner(cluster: str) -> tuple[str, ...]:
    """The options of a job on the cluster; the first names the runner."""
    return tuple(flags(CLUSTERS[cluster].options()))
