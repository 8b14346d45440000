"""Beam's job service, which stands before a cluster and outlives a job's driver."""

import contextlib

import grpc
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import beam_job_api_pb2_grpc

from pipeline.errors import RunError
from pipeline.runners.cancel import cancel_all

_CALL_SECONDS = 30
_NAME = "beam:option:job_name:v1"
_UNDER_WAY = {
    api.JobState.STOPPED,
    api.JobState.STARTING,
    api.JobState.RUNNING,
    api.JobState.CANCELLING,
}


def cancel(endpoint: str, name_end: str) -> None:
    """Cancels every job whose name ends so at the service `endpoint`, and waits for its end.

    Raises:
        RunError: the service does not answer, or a job does not end.
    """
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)

        def cancel_one(job: str) -> None:
            with contextlib.suppress(grpc.RpcError):  # it has just ended by itself
                service.Cancel(api.CancelJobRequest(job_id=job), timeout=_CALL_SECONDS)

        jobs = f"{endpoint}: jobs called …{name_end}"
        try:
            cancel_all(lambda: _running(service, name_end), cancel_one, jobs)
        except grpc.RpcError as error:
            raise RunError(f"--job_endpoint {endpoint}: {error.details()}") from error


def _running(service: beam_job_api_pb2_grpc.JobServiceStub, name_end: str) -> list[str]:
    jobs = service.GetJobs(api.GetJobsRequest(), timeout=_CALL_SECONDS).job_info
    return [
        job.job_id
        for job in jobs
        if job.state in _UNDER_WAY
        and job.pipeline_options.fields[_NAME].string_value.endswith(name_end)
    ]
