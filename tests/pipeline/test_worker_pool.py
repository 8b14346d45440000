"""The warm worker pool, asked as a runner asks it."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent import futures

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc

from pipeline import worker_pool


def wait_for(condition, seconds=60.0):
    """Polls until the condition holds, or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def pool():
    made = worker_pool.WorkerPool(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def start(pool):
    """start(id): asks for a worker, for a runner that listens and has no work."""
    runner = grpc.server(futures.ThreadPoolExecutor(4))
    port = runner.add_insecure_port("localhost:0")
    runner.start()

    def ask(worker_id):
        request = api.StartWorkerRequest(worker_id=worker_id)
        request.control_endpoint.url = f"localhost:{port}"
        return pool.StartWorker(request, None)

    yield ask
    runner.stop(None)


def loads(pool):
    return sorted(len(slot.workers) for slot in pool.slots)


def test_slots_are_processes_of_their_own(pool):
    pids = {slot.process.pid for slot in pool.slots}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert all(slot.alive for slot in pool.slots)


def test_a_worker_goes_where_the_fewest_are(pool, start):
    for i, expected in enumerate([[0, 1], [1, 1], [1, 2], [2, 2]]):
        assert not start(f"worker-{i}").error
        assert loads(pool) == expected
    (busy,) = [slot for slot in pool.slots if "worker-0" in slot.workers]
    pool.StopWorker(api.StopWorkerRequest(worker_id="worker-0"), None)
    assert len(busy.workers) == 1
    start("worker-4")
    assert "worker-4" in busy.workers
    for i in range(5):
        pool.StopWorker(api.StopWorkerRequest(worker_id=f"worker-{i}"), None)
    assert loads(pool) == [0, 0]


def test_a_killed_process_is_replaced_and_its_workers_with_it(pool, start):
    start("promised")
    (slot,) = [slot for slot in pool.slots if slot.workers]
    (other,) = [slot for slot in pool.slots if not slot.workers]
    slot.process.kill()
    wait_for(lambda: slot not in pool.slots)
    (successor,) = [s for s in pool.slots if s is not other]
    assert successor.alive
    assert successor.process.pid != slot.process.pid
    assert set(successor.workers) == {"promised"}
    pool.StopWorker(api.StopWorkerRequest(worker_id="promised"), None)
    assert loads(pool) == [0, 0]


def pool_command(port, **env):
    command = [sys.executable, "-m", "pipeline.worker_pool", f"--service_port={port}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | env)


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


def test_a_port_that_is_taken():
    with socket.socket() as s:
        s.bind(("", 0))
        s.listen()
        port = s.getsockname()[1]
        process = pool_command(port)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stderr
    assert stderr.splitlines()[-1].startswith(f"worker pool: --service_port {port}: ")


def test_a_second_pool_at_one_port_and_the_end_of_the_first():
    port = free_port()
    first = pool_command(port)
    try:
        channel = grpc.insecure_channel(f"localhost:{port}")
        grpc.channel_ready_future(channel).result(timeout=60)
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        stub.StopWorker(api.StopWorkerRequest(worker_id="nobody"), timeout=10)
        second = pool_command(port)
        _, stderr = second.communicate(timeout=60)
        assert second.returncode == 5, stderr
        assert f"--service_port {port}: " in stderr.splitlines()[-1]
    finally:
        first.send_signal(signal.SIGTERM)
        _, stderr = first.communicate(timeout=30)
    assert f"worker pool on port {port}: " in stderr
    pid = int(stderr.split("processes ")[1].split()[0])
    wait_for(lambda: not alive(pid), 30)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
