"""One warm process of the pool: `python -m pipeline.worker_pool.warm_process PIPE`.

It imports what every job needs before it accepts its first worker. Each worker is a Beam SDK
harness in a thread of its own, so TensorFlow, compiled programs and cached blocks outlive a job.
"""

import os
import sys
import threading
import traceback
from typing import NoReturn

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.utils.sentinel import Sentinel

from pipeline.console import quiet_logs, say
from pipeline.passes import lost_channel
from pipeline.worker_pool.protocol import LOOPBACK, READY, start_server, worker_name

_UNLIMITED = -1


class WorkerThreads(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """The workers of this process, each a thread.

    Beam's own service keys them by id, and two may have the same one. Here a request to stop a
    worker carries its `worker_name`; the worker itself goes by its id, as its runner expects.
    """

    def __init__(self) -> None:
        self.harnesses: dict[str, SdkHarness] = {}

    def StartWorker(self, request, context):  # noqa: N802
        """Starts a worker in a thread, once it has reached its runner."""
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
        lost_channel.watch(name, harness, request.control_endpoint.url)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request, context):  # noqa: N802
        """Stops the named worker; does nothing if it has already ended."""
        harness = self.harnesses.pop(request.worker_id, None)
        if harness:
            _end_responses(harness)
        return beam_fn_api_pb2.StopWorkerResponse()

    def _run(self, name: str, harness: SdkHarness) -> None:
        try:
            harness.run()
        except grpc.RpcError as error:
            say(f"worker {name}: its runner is gone ({error.code().name})")
        finally:
            _end_responses(harness)  # or a gRPC thread would wait for more forever
            if self.harnesses.get(name) is harness:
                del self.harnesses[name]


def _end_responses(harness: SdkHarness) -> None:
    """Closes a worker's half of its control stream, as Beam's own service does."""
    harness._responses.put(Sentinel.sentinel)


def run(lifeline: int, report: int) -> None:
    """Warms up, reports the port it listens on, and serves until the pool ends.

    Standard output is the pool's standard error, which user code may print to: hence a separate
    pipe for the report.

    Args:
        lifeline: a pipe whose other end closes with the pool, which ends this process.
        report: a pipe for the one line that says this process is ready.
    """
    os.set_inheritable(report, False)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    _warm_up()
    quiet_logs()
    server, port = start_server(WorkerThreads(), f"{LOOPBACK}:0")
    os.write(report, f"{READY} {port}\n".encode())
    os.close(report)
    server.wait_for_termination()


def _warm_up() -> None:
    """Imports the passes, and pyarrow with them, and TensorFlow."""
    import kmeans_tf.runtime
    import pipeline.passes.label
    import pipeline.passes.scan
    import pipeline.passes.train  # noqa: F401

    kmeans_tf.runtime.load()


def _end_with(lifeline: int) -> NoReturn:
    os.read(lifeline, 1)
    os._exit(0)  # harness threads would keep the process alive


if __name__ == "__main__":
    run(sys.stdin.fileno(), int(sys.argv[1]))
