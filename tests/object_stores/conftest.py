"""Stores of objects on this machine, each brought up once for all tests and then down."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from cluster import fake_gcs, seaweed
from pipeline.data.store import Store
from tests.pipeline.answer import Answer, contents
from tests.pipeline.conftest import fit, run, three_blobs

__all__ = ["fit", "run", "three_blobs"]


class Place(NamedTuple):
    """A folder in the bucket, its owner's.

    Attributes:
        address: what a user writes for a place in the bucket.
        store: which reaches it.
        path: what it is called there.
        name: its path in the bucket.
    """

    address: Callable[[str], str]
    store: Store
    path: str
    name: str

    @property
    def uri(self) -> str:
        """As a user writes it."""
        return self.address(self.name)

    def below(self, name: str) -> "Place":
        return self._replace(path=f"{self.path}/{name}", name=f"{self.name}/{name}")

    def names(self) -> list[str]:
        """Of all that is in it."""
        return [file.below for file in self.store.files(self.path, recursive=True)]

    def fetched(self, folder: Path) -> Answer:
        """A copy of the output in it."""
        shutil.rmtree(folder, ignore_errors=True)
        self.store.download(self.path, folder)
        return Answer(folder)


# By the kind of store: what is brought up, and the addresses of places in its bucket.
SERVERS: dict[str, tuple[ModuleType, Callable[[str], str]]] = {
    "s3": (seaweed, partial(seaweed.address, "owner")),
    "gs": (fake_gcs, fake_gcs.address),
}


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A kind of store, while it is up."""
    module, _ = SERVERS[request.param]
    try:
        module.up()
        yield request.param
    finally:
        module.down()


only_s3 = pytest.mark.parametrize("server", ["s3"], indirect=True)
only_gs = pytest.mark.parametrize("server", ["gs"], indirect=True)


@pytest.fixture
def place(server: str) -> Place:
    """A folder of the test's own."""
    module, address = SERVERS[server]
    name = f"{module.BUCKET}/{uuid.uuid4().hex}"
    return Place(address, Store.reaching([address(name)]), f"{server}://{name}", name)


@pytest.fixture
def rows(place: Place, three_blobs) -> Place:
    """The three blobs, in the store."""
    place.store.upload(three_blobs.folder, place.below("in").path)
    return place.below("in")


ARGS = ("--features=f0,f1", "--keys=id", "--k=5", "--init=k-means++", "--tolerance=0")
ITERATIONS = "--max_iterations=6"


@pytest.fixture(scope="session")
def local(fit, three_blobs, tmp_path_factory) -> Answer:
    """What the same job answers on local files."""
    return fit(three_blobs.folder, tmp_path_factory.mktemp("local") / "out", *ARGS, ITERATIONS)


# What tells times, or is TensorFlow's to name.
OTHERWISE = ("run.json", "report.html", "model/saved_model.pb", "model/fingerprint.pb")
TYPICAL = "typical.parquet"  # which names files of the input


def same_bytes(folder: Path) -> dict[str, object]:
    """What of an output must be the same in every byte, wherever input and output are."""
    same: dict[str, object] = {
        name: data
        for name, data in contents(folder).items()
        if name not in OTHERWISE and not name.endswith(".index")
    }
    rows = pq.read_table(folder / TYPICAL).to_pylist()
    same[TYPICAL] = [row | {"file": Path(row["file"]).name} for row in rows]
    return same
