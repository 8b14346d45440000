"""What the pool and its processes agree on: a worker's name, the ready line, how to listen."""

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils import thread_pool_executor

LOOPBACK = "127.0.0.1"  # not "localhost": gRPC settles for ::1 where another program has 127.0.0.1
READY = "ready"
_OPTIONS = [
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # two pools on one port would share its requests out at random
]


def worker_name(request: beam_fn_api_pb2.StartWorkerRequest) -> str:
    """A name that no other live worker has: the worker's id at its control endpoint."""
    return f"{request.worker_id} at {request.control_endpoint.url}"


def start_server(
    servicer: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer, address: str
) -> tuple[grpc.Server, int]:
    """Serves Beam's worker pool interface; returns the server and its port.

    Raises:
        RuntimeError: the port is taken.
    """
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=_OPTIONS)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port
