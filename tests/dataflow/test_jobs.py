"""The jobs that Dataflow would get, made by Beam's own client with the options of its page.

Beam's client is stopped where it would ask or tell the cloud something. The same pipelines then
run in this process, so that the job goes on to its end.
"""

import io
import re
import shlex
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud.dataflow_v1beta3 import CreateJobRequest, Job, JobsV1Beta3Client
from google.cloud.dataflow_v1beta3.types import AutoscalingAlgorithm, JobType

from tests.pipeline.answer import assert_same_answer
from tests.pipeline.conftest import fit, run, three_blobs

__all__ = ["fit", "run", "three_blobs"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dataflow.md").read_text()
FIT = ("--features=f0,f1", "--k=3", "--keys=id")
PASSES = 4  # the check, the scan, one round of iterations, the labels


class Sent(NamedTuple):
    """What would have been sent."""

    requests: list[CreateJobRequest]
    files: dict[str, bytes]


@pytest.fixture
def sent(monkeypatch):
    seen = Sent([], {})
    submit = DataflowRunner.run_pipeline

    def run_pipeline(self, pipeline, options):
        submit(self, pipeline, options)
        return FnApiRunner().run_pipeline(pipeline, PipelineOptions())

    def stage_file(self, folder, name, stream, *args, **named):
        seen.files[f"{folder}/{name}"] = stream.read()

    def create_job(self, request):
        seen.requests.append(request)
        return Job(request.job, id="1")

    monkeypatch.setattr(DataflowRunner, "run_pipeline", run_pipeline)
    # It looks at the bucket, and for an account.
    monkeypatch.setattr(
        GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda self, name: None
    )
    monkeypatch.setattr(DataflowApplicationClient, "stage_file", stage_file)
    monkeypatch.setattr(JobsV1Beta3Client, "create_job", create_job)
    monkeypatch.chdir(ROOT)
    return seen


def options_of_the_page():
    """Beam's options in the command of the page, for a project and a bucket that do not exist."""
    text = re.search(r"^```sh\n(python -m pipeline fit.*?)^```$", PAGE, re.M | re.S)[1]
    for name in ("PROJECT", "BUCKET"):
        text = text.replace(name, f"example-{name.lower()}")
    words = shlex.split(text.replace("\\\n", " "))
    return [*words[words.index("--runner=DataflowRunner") :], "--no_auth"]


def pipelines(sent):
    staged = [data for name, data in sent.files.items() if name.endswith("/pipeline.pb")]
    return [beam_runner_api_pb2.Pipeline.FromString(data) for data in staged]


def test_the_command_of_the_page(sent, fit, three_blobs, tmp_path):
    here = fit(three_blobs.folder, tmp_path / "here", *FIT)
    there = fit(three_blobs.folder, tmp_path / "there", *FIT, *options_of_the_page())
    assert_same_answer(there, here)
    assert len(sent.requests) == PASSES
    image = "europe-west1-docker.pkg.dev/example-project/kmeans-tf/worker:0.1.0"
    for request in sent.requests:
        assert (request.project_id, request.location) == ("example-project", "europe-west1")
        job = request.job
        assert job.name.startswith("kmeans-tf-")
        assert job.type_ == JobType.JOB_TYPE_BATCH
        (pool,) = job.environment.worker_pools
        assert (pool.num_workers, pool.machine_type) == (8, "n1-standard-4")
        assert pool.autoscaling_settings.max_num_workers == 8
        assert pool.autoscaling_settings.algorithm == (
            AutoscalingAlgorithm.AUTOSCALING_ALGORITHM_NONE
        )
        (container,) = pool.sdk_harness_container_images
        assert container.container_image == image
        assert container.use_single_core_per_container
    assert len({request.job.name for request in sent.requests}) == 1
    assert all(name.startswith("gs://example-bucket/") for name in sent.files)
    assert len(pipelines(sent)) == PASSES
    for pipeline in pipelines(sent):
        (environment,) = pipeline.components.environments.values()
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        assert payload.container_image == image


def test_a_setup_file_in_the_place_of_an_image(sent, fit, three_blobs, tmp_path):
    options = [
        word
        for word in options_of_the_page()
        if not word.startswith(("--sdk_container_image", "--sdk_location"))
    ]
    fit(three_blobs.folder, tmp_path / "out", *FIT, *options, "--setup_file=./setup.py")
    packages = [data for name, data in sent.files.items() if name.endswith("/workflow.tar.gz")]
    assert packages
    with tarfile.open(fileobj=io.BytesIO(packages[0])) as package:
        names = {name.partition("/")[2] for name in package.getnames()}
    assert {
        "pipeline/passes/train.py",
        "pipeline/output/report.html.j2",
        "kmeans_tf/__init__.py",
    } <= names
