"""A store of objects on this machine, brought up once for all tests and then down."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from cluster import seaweed
from pipeline.data.store import Store
from tests.pipeline.answer import Answer, contents
from tests.pipeline.conftest import fit, run, three_blobs

__all__ = ["fit", "run", "three_blobs"]


class Place(NamedTuple):
    """A folder in the bucket, its owner's.

    Attributes:
        store: which reaches it.
        path: what it is called there.
        name: its path in the bucket.
    """

    store: Store
    path: str
    name: str

    @property
    def uri(self) -> str:
        """As a user writes it."""
        return seaweed.address("owner", self.name)

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


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """SeaweedFS, while it is up."""
    try:
        seaweed.up()
        yield
    finally:
        seaweed.down()


@pytest.fixture
def place(server: None) -> Place:
    """A folder of the test's own."""
    name = f"{seaweed.BUCKET}/{uuid.uuid4().hex}"
    store = Store.reaching([seaweed.address("owner", name)])
    return Place(store, f"s3://{name}", name)


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
