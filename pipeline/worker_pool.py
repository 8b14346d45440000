"""Warm workers for runners with an external environment: `python -m pipeline.worker_pool`.

Beam's own worker pool starts a new process for every worker of every job, each of which imports
TensorFlow again, and with whatever `python` is first on the path: a wrong one hangs the job
without an error. Here a pool starts its processes once, with its own interpreter, and only when
they can import everything the job needs does it accept work. A worker that a runner asks for is
a thread in the process with the fewest of them, so TensorFlow, compiled programs and cached
blocks outlive a job. A process that dies is replaced.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor

from pipeline.console import quiet_logs, say
from pipeline.environment import ENVIRONMENT
from pipeline.errors import RunError

DEFAULT_PORT = 50000
_CALL_SECONDS = 30
_END_SECONDS = 2
_TRIES = 3
_READY = "ready"
_OPTIONS = [
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # two pools at one port would share its workers out at random
]


class Slot:
    """One warm process, and the workers that it runs."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "pipeline.worker_pool", "--slot"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | os.environ,
        )
        self.workers: dict[str, beam_fn_api_pb2.StartWorkerRequest] = {}
        self.stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub | None = None

    def wait_until_ready(self) -> None:
        """Reads the slot's port, which it prints when its imports are done.

        Raises:
            RunError: the process ended instead.
        """
        line = self.process.stdout.readline()
        if not line.startswith(_READY):
            code = self.process.wait()
            raise RunError(f"a worker of the pool ended with code {code} before it was ready")
        channel = grpc.insecure_channel(f"localhost:{line.split()[1]}")
        self.stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ended_by_now(self) -> bool:
        """Whether the process is gone, or about to be."""
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's worker pool service over warm processes."""

    def __init__(self, slots: int):
        self._lock = threading.Lock()
        self._closing = False
        self.slots = [Slot() for _ in range(slots)]
        for slot in self.slots:
            slot.wait_until_ready()
            self._replace_when_dead(slot)

    def StartWorker(self, request, context):  # noqa: N802
        """Starts a worker in the process that has the fewest."""
        with self._lock:
            slot = min(self.slots, key=lambda s: (not s.alive, len(s.workers)))
            slot.workers[request.worker_id] = request
        try:
            return slot.stub.StartWorker(request, timeout=_CALL_SECONDS)
        except grpc.RpcError:
            if not slot.ended_by_now():
                raise
            return beam_fn_api_pb2.StartWorkerResponse()  # the process's successor starts it

    def StopWorker(self, request, context):  # noqa: N802
        """Stops a worker; its process stays."""
        with self._lock:
            owners = [s for s in self.slots if s.workers.pop(request.worker_id, None)]
        for slot in owners:
            with contextlib.suppress(grpc.RpcError):  # its process died, and the worker with it
                slot.stub.StopWorker(request, timeout=_CALL_SECONDS)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends the processes."""
        self._closing = True
        for slot in self.slots:
            slot.process.stdin.close()
            slot.process.wait()

    def _replace_when_dead(self, slot: Slot) -> None:
        threading.Thread(target=self._watch, args=(slot,), daemon=True).start()

    def _watch(self, slot: Slot) -> None:
        slot.process.wait()
        if self._closing:
            return
        say(f"worker process {slot.process.pid} ended: starting another")
        successor = _successor()
        with self._lock:
            self.slots[self.slots.index(slot)] = successor
            successor.workers = dict(slot.workers)
            orphans = list(slot.workers.values())
        self._replace_when_dead(successor)
        # A runner waits for ever for a worker that it was promised. One that it has given up
        # finds nobody to connect to, which takes it a minute: each has a thread of its own.
        for request in orphans:
            threading.Thread(target=_start_again, args=(successor, request), daemon=True).start()


def _start_again(slot: Slot, request: beam_fn_api_pb2.StartWorkerRequest) -> None:
    with contextlib.suppress(grpc.RpcError):
        slot.stub.StartWorker(request, timeout=_CALL_SECONDS)


def _successor() -> Slot:
    """A slot for one that died; ends the pool, loudly, where none can be started any more."""
    for _ in range(_TRIES):
        slot = Slot()
        try:
            slot.wait_until_ready()
            return slot
        except RunError as error:
            say(f"worker pool: {error}")
    os._exit(RunError.exit_code)


def serve(port: int, slots: int) -> None:
    """Runs a pool until the process is ended.

    Raises:
        RunError: a worker cannot be started, or the port is taken.
    """
    pool = WorkerPool(slots)
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=_OPTIONS)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(f"[::]:{port}")
    except RuntimeError as error:
        raise RunError(f"--service_port {port}: {error}") from error
    server.start()
    pids = ", ".join(str(slot.process.pid) for slot in pool.slots)
    say(f"worker pool on port {port}: {json.dumps(worker_versions())}, processes {pids}")
    server.wait_for_termination()


def worker_versions() -> dict[str, str]:
    """What a worker of this interpreter runs with."""
    from pipeline.results import versions

    return {"python": sys.version.split()[0]} | versions()


def run_slot(lifeline: IO[str]) -> None:
    """One process of a pool; it ends when its `lifeline`, the pool's end of a pipe, closes."""
    import pipeline.job  # noqa: F401  everything that a worker may need, before the first job

    quiet_logs()
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=False)
    print(_READY, address.rsplit(":", 1)[1], flush=True)
    lifeline.read()
    server.stop(None)
    os._exit(0)  # harness threads would keep the process


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.worker_pool", allow_abbrev=False)
    parser.add_argument("--service_port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--slots", type=int, default=1, help="worker processes")
    parser.add_argument("--slot", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.slot:
        run_slot(sys.stdin)
        return 0
    try:
        serve(given.service_port, given.slots)
    except RunError as error:
        say(f"worker pool: {error}")
        return RunError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
