"""Warm workers for runners with an external environment: `python -m pipeline.worker_pool`.

Beam's own worker pool starts a new process for every worker of every job, each of which imports
TensorFlow again, and with whatever `python` is first on the path: a wrong one hangs the job
without an error. Here a pool starts its processes once, with its own interpreter, and only when
they can import everything the job needs does it accept work. A worker that a runner asks for is
a thread in one of them, so TensorFlow, compiled programs and cached blocks outlive a job. The
processes take turns. A process that dies is replaced.

A worker's id is not its name: every TaskManager or executor numbers its workers itself, so it
takes the control endpoint, which is the asking process's own, to tell one "1-1" from another.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.utils import thread_pool_executor
from apache_beam.utils.sentinel import Sentinel

from pipeline.console import quiet_logs, say
from pipeline.environment import ENVIRONMENT
from pipeline.errors import INTERRUPTED, RunError

DEFAULT_PORT = 50000
LOOPBACK = "127.0.0.1"  # not "localhost": gRPC is content with ::1 where a stranger has 127.0.0.1
KEPT_WORKERS = 64
_CALL_SECONDS = 30
_END_SECONDS = 2
_TRIES = 3
_READY = "ready"
_STDERR = 2
_UNLIMITED = -1
_OPTIONS = [
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # two pools at one port would share its workers out at random
]


def worker_name(request: beam_fn_api_pb2.StartWorkerRequest) -> str:
    """What no other live worker is called: its id at its control endpoint."""
    return f"{request.worker_id} at {request.control_endpoint.url}"


class Slot:
    """One warm process, and the latest of the workers that it was given."""

    def __init__(self) -> None:
        ready, report = os.pipe()
        self._ready = os.fdopen(ready)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker_pool", "--slot", str(report)],
                stdin=subprocess.PIPE,
                stdout=_STDERR,
                pass_fds=[report],
                start_new_session=True,  # Ctrl-C is the pool's, which then ends its slots
                env=ENVIRONMENT | os.environ,
            )
        finally:
            os.close(report)
        self.workers: dict[str, beam_fn_api_pb2.StartWorkerRequest] = {}
        self.turn = 0
        self.port = 0
        self.stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub | None = None

    def wait_until_ready(self) -> None:
        """Reads the slot's port, which it reports when its imports are done.

        Raises:
            RunError: the process ended instead, or reported something else and was killed.
        """
        with self._ready:
            word, _, port = self._ready.readline().partition(" ")
        if word != _READY:
            if not self.ended_by_now():
                self.process.kill()
            code = self.process.wait()
            raise RunError(f"a worker of the pool ended with code {code} before it was ready")
        self.port = int(port)
        # A proxy that the environment names is none for this machine itself.
        direct = [("grpc.enable_http_proxy", 0)]
        channel = grpc.insecure_channel(f"{LOOPBACK}:{self.port}", options=direct)
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

    def keep(self, request: beam_fn_api_pb2.StartWorkerRequest) -> None:
        """Remembers a worker, and no more than `KEPT_WORKERS`: not all are ever stopped."""
        self.workers[worker_name(request)] = request
        while len(self.workers) > KEPT_WORKERS:
            del self.workers[next(iter(self.workers))]

    def kill(self) -> None:
        """Ends the process; returns when it is gone."""
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's worker pool service over warm processes."""

    def __init__(self, slots: int):
        self._lock = threading.Lock()
        self._closing = False
        self._turns = itertools.count(1)
        self.slots: list[Slot] = []
        try:
            for _ in range(slots):
                self.slots.append(Slot())
            for slot in self.slots:
                slot.wait_until_ready()
        except BaseException:
            self.close()
            raise
        for slot in self.slots:
            self._replace_when_dead(slot)

    def StartWorker(self, request, context):  # noqa: N802
        """Starts a worker in the live process that was given one the longest ago.

        Counting what each has would be wrong: a worker whose executor died is never stopped.
        """
        name = worker_name(request)
        with self._lock:
            for slot in self.slots:
                slot.workers.pop(name, None)
            slot = min(self.slots, key=lambda s: (not s.alive, s.turn))
            slot.turn = next(self._turns)
            slot.keep(request)
        try:
            return slot.stub.StartWorker(request, timeout=_CALL_SECONDS)
        except grpc.RpcError:
            if not slot.ended_by_now():
                raise
            return beam_fn_api_pb2.StartWorkerResponse()  # the process's successor starts it

    def StopWorker(self, request, context):  # noqa: N802
        """Stops a worker; its process stays.

        The request does not say whose worker it is. Where several have the id none is stopped:
        each ends when its runner closes its control stream, which follows.
        """
        with self._lock:
            named = [
                (slot, name)
                for slot in self.slots
                for name, kept in slot.workers.items()
                if kept.worker_id == request.worker_id
            ]
            if len(named) != 1:
                return beam_fn_api_pb2.StopWorkerResponse()
            slot, name = named[0]
            del slot.workers[name]
        with contextlib.suppress(grpc.RpcError):  # its process died, and the worker with it
            own = beam_fn_api_pb2.StopWorkerRequest(worker_id=name)
            slot.stub.StopWorker(own, timeout=_CALL_SECONDS)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends the processes."""
        self._closing = True
        for slot in self.slots:
            slot.kill()

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
            successor.workers, successor.turn = dict(slot.workers), slot.turn
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


class SlotWorkers(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """The workers of one process, each a thread.

    Beam's own service keeps them by their ids, of which two may be the same. Here a request to
    stop one carries its `worker_name`; the worker itself goes by its id, as its runner expects.
    """

    def __init__(self) -> None:
        self.harnesses: dict[str, SdkHarness] = {}

    def StartWorker(self, request, context):  # noqa: N802
        """Starts a worker as a thread, once it has reached its runner."""
        name = worker_name(request)
        try:
            harness = SdkHarness(
                request.control_endpoint.url,
                worker_id=request.worker_id,
                data_buffer_time_limit_ms=_UNLIMITED,
            )
        except Exception:
            return beam_fn_api_pb2.StartWorkerResponse(error=traceback.format_exc())
        self.harnesses[name] = harness
        thread = f"run_worker_{request.worker_id}"
        threading.Thread(target=self._run, args=(name, harness), name=thread, daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request, context):  # noqa: N802
        """Stops the worker of a name; harmless when it has ended."""
        harness = self.harnesses.pop(request.worker_id, None)
        if harness:
            _end_answers(harness)
        return beam_fn_api_pb2.StopWorkerResponse()

    def _run(self, name: str, harness: SdkHarness) -> None:
        try:
            harness.run()
        except grpc.RpcError as error:
            say(f"worker {name}: its runner is gone ({error.code().name})")
        finally:
            _end_answers(harness)  # a thread of gRPC's would wait for more for ever
            if self.harnesses.get(name) is harness:
                del self.harnesses[name]


def _end_answers(harness: SdkHarness) -> None:
    """Closes a worker's half of its control stream, as Beam's own service does."""
    harness._responses.put(Sentinel.sentinel)


def serve(host: str, port: int, slots: int) -> None:
    """Runs a pool until the process is ended, and its slots with it.

    Raises:
        RunError: a worker cannot be started, or the port is taken.
    """
    pool = WorkerPool(slots)
    try:
        server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=_OPTIONS)
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
        try:
            server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise RunError(f"--service_port {port}: {error}") from error
        server.start()
        pids = ", ".join(str(slot.process.pid) for slot in pool.slots)
        say(f"worker pool on port {port}: {json.dumps(worker_versions())}, processes {pids}")
        server.wait_for_termination()
    finally:
        pool.close()


def worker_versions() -> dict[str, str]:
    """What a worker of this interpreter runs with."""
    from pipeline.results import versions

    return {"python": sys.version.split()[0]} | versions()


def run_slot(lifeline: int, report: int) -> None:
    """One process of a pool.

    Its standard output is its pool's standard error, for user code to print to; that it is
    ready, and at which port, it reports on a pipe of its own.

    Args:
        lifeline: the pool's end of this pipe closes with the pool, which ends the process.
        report: a pipe for one line.
    """
    os.set_inheritable(report, False)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    import pipeline.job  # noqa: F401  everything that a worker may need, before the first job

    quiet_logs()
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=_OPTIONS)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(SlotWorkers(), server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    os.write(report, f"{_READY} {port}\n".encode())
    os.close(report)
    server.wait_for_termination()


def _end_with(lifeline: int) -> NoReturn:
    os.read(lifeline, 1)
    os._exit(0)  # harness threads would keep the process


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 for options that do not say what to do."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.worker_pool", allow_abbrev=False)
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="the address to listen on (%(default)s: this machine, or this pod, alone). There is "
        "no authentication: whoever reaches the port can run code here. 0.0.0.0 where the asking "
        "process is in another network namespace",
    )
    parser.add_argument(
        "--service_port", type=int, default=DEFAULT_PORT, help="the port (%(default)s)"
    )
    parser.add_argument("--slots", type=int, default=1, help="worker processes (%(default)s)")
    parser.add_argument("--slot", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.slots < 1:
        parser.error(f"argument --slots: {given.slots} given, at least 1 expected")
    if given.slot is not None:
        run_slot(sys.stdin.fileno(), given.slot)
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        serve(given.host, given.service_port, given.slots)
    except RunError as error:
        say(f"worker pool: {error}")
        return RunError.exit_code
    return 0


def _end(number: int, _frame: object) -> NoReturn:
    """Ends the pool: by SIGTERM as it is meant to end. A second signal cannot leave slots behind.

    Raises:
        SystemExit: always, through whatever the main thread does.
    """
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(INTERRUPTED if number == signal.SIGINT else 0)


if __name__ == "__main__":
    sys.exit(main())
