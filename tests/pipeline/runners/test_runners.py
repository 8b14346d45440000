"""The same answer on every runner, and what is said when one fails."""

import socket
import threading
import uuid
from urllib.error import URLError

import grpc
import pytest
from apache_beam.runners.runner import PipelineState

from pipeline.command_line.options import RunOptions
from pipeline.errors import SetupError
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings
from tests.runner_cases import *  # noqa: F403  collected here, with this module's `runner`


@pytest.fixture(scope="session")
def runner():
    """The options that choose a runner; test_processes.py and tests/clusters have others."""
    return ("--runner=FnApiRunner",)


def test_a_runner_by_its_own_path_and_an_option_of_beams(fit, three_blobs, tmp_path):
    path = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    args = ("--features=f0,f1", "--k=3", "--max_iterations=0", "--job_name=nightly")
    answer = fit(three_blobs.folder, tmp_path / "out", f"--runner={path}", *args)
    assert answer.run.configuration["runner"] == path


def test_beams_options_reach_beam(run, three_blobs, tmp_path, monkeypatch):
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    import pipeline.runners.runner

    seen = []

    class Pipeline(pipeline.runners.runner.beam.Pipeline):
        def __init__(self, options):
            seen.append(options.view_as(GoogleCloudOptions).job_name)
            super().__init__(options=options)

    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline", Pipeline)
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert run("fit", *places, "--k=3", "--max_iterations=1", "--job_name=nightly").code == 0
    assert len(seen) >= 3, "scan, train, label"
    assert len(set(seen)) == 1, "one name, by which another attempt finds them"
    assert seen[0].startswith("nightly-")


@pytest.fixture
def workers_elsewhere(monkeypatch):
    """As if they were: the first job is the one that looks for them."""
    monkeypatch.setattr("pipeline.runners.settings.Settings.one_process", False)


@pytest.mark.usefixtures("workers_elsewhere")
def test_a_runner_that_fails_says_how_to_resume(run, three_blobs, tmp_path, monkeypatch):
    def fail(pipeline):
        raise RuntimeError("first line\nthe cluster is gone")

    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", fail)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran == (
        5,
        "kmeans-tf: error: no worker answered on FnApiRunner (environment: the runner's own): "
        "the runner failed: the cluster is gone; run the same command again to resume\n",
    )


HEX = "0123456789abcdef0123456789abcdef"


class Waiting:
    """A job that does not end."""

    state = PipelineState.RUNNING
    cancelled = 0

    def wait_until_finish(self):
        assert not threading.Event().wait(60), "nobody ended the wait"

    def cancel(self):
        self.cancelled += 1


@pytest.fixture
def little_patience(monkeypatch):
    """Workers have a second to answer."""
    monkeypatch.setattr("pipeline.runners.settings.Settings.start_seconds", 1)


@pytest.mark.usefixtures("workers_elsewhere", "little_patience")
def test_a_lack_of_memory_that_only_the_cluster_knows_of(run, three_blobs, tmp_path, monkeypatch):
    class Flink:
        def failures(self, name_end):
            return "java.lang.OutOfMemoryError: Direct buffer memory. The direct out-of-memory …"

        def cancel(self, name_end):
            pass

    monkeypatch.setattr("pipeline.runners.settings.Settings.flink", Flink())
    monkeypatch.setattr("pipeline.runners.settings.Settings.connect", lambda settings: settings)
    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", lambda pipeline: Waiting())
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places)
    assert ran.code == 5
    assert ran.stderr.endswith(
        ": the job was not over after 1 s: a JVM of the cluster lacks direct memory: raise "
        "taskmanager.memory.task.off-heap.size or spark.executor.memory, which bounds direct "
        "memory too; then run the same command to resume\n"
    )


@pytest.mark.usefixtures("workers_elsewhere", "little_patience")
def test_workers_that_never_answer_are_not_waited_for(run, three_blobs, tmp_path, monkeypatch):
    job = Waiting()
    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", lambda pipeline: job)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran == (
        5,
        "kmeans-tf: error: no worker answered on FnApiRunner (environment: the runner's own): "
        "the job was not over after 1 s; run the same command again to resume\n",
    )
    assert job.cancelled == 1


@pytest.mark.usefixtures("workers_elsewhere", "little_patience")
def test_a_job_that_hangs_as_it_is_started_is_not_waited_for_either(
    run, three_blobs, tmp_path, monkeypatch
):
    """As on Beam's own runners, which start it and wait in one; after some have answered."""

    def hang(pipeline):
        (attempt,) = (tmp_path / "out/_work").glob("*/")
        for number in range(3):
            report = attempt / f"preflight-{HEX}" / f"{number}"
            report.parent.mkdir(exist_ok=True)
            report.write_text("{}")
        Waiting().wait_until_finish()

    monkeypatch.setattr("pipeline.runners.preflight.uuid.uuid4", lambda: uuid.UUID(HEX))
    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", hang)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran == (
        5,
        "kmeans-tf: error: only 3 of 8 reports of the workers came on FnApiRunner (environment: "
        "the runner's own): the job was not over after 1 s; run the same command again to "
        "resume\n",
    )


@pytest.mark.usefixtures("workers_elsewhere")
@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            "Pipeline kmeans-tf-1_2 failed in state FAILED: java.io.IOException: The slot is gone.",
            "the runner failed: The slot is gone",
        ),
        (
            "Pipeline kmeans-tf-1_2 failed in state FAILED: org.x.grpc.StatusRuntimeException: "
            "org.x.grpc.StatusRuntimeException: CANCELLED: call already cancelled.",
            "the runner lost a worker process: CANCELLED: call already cancelled",
        ),
        (
            "Pipeline kmeans-tf-1_2 failed in state CANCELLED: unknown error",
            "the job was cancelled on the cluster",
        ),
        ("Failed.\nCaused by: a", "the runner failed: Caused by: a"),
        (
            "Pipeline kmeans-tf-1_2 failed in state FAILED: Job aborted: a.E: b\n\tat c.d(E.java:1)"
            "\nCaused by: a.F: the executor lost it\n\tat c.d(E.java:2)\n\tSuppressed: a.G"
            "\n\t... 3 more\n\n"
            "Driver stacktrace:",
            "the runner failed: Caused by: a.F: the executor lost it",
        ),
    ],
)
def test_the_clusters_cause_without_its_wrappers(run, three_blobs, tmp_path, raised, told):
    def fail(pipeline):
        raise RuntimeError(raised)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.runners.runner.beam.Pipeline.run", fail)
        ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert f"): {told}; run the same command again to resume" in ran.stderr


@pytest.mark.usefixtures("workers_elsewhere")
def test_a_lack_of_memory_is_not_told_to_try_again(run, three_blobs, tmp_path, monkeypatch):
    def fail(pipeline):
        raise RuntimeError(
            "Pipeline kmeans-tf-1_2 failed in state FAILED: java.io.IOException: Insufficient "
            "number of network buffers: required 512."
        )

    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", fail)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran.code == 5
    assert "): the runner failed: Insufficient number of network buffers: req" in ran.stderr
    assert ": raise taskmanager.memory.network.max and .min" in ran.stderr
    assert ran.stderr.endswith("; then run the same command to resume\n")


@pytest.mark.usefixtures("workers_elsewhere")
def test_a_lost_job_server_is_one_line(run, three_blobs, tmp_path, monkeypatch):
    class Lost(grpc.RpcError):
        def details(self):
            return "Socket closed"

        def __str__(self):
            return "<RPC that terminated with:\n\tdetails = Socket closed\n>"

    def fail(pipeline):
        raise Lost

    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", fail)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert "): the job server was lost: Socket closed; run the same" in ran.stderr
    assert ran.stderr.count("\n") == 1


URL = "https://repo.maven.apache.org/maven2/org/apache/beam/beam-runners-flink-1.19-job-server.jar"


@pytest.mark.parametrize("mirror", [True, False])
def test_a_jar_that_beam_cannot_fetch_is_named_with_the_ways_out(monkeypatch, mirror):
    """Beam's own words and chain of errors, with and without its mirror."""

    def fetch(pipeline):
        try:
            raise socket.gaierror(-2, "Name or service not known")
        except OSError as error:
            failure = URLError(error)
        also = f" Also failed to fetch from Google Maven mirror at {URL}: {failure}." * mirror
        try:
            raise failure from failure.reason
        except URLError as error:
            raise RuntimeError(
                f"Unable to fetch remote job server jar at {URL}: {error}.{also} If no Internet "
                "access at runtime, stage the jar at /home/user/.apache_beam/cache/jars/server.jar"
            ) from error

    monkeypatch.setattr("pipeline.runners.runner.beam.Pipeline.run", fetch)
    with pytest.raises(SetupError) as refused:
        Runner(Settings(RunOptions(runner="FlinkRunner"))).run(lambda pipeline: None)
    assert refused.value.told == (
        f"kmeans-tf: error: {URL}, the job server that Beam starts for --runner FlinkRunner, "
        "cannot be fetched (<urlopen error [Errno -2] Name or service not known>): give "
        "--job_endpoint=HOST:PORT of one that runs, or --flink_job_server_jar=PATH of a jar of "
        "your own"
    )
