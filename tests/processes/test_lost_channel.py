"""A worker process ends when a channel dies under it, and lives on when its runner ends."""

import socket
import subprocess
import sys
import threading
from concurrent import futures
from types import SimpleNamespace

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from pipeline.passes import lost_channel
from pipeline.passes.lost_channel import CHANNEL_LOST
from tests.connections import cut

SECONDS = 120


class Stream:
    """One that the test ends: quietly, or with an error where there is a reason."""

    def __init__(self):
        self.came, self._over = threading.Event(), threading.Event()
        self._reason = None

    def end(self, reason=None):
        self._reason = reason
        self._over.set()

    def run(self, context):
        context.send_initial_metadata(())  # before it gRPC itself would try the call again
        self.came.set()
        self._over.wait(SECONDS)
        if self._reason:
            context.abort(grpc.StatusCode.INTERNAL, self._reason)
        yield from ()


class Runner(
    services.BeamFnControlServicer, services.BeamFnDataServicer, services.BeamFnStateServicer
):
    """A runner that has no work: control in one server, data and state in another."""

    def __init__(self):
        self.control, self.data, self.state = Stream(), Stream(), Stream()
        self._servers = [grpc.server(futures.ThreadPoolExecutor(4)) for _ in range(2)]
        services.add_BeamFnControlServicer_to_server(self, self._servers[0])
        services.add_BeamFnDataServicer_to_server(self, self._servers[1])
        services.add_BeamFnStateServicer_to_server(self, self._servers[1])
        self.ports = [s.add_insecure_port("localhost:0") for s in self._servers]
        self.urls = [f"localhost:{port}" for port in self.ports]
        for server in self._servers:
            server.start()

    def Control(self, answers, context):  # noqa: N802
        return self.control.run(context)

    def Data(self, elements, context):  # noqa: N802
        return self.data.run(context)

    def State(self, requests, context):  # noqa: N802
        return self.state.run(context)

    def close(self):
        for stream in (self.data, self.state, self.control):
            stream.end()
        for server in self._servers:
            server.stop(None)


@pytest.fixture
def runner():
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture
def worker(runner):
    """worker(*words): a worker process that has all its channels."""
    started = []

    def start(*words):
        module = ["-m", "tests.pipeline.passes.lost_channels"]
        command = [sys.executable, *module, *runner.urls, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, **pipes))
        assert started[-1].stdout.readline() == "ready\n", started[-1].communicate()[1]
        for stream in (runner.control, runner.data, runner.state):
            assert stream.came.wait(SECONDS)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


LOSSES = {
    "data": (
        lambda runner, _: runner.data.end("Debug Text: Direct buffer memory"),
        "its data channel was lost: Debug Text: Direct buffer memory",
    ),
    "data, without a word": (
        lambda runner, _: runner.data.end(),
        "its data channel was lost: the runner closed it",
    ),
    "state": (
        lambda runner, _: runner.state.end("no memory"),
        "its state channel was lost: no memory",
    ),
    "the connection": (
        lambda runner, process: cut(process.pid, {runner.ports[1]}),
        "its ",  # which one is lost first is not said
    ),
}


@pytest.mark.parametrize(("lose", "told"), LOSSES.values(), ids=LOSSES)
def test_a_channel_that_dies_ends_the_process(runner, worker, lose, told):
    process = worker()
    lose(runner, process)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (CHANNEL_LOST, "")
    name = f"worker 1-1 at {runner.urls[0]}"
    said = [line for line in err.splitlines() if line.startswith("worker 1-1")]
    assert len(said) == 1, err
    assert said[0].startswith(f"{name}: {told}")
    assert said[0].endswith(f": process {process.pid} ends")


def test_a_runner_that_ends_leaves_the_process_alive(runner, worker):
    """It may close the data channel first."""
    process = worker("lost")
    runner.data.end()
    assert process.stdout.readline() == "lost\n"
    runner.control.end()
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "lives\n"), err


def test_a_runner_that_is_lost_leaves_the_process_alive(runner, worker):
    process = worker()
    runner.close()
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "lives\n"), err


class Unheard:
    """A worker that has lost its data channel to this endpoint, and lives for so many looks."""

    def __init__(self, looks, over, endpoint):
        self.looks, self.over = looks, over
        lost = SimpleNamespace(_exception=None, _reads_finished=threading.Event())
        lost._reads_finished.set()
        self._data_channel_factory = SimpleNamespace(_data_channel_cache={(endpoint, ""): lost})

    @property
    def _alive(self):
        self.looks -= 1
        if not self.looks:
            self.over.set()
        return self.looks > 0


@pytest.mark.parametrize("listen", [("control", "data"), ("control",), ("data",), ()])
def test_of_a_runner_that_is_gone_or_closing_the_process_lives_on(monkeypatch, listen):
    """Others may be at work in it; this worker ends by itself."""
    ended, over = [], threading.Event()
    monkeypatch.setattr(lost_channel, "CLOSING_SECONDS", 0.0)
    monkeypatch.setattr("os._exit", ended.append)
    servers = {name: socket.create_server(("127.0.0.1", 0)) for name in ("control", "data")}
    addresses = {name: f"127.0.0.1:{s.getsockname()[1]}" for name, s in servers.items()}
    for name, server in servers.items():
        if name not in listen:
            server.close()
    lost_channel.watch("1-1", Unheard(6, over, addresses["data"]), addresses["control"])
    assert over.wait(SECONDS)
    for server in servers.values():
        server.close()
    assert bool(ended) == (len(listen) == len(servers))
