"""A worker process for tests: `python -m tests.pipeline.passes.lost_channels CONTROL OTHERS`.

It opens all channels to a runner, which a job would do at its first bundle, and says what becomes
of them, a word a line.
"""

import sys
import threading

from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import endpoints_pb2

from pipeline.passes import lost_channel
from pipeline.worker_pool.warm_process import WorkerThreads
from tests.waiting import wait_for


def main(control: str, others: str) -> None:
    lost_channel.LOOK_SECONDS = 0.02
    workers = WorkerThreads()
    request = api.StartWorkerRequest(worker_id="1-1")
    request.control_endpoint.url = control
    error = workers.StartWorker(request, None).error
    assert not error, error
    (harness,) = workers.harnesses.values()
    harness._data_channel_factory.create_data_channel_from_url(others)
    harness._state_handler_factory.create_state_handler(
        endpoints_pb2.ApiServiceDescriptor(url=others)
    )
    print("ready", flush=True)
    if "lost" in sys.argv:
        wait_for(lambda: lost_channel.lost_channel(harness) is not None)
        print("lost", flush=True)
    for thread in threading.enumerate():
        if thread.name == "watch_worker":
            thread.join()
    print("lives", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
