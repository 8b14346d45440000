"""The pool: Beam's worker pool service over processes that stay warm.

Beam's own pool starts a new process for every worker of every job. Each imports TensorFlow again,
with whatever `python` comes first on the path: a wrong one hangs the job without an error. This
pool starts its processes once, with its own interpreter, and accepts work only when they have
imported everything the job needs. A worker that a runner asks for is a thread in one of them; the
processes take turns. A process that dies is replaced.

A worker's id does not identify it: every TaskManager or executor numbers its own workers. The
control endpoint, which belongs to whoever asks, tells one "1-1" from another, and where only the id
is said, the connection by which it is.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipeline.console import say
from pipeline.environment import ENVIRONMENT
from pipeline.errors import RunError
from pipeline.runners.identity import versions
from pipeline.worker_pool.protocol import LOOPBACK, READY, start_server, worker_name

KEPT_WORKERS = 64
END_SECONDS = 2
_CALL_SECONDS = 30
_TRIES = 3
_STDERR = 2
_END = {-signal.SIGKILL: "was killed, as it is where the machine or container lacks memory"}


@dataclass(frozen=True)
class Asked:
    """A worker that was asked for.

    Attributes:
        request: what for.
        peer: names the connection by which it came.
    """

    request: beam_fn_api_pb2.StartWorkerRequest
    peer: str


class WorkerProcess:
    """One warm process, and the latest workers started in it."""

    def __init__(self) -> None:
        ready, report = os.pipe()
        self._ready = os.fdopen(ready)
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker_pool.warm_process", str(report)],
                stdin=subprocess.PIPE,
                stdout=_STDERR,
                pass_fds=[report],
                start_new_session=True,  # Ctrl-C is for the pool, which then ends its processes
                env=ENVIRONMENT | os.environ,
            )
        finally:
            os.close(report)
        self.workers: dict[str, Asked] = {}
        self.turn = 0
        self.port = 0
        self._stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub | None = None

    def wait_until_ready(self) -> None:
        """Reads the port, which the process reports once its imports are done.

        Raises:
            RunError: the process ended instead, or reported something else and was killed.
        """
        with self._ready:
            word, _, port = self._ready.readline().partition(" ")
        if word != READY:
            if not self.ends_soon():
                self.popen.kill()
            code = self.popen.wait()
            raise RunError(f"a worker of the pool ended with code {code} before it was ready")
        self.port = int(port)
        # A proxy named in the environment is not meant for this machine itself.
        direct = [("grpc.enable_http_proxy", 0)]
        channel = grpc.insecure_channel(f"{LOOPBACK}:{self.port}", options=direct)
        self._stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)

    @property
    def stub(self) -> beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub:
        """What starts and stops workers in the process.

        Raises:
            RunError: the process is not ready.
        """
        if self._stub is None:
            raise RunError(f"worker process {self.pid} was asked for a worker before it was ready")
        return self._stub

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def ends_soon(self) -> bool:
        """Whether the process has ended, or does so within moments."""
        try:
            self.popen.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def keep(self, worker: Asked) -> None:
        """Remembers a worker, but only the latest `KEPT_WORKERS`: not all are ever stopped."""
        self.workers[worker_name(worker.request)] = worker
        while len(self.workers) > KEPT_WORKERS:
            del self.workers[next(iter(self.workers))]

    def kill(self) -> None:
        """Ends the process; returns when it is gone."""
        with self.popen:  # waits, and closes the pipe to it
            self.popen.kill()


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's worker pool service over warm processes."""

    def __init__(self, size: int):
        self._lock = threading.Lock()
        self._closing = False
        self._turns = itertools.count(1)
        self.processes: list[WorkerProcess] = []
        try:
            for _ in range(size):
                self.processes.append(WorkerProcess())
            for process in self.processes:
                process.wait_until_ready()
        except BaseException:
            self.close()
            raise
        for process in self.processes:
            self._replace_when_dead(process)

    def StartWorker(self, request, context):  # noqa: N802
        """Starts a worker in the live process whose last turn is longest ago.

        Counting what each has would be wrong: a worker whose executor died is never stopped.
        """
        process = self._next_process(Asked(request, context.peer()))
        try:
            return process.stub.StartWorker(request, timeout=_CALL_SECONDS)
        except grpc.RpcError:
            if not process.ends_soon():
                raise
            return beam_fn_api_pb2.StartWorkerResponse()  # the process's successor starts it

    def StopWorker(self, request, context):  # noqa: N802
        """Stops a worker; its process stays.

        The request does not say whose worker it is: it is the one that the same connection asked
        for. Where there is none, as after the pool has begun anew, the worker ends when its runner
        closes its control stream, which follows.
        """
        peer = context.peer()
        with self._lock:
            matches = [
                (process, name)
                for process in self.processes
                for name, worker in process.workers.items()
                if (worker.request.worker_id, worker.peer) == (request.worker_id, peer)
            ]
            if not matches:
                return beam_fn_api_pb2.StopWorkerResponse()
            process, name = matches[-1]
            del process.workers[name]
        with contextlib.suppress(grpc.RpcError):  # its process died, and the worker with it
            by_name = beam_fn_api_pb2.StopWorkerRequest(worker_id=name)
            process.stub.StopWorker(by_name, timeout=_CALL_SECONDS)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends the processes."""
        self._closing = True
        for process in self.processes:
            process.kill()

    def _next_process(self, worker: Asked) -> WorkerProcess:
        """Whose turn it is; the process remembers the worker from here on."""
        with self._lock:
            for process in self.processes:
                process.workers.pop(worker_name(worker.request), None)
            process = min(self.processes, key=lambda p: (not p.alive, p.turn))
            process.turn = next(self._turns)
            process.keep(worker)
        return process

    def _replace_when_dead(self, process: WorkerProcess) -> None:
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: WorkerProcess) -> None:
        code = process.popen.wait()
        if self._closing:
            return
        say(f"worker process {process.pid} {_END.get(code, 'ended')}: starting another")
        successor = _successor()
        with self._lock:
            self.processes[self.processes.index(process)] = successor
            successor.workers, successor.turn = dict(process.workers), process.turn
            orphans = [worker.request for worker in process.workers.values()]
        self._replace_when_dead(successor)
        # A runner waits forever for a worker it was promised. One whose runner has given up takes
        # a minute to find nobody to connect to, so each has a thread of its own.
        for request in orphans:
            threading.Thread(target=_start_again, args=(successor, request), daemon=True).start()


def _start_again(process: WorkerProcess, request: beam_fn_api_pb2.StartWorkerRequest) -> None:
    with contextlib.suppress(grpc.RpcError):
        process.stub.StartWorker(request, timeout=_CALL_SECONDS)


def _successor() -> WorkerProcess:
    """A process in place of one that died; ends the pool, loudly, where none can be started."""
    for _ in range(_TRIES):
        process = WorkerProcess()
        try:
            process.wait_until_ready()
            return process
        except RunError as error:
            say(f"worker pool: {error}")
    os._exit(RunError.exit_code)


def serve(host: str, port: int, size: int) -> None:
    """Runs a pool of so many processes until it is ended, and ends them with it.

    Raises:
        RunError: a worker process cannot be started, or the port is taken.
    """
    pool = WorkerPool(size)
    try:
        server = _listen(pool, host, port)
        pids = ", ".join(str(process.pid) for process in pool.processes)
        say(f"worker pool on port {port}: {json.dumps(_python_and_packages())}, processes {pids}")
        server.wait_for_termination()
    finally:
        pool.close()


def _listen(pool: WorkerPool, host: str, port: int) -> grpc.Server:
    try:
        server, _ = start_server(pool, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise RunError(f"--service_port {port}: {error}") from error
    return server


def _python_and_packages() -> dict[str, str]:
    """The versions that the workers run with: they share the pool's interpreter."""
    return {"python": sys.version.split()[0]} | versions()
