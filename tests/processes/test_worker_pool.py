"""The warm worker pool, asked as a runner asks it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent import futures
from dataclasses import dataclass

import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc

from pipeline.errors import RunError
from pipeline.worker_pool import __main__ as command_line
from pipeline.worker_pool import pool as pool_module
from pipeline.worker_pool.pool import WorkerPool, WorkerProcess
from pipeline.worker_pool.protocol import LOOPBACK, start_server
from pipeline.worker_pool.warm_process import WorkerThreads
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def start(pool):
    """start(id): asks for a worker, for a runner that listens and has no work."""
    runner = grpc.server(futures.ThreadPoolExecutor(4))
    port = runner.add_insecure_port("localhost:0")
    runner.start()
    yield lambda worker_id: pool.StartWorker(asked(worker_id, f"localhost:{port}"), By())
    runner.stop(None)


def asked(worker_id, url):
    request = api.StartWorkerRequest(worker_id=worker_id)
    request.control_endpoint.url = url
    return request


def stop_request(worker_id):
    return api.StopWorkerRequest(worker_id=worker_id)


@dataclass(frozen=True)
class By:
    """What the pool may ask about a call: by which connection it came."""

    connection: str = "ipv4:127.0.0.1:1"

    def peer(self):
        return self.connection


def ids(process):
    return [worker.request.worker_id for worker in process.workers.values()]


def loads(pool):
    return sorted(len(process.workers) for process in pool.processes)


def test_the_pool_itself_loads_none_of_the_heavy_libraries():
    code = (
        "import sys, pipeline.worker_pool.pool, pipeline.worker_pool.__main__\n"
        "print(*{'tensorflow', 'matplotlib', 'kmeans_tf'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_workers_run_in_processes_of_their_own(pool):
    pids = {process.pid for process in pool.processes}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert all(process.alive for process in pool.processes)


def test_a_process_that_is_not_ready_starts_no_worker():
    process = WorkerProcess()
    try:
        with pytest.raises(RunError, match=f"^worker process {process.pid} was asked for a worker"):
            _ = process.stub
    finally:
        process.kill()


def test_the_processes_listen_on_localhost_alone(pool):
    for process in pool.processes:
        assert listens("127.0.0.1", process.port)
        assert not listens("127.0.0.2", process.port)


def listens(host, port):
    """Whether something does; all of 127.0.0.0/8 is this machine, and a server binds but one."""
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_processes_take_turns(pool, start):
    for i, expected in enumerate([[0, 1], [1, 1], [1, 2], [2, 2]]):
        assert not start(f"worker-{i}").error
        assert loads(pool) == expected
    (busy,) = [process for process in pool.processes if "worker-0" in ids(process)]
    pool.StopWorker(stop_request("worker-0"), By())
    assert len(busy.workers) == 1
    start("worker-4")
    assert "worker-4" in ids(busy)
    for i in range(5):
        pool.StopWorker(stop_request(f"worker-{i}"), By())
    assert loads(pool) == [0, 0]


def test_a_killed_process_is_replaced_and_its_workers_with_it(pool, start, capfd):
    start("promised")
    (busy,) = [process for process in pool.processes if process.workers]
    (idle,) = [process for process in pool.processes if not process.workers]
    busy.popen.kill()
    wait_for(lambda: busy not in pool.processes, 60)
    (successor,) = [process for process in pool.processes if process is not idle]
    assert successor.alive
    assert successor.pid != busy.pid
    assert ids(successor) == ["promised"]
    told = f"worker process {busy.pid} was killed, as it is where the machine or container lacks "
    assert told in capfd.readouterr().err
    pool.StopWorker(stop_request("promised"), By())
    assert loads(pool) == [0, 0]


class FakeProcess:
    """A worker process in name only, which writes down what it is asked."""

    def __init__(self):
        self.asked = []
        self.alive = True
        self.workers = {}
        self.turn = 0
        self.stub = self
        self.popen = self
        self.ended = threading.Event()

    keep = WorkerProcess.keep

    def wait_until_ready(self):
        pass

    def wait(self):
        self.ended.wait()

    def kill(self):
        self.ended.set()

    def StartWorker(self, request, timeout):  # noqa: N802
        self.asked.append(("start", request.worker_id, request.control_endpoint.url))
        return api.StartWorkerResponse()

    def StopWorker(self, request, timeout):  # noqa: N802
        self.asked.append(("stop", request.worker_id))
        return api.StopWorkerResponse()


@pytest.fixture
def faked(monkeypatch):
    """A pool of two fake processes."""
    monkeypatch.setattr(pool_module, "WorkerProcess", FakeProcess)
    pool = WorkerPool(2)
    yield pool
    pool.close()


def test_one_id_from_two_control_endpoints_is_two_workers(faked):
    for url in ("a:1", "b:1"):
        faked.StartWorker(asked("1-1", url), By())
    first, second = faked.processes
    assert first.asked == [("start", "1-1", "a:1")]
    assert second.asked == [("start", "1-1", "b:1")]
    assert loads(faked) == [1, 1]


def test_a_worker_that_is_asked_for_again_is_kept_once(faked):
    for _ in range(3):
        faked.StartWorker(asked("1-1", "a:1"), By())
    assert loads(faked) == [0, 1]


def stopped(process):
    return [name for what, name, *_ in process.asked if what == "stop"]


def test_a_stop_is_for_the_worker_that_its_connection_asked_for(faked):
    for runner in "ab":
        faked.StartWorker(asked("4-1", f"{runner}:1"), By(runner))
    faked.StopWorker(stop_request("4-1"), By("b"))
    first, second = faked.processes
    assert (stopped(first), stopped(second)) == ([], ["4-1 at b:1"])
    assert (ids(first), ids(second)) == (["4-1"], [])


def test_a_stop_for_a_worker_of_a_pool_before_this_touches_nobody(faked):
    """Its runner numbers workers on; another's is of the same id by then."""
    faked.StartWorker(asked("5-1", "b:1"), By("b"))
    faked.StopWorker(stop_request("5-1"), By("a"))
    assert not [name for process in faked.processes for name in stopped(process)]
    assert loads(faked) == [0, 1]


def test_a_stop_reaches_one_worker_alone(faked):
    for worker_id, url in (("4-1", "a:1"), ("4-2", "a:1"), ("4-1", "b:1"), ("5-1", "b:1")):
        faked.StartWorker(asked(worker_id, url), By(url))
    faked.StopWorker(stop_request("5-1"), By("b:1"))
    first, second = faked.processes
    assert (stopped(first), stopped(second)) == ([], ["5-1 at b:1"])
    assert (ids(first), ids(second)) == (["4-1", "4-1"], ["4-2"])


def test_workers_that_were_never_stopped_do_not_count(faked):
    """Each job has executors of its own, which end without a word; both number from "1-1"."""
    for job in range(4):
        for executor in range(2):
            faked.StartWorker(asked("1-1", f"host:{job}{executor}"), By())
    assert [len(process.asked) for process in faked.processes] == [4, 4]
    faked.processes[0].workers.clear()
    for url in ("a:1", "b:1"):
        faked.StartWorker(asked("1-1", url), By())
    assert [len(process.asked) for process in faked.processes] == [5, 5]


def test_a_dead_process_has_no_turn(faked):
    faked.processes[0].alive = False
    for url in ("a:1", "b:1"):
        faked.StartWorker(asked("1-1", url), By())
    assert [len(process.asked) for process in faked.processes] == [0, 2]


def test_the_latest_workers_are_kept_and_no_more(faked):
    kept = pool_module.KEPT_WORKERS
    for i in range(2 * kept + 20):
        faked.StartWorker(asked(f"{i}", "a:1"), By())
    for parity, process in enumerate(faked.processes):
        assert ids(process) == [str(i) for i in range(20 + parity, 2 * kept + 20, 2)]


class Runner(beam_fn_api_pb2_grpc.BeamFnControlServicer):
    """A runner that has no work; it notes when a worker closes its half of the stream."""

    def __init__(self):
        self.came, self.gone, self.over = (threading.Event() for _ in range(3))
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(self, self._server)
        self.url = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def Control(self, answers, context):  # noqa: N802
        self.came.set()
        for _ in answers:
            pass
        self.gone.set()
        self.over.wait()
        yield from ()

    def end(self):
        self.over.set()
        self._server.stop(None)


def test_two_workers_of_one_id_in_one_process():
    workers = WorkerThreads()
    runners = [Runner(), Runner()]
    try:
        names = [f"1-1 at {runner.url}" for runner in runners]
        for runner in runners:
            assert not workers.StartWorker(asked("1-1", runner.url), None).error
            assert runner.came.wait(30)
        assert set(workers.harnesses) == set(names)
        workers.StopWorker(stop_request(names[0]), None)
        assert runners[0].gone.wait(30)
        assert not runners[1].gone.is_set()
        assert set(workers.harnesses) == {names[1]}
    finally:
        for runner in runners:
            runner.end()
    wait_for(lambda: not workers.harnesses, 60)  # a worker whose runner is gone is forgotten


@pytest.fixture
def cold(tmp_path):
    """A folder for PYTHONPATH, for processes that are ready without the passes and TensorFlow."""
    program = tmp_path / "cold" / "sitecustomize.py"
    program.parent.mkdir()
    program.write_text(
        "import sys, types\n"
        "for name in ('label', 'scan', 'train'):\n"
        "    name = f'pipeline.passes.{name}'\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
    )
    return program.parent


def test_a_process_that_prints(cold, monkeypatch, capfd):
    """More than a pipe holds, before the process is ready."""
    with (cold / "sitecustomize.py").open("a") as program:
        program.write("print('stray\\n' * 20_000, flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", str(cold))
    process = WorkerProcess()
    late = threading.Timer(60, process.popen.kill)
    late.start()
    try:
        process.wait_until_ready()
        assert process.alive
        response = process.stub.StopWorker(stop_request("nobody"), timeout=10)
        assert response == api.StopWorkerResponse()
    finally:
        late.cancel()
        process.kill()
    out, err = capfd.readouterr()
    assert "stray" not in out
    assert err.count("stray") == 20_000


def test_a_process_that_reports_nonsense_is_killed(tmp_path, monkeypatch):
    program = tmp_path / "python"
    code = "import os, signal, sys\nos.write(int(sys.argv[-1]), b'what?\\n')\nsignal.pause()\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(pool_module, "END_SECONDS", 0)
    process = WorkerProcess()
    try:
        with pytest.raises(RunError, match="ended with code -9 before it was ready"):
            process.wait_until_ready()
        assert not process.alive
    finally:
        process.kill()


def pool_command(port, *options, **env):
    command = [sys.executable, "-m", "pipeline.worker_pool", f"--service_port={port}", *options]
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
        start_new_session=True,  # a process group of its own, as a terminal's foreground job has
    )


@pytest.mark.parametrize("slots", ["0", "-1"])
def test_a_pool_of_no_processes(monkeypatch, capsys, slots):
    monkeypatch.setattr(command_line, "serve", lambda *_: pytest.fail("a pool was started"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        command_line.main([f"--slots={slots}"])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"error: argument --slots: {slots} given, at least 1 expected")


@pytest.mark.parametrize(
    ("options", "everywhere", "number", "code"),
    [(["--slots=2"], False, signal.SIGINT, 130), (["--host=0.0.0.0"], True, signal.SIGTERM, 0)],
)
def test_where_a_pool_listens_and_that_it_ends_quietly(cold, options, everywhere, number, code):
    port = free_port()
    process = pool_command(port, *options, PYTHONPATH=str(cold))
    try:
        said = process.stderr.readline()
        while not said.startswith("worker pool on port"):
            assert process.poll() is None, said
            said = process.stderr.readline()
        assert listens("127.0.0.1", port)
        assert listens("127.0.0.2", port) == everywhere
        os.killpg(process.pid, number)  # as a terminal does: to the pool and all in its group
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, rest) == (code, "")
    pids = said.rpartition("processes ")[2].split(", ")
    assert len(pids) == (2 if "--slots=2" in options else 1)
    for pid in map(int, pids):
        wait_for(lambda pid=pid: not alive(pid), 30)


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def test_a_pool_that_cannot_import_the_job_ends_loudly(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no TensorFlow here')")
    process = pool_command(free_port(), PYTHONPATH=str(tmp_path))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stderr
    assert "ImportError: no TensorFlow here" in stderr
    assert stderr.splitlines()[-1] == (
        "worker pool: a worker of the pool ended with code 1 before it was ready"
    )


@pytest.mark.parametrize("what", ["anything", "a pool"])
def test_a_port_that_is_taken(monkeypatch, capsys, what):
    """Not shared with another pool either, as gRPC would by itself."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(pool_module, "WorkerProcess", FakeProcess)
    with listening(what) as port:
        assert command_line.main([f"--service_port={port}"]) == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"worker pool: --service_port {port}: ")


@contextlib.contextmanager
def listening(what):
    """A port at which something listens, with a pool's own server or without."""
    if what == "a pool":
        server, port = start_server(WorkerThreads(), f"{LOOPBACK}:0")
        yield port
        server.stop(None)
    else:
        with socket.create_server((LOOPBACK, 0)) as server:
            yield server.getsockname()[1]


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
