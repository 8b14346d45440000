"""Jobs that an attempt before has left on a cluster end; nobody else's do."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import beam_job_api_pb2_grpc
from google.protobuf.struct_pb2 import Struct

from pipeline.errors import RunError
from pipeline.runners import job_service
from pipeline.runners.cancel import cancel_all
from pipeline.runners.flink import FlinkCluster

STATES = {"1": ("mine", "RUNNING"), "2": ("mine", "FINISHED"), "3": ("another's", "RUNNING")}


@pytest.fixture
def flink():
    """A server that answers as Flink's REST interface does -> the cluster and its jobs by id."""
    jobs = dict(STATES)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith("/exceptions"):
                entries = [{"stacktrace": f"failure of {self.path}"}]
                self.answer(200, {"exceptionHistory": {"entries": entries}})
                return
            named = [
                {"jid": j, "name": n, "state": s, "start-time": int(j)}
                for j, (n, s) in jobs.items()
            ]
            self.answer(200, {"jobs": named})
            # A job that was cancelled needs a moment: it has ended at the second look.
            ended = {j: (n, "CANCELED") for j, (n, s) in jobs.items() if s == "CANCELLING"}
            jobs.update(ended)

        def do_PATCH(self):
            name, state = jobs[self.path.removeprefix("/jobs/").partition("?")[0]]
            if state != "RUNNING":
                self.answer(409, {})
                return
            jobs[self.path.removeprefix("/jobs/").partition("?")[0]] = (name, "CANCELLING")
            self.answer(202, {})

        def answer(self, status, value):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield FlinkCluster(f"127.0.0.1:{server.server_port}"), jobs
        server.shutdown()


def test_flinks_jobs_of_the_name_end(flink):
    cluster, jobs = flink
    cluster.cancel("mine")
    assert jobs == STATES | {"1": ("mine", "CANCELED")}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


def test_a_job_that_does_not_end(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pipeline.runners.cancel.time", clock)
    with pytest.raises(RunError, match="its jobs cannot be cancelled"):
        cancel_all(lambda: {"1"}, lambda job: None, "its jobs")
    assert 60 < clock.seconds < 61


def test_what_went_wrong_in_the_newest_job_of_the_name(flink):
    cluster, _ = flink
    assert cluster.failures("mine") == "failure of /jobs/2/exceptions"
    assert cluster.failures("nobody's") == ""


def test_no_job_of_the_name_on_flink(flink):
    cluster, jobs = flink
    cluster.cancel("nobody's")
    assert jobs == STATES


class JobService(beam_job_api_pb2_grpc.JobServiceServicer):
    """Jobs by id: their names and states."""

    def __init__(self):
        running, done = api.JobState.RUNNING, api.JobState.DONE
        self.jobs = {"1": ["mine", running], "2": ["mine", done], "3": ["another's", running]}

    def GetJobs(self, request, context):  # noqa: N802
        return api.GetJobsResponse(job_info=[self.info(*item) for item in self.jobs.items()])

    def Cancel(self, request, context):  # noqa: N802
        self.jobs[request.job_id][1] = api.JobState.CANCELLED
        return api.CancelJobResponse(state=api.JobState.CANCELLED)

    @staticmethod
    def info(number, described):
        name, state = described
        options = Struct()
        options["beam:option:job_name:v1"] = name
        return api.JobInfo(job_id=number, pipeline_options=options, state=state)


@pytest.fixture
def service():
    """A job service -> its endpoint and itself."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = JobService()
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None)


def test_a_job_services_jobs_of_the_name_end(service):
    endpoint, servicer = service
    job_service.cancel(endpoint, "mine")
    states = {number: api.JobState.Enum.Name(state) for number, (_, state) in servicer.jobs.items()}
    assert states == {"1": "CANCELLED", "2": "DONE", "3": "RUNNING"}


def test_a_job_service_that_does_not_answer():
    server = grpc.server(ThreadPoolExecutor(1))  # knows no method at all
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(RunError, match=f"^--job_endpoint 127.0.0.1:{port}: "):
        job_service.cancel(f"127.0.0.1:{port}", "mine")
    server.stop(None)
