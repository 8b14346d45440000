"""The job run as its users run it, through its command line, in this process."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kmeans_tf.runtime import tf
from pipeline.__main__ import main
from tests.pipeline.answer import Answer
from tests.runner_cases import embedded, fitted, many_blocks
from tests.tables import blobs, write_shards

__all__ = ["embedded", "fitted", "many_blocks"]


LOOKED_AT = {
    "output",
    "test_bad_rows.py",
    "test_inference.py",
    "test_previous.py",
    "test_training.py",
}  # where what a job writes for others is read


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    stderr: str


class Blobs(NamedTuple):
    """Rows (n, d) in a folder of shards, and three prototypes (3, d) to start from."""

    folder: Path
    points: np.ndarray
    truth: np.ndarray
    start: np.ndarray
    start_file: Path


def _run(*args: object) -> Ran:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main([str(arg) for arg in args])
    return Ran(code, stderr.getvalue())


def _fit(input: object, output: Path, *args: object, command: str = "fit") -> Answer:
    ran = _run(command, f"--input={input}", f"--output={output}", *args)
    assert ran.code == 0, ran.stderr
    return Answer(Path(output))


def _save_variables(module: "tf.Module", folder: str) -> None:
    """All of a SavedModel that this project reads again."""
    tf.train.Checkpoint(root=module).write(str(Path(folder, "variables", "variables")))
    Path(folder, "saved_model.pb").write_text("not traced")


@pytest.fixture(scope="module", autouse=True)
def what_is_not_looked_at_is_not_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """Half of a small job is drawing its report and tracing its SavedModel.

    The tests of the output have them made, and so has whatever runs the job in a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not LOOKED_AT & set(request.path.parts):
            patch.setattr("pipeline.output.report.render_report", lambda *_: "not drawn")
            patch.setattr("kmeans_tf.saved_model.save_module", _save_variables)
        yield


@pytest.fixture(scope="session")
def run() -> Callable[..., Ran]:
    """run(*args): a command line -> its exit code and what it wrote for the user."""
    return _run


@pytest.fixture(scope="session")
def fit() -> Callable[..., Answer]:
    """fit(input, output, *args): a command that must succeed -> its answer."""
    return _fit


@pytest.fixture(scope="session")
def three_blobs(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    """600 rows of three blobs in three shards, in row groups of 70, with the key `id`."""
    folder = tmp_path_factory.mktemp("three blobs")
    points, truth = blobs(600, 2, 3, seed=1)
    write_shards(folder / "in", points, shards=3, keys={"id": np.arange(600)}, row_group_size=70)
    start = np.array([points[truth == label][0] for label in range(3)], np.float64)
    np.save(folder / "start.npy", start)
    return Blobs(folder / "in", points, truth, start, folder / "start.npy")


@pytest.fixture
def flink():
    """flink(overview): a server that answers as Flink's REST interface does -> its address."""
    servers = []

    def start(**overview):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/overview" else 404)
                self.end_headers()
                self.wfile.write(json.dumps(overview).encode())

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
