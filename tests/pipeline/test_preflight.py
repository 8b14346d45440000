"""What is missing is said before any data is read, in one message that names the option."""

import contextlib
import shutil
import socket

import pytest


@contextlib.contextmanager
def listener():
    """A port at which something accepts connections."""
    with socket.create_server(("localhost", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """The address of a port at which nothing listens."""
    with socket.socket() as held:  # bound, so that nobody else takes it, and not listening
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def refused(run, three_blobs, tmp_path):
    """refused(code, *args): a fit that must fail so, and leave nothing -> its one message."""

    def check(code, *args):
        ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", *args)
        assert ran.code == code, ran.stderr
        assert ran.stderr.count("\n") == 1, ran.stderr
        assert not (tmp_path / "out").exists()
        return ran.stderr.removeprefix("kmeans-tf: error: ").rstrip()

    return check


UP = {"slots-total": 2, "flink-version": "1.19.3"}


def test_a_flink_master_that_does_not_answer(refused, closed):
    said = refused(5, "--runner=FlinkRunner", f"--flink_master={closed}")
    assert said.startswith(f"--flink_master: http://{closed}/overview does not answer: ")


def test_a_flink_master_that_is_something_else(refused):
    with listener() as port:
        said = refused(5, "--runner=FlinkRunner", f"--flink_master=localhost:{port}")
    assert "--flink_master" in said


def test_another_flink_version(refused, flink):
    master = flink(**UP)
    said = refused(5, "--runner=FlinkRunner", f"--flink_master={master}", "--flink_version=1.20")
    assert said.startswith(
        f"--flink_version 1.20: the cluster at {master} runs Flink 1.19.3: "
        "give --flink_version=1.19"
    )


def test_flink_without_a_slot(refused, flink):
    master = flink(**UP | {"slots-total": 0})
    said = refused(5, "--runner=FlinkRunner", f"--flink_master={master}")
    assert said.startswith(f"the Flink cluster at {master} has no slot: start a TaskManager")


def test_flink_without_a_job_server(refused, flink, closed):
    places = (f"--flink_master={flink(**UP)}", f"--job_endpoint={closed}")
    said = refused(5, "--runner=FlinkRunner", *places)
    assert said.startswith(f"--job_endpoint {closed} does not answer")


def test_no_worker_pool(refused, flink, closed):
    with listener() as port:
        places = (f"--flink_master={flink(**UP)}", f"--job_endpoint=localhost:{port}")
        said = refused(5, "--runner=FlinkRunner", *places, f"--environment_config={closed}")
    assert said.startswith(f"--environment_config {closed} does not answer")
    assert f"python -m pipeline.worker_pool --service_port {closed.partition(':')[2]}" in said


@pytest.mark.parametrize(
    ("runner", "master"),
    [("FlinkRunner", "[local]"), ("FlinkRunner", None), ("SparkRunner", "local[2]")],
)
def test_no_java(refused, flink, monkeypatch, runner, master):
    option = "--flink_master" if runner == "FlinkRunner" else "--spark_master_url"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = refused(5, f"--runner={runner}", f"{option}={master or flink(**UP)}")
    assert "needs Java, and there is no java on the PATH" in said


@pytest.mark.parametrize("runner", ["SparkRunner", "PortableRunner"])
def test_a_job_endpoint_that_is_closed(refused, closed, runner):
    said = refused(5, f"--runner={runner}", f"--job_endpoint={closed}")
    assert said.startswith(f"--job_endpoint {closed} does not answer")


def test_a_spark_master_that_does_not_answer(refused, closed):
    with listener() as port:
        places = (f"--spark_master_url=spark://{closed}", f"--job_endpoint=localhost:{port}")
        said = refused(5, "--runner=SparkRunner", *places)
    assert said.startswith(f"--spark_master_url {closed} does not answer")


def test_an_address_without_a_port(refused):
    said = refused(2, "--runner=PortableRunner", "--job_endpoint=localhost")
    assert said == "--job_endpoint localhost: expected HOST:PORT"


def test_the_portable_runner_without_an_endpoint(refused):
    said = refused(2, "--runner=PortableRunner")
    assert said == "--runner PortableRunner needs --job_endpoint=HOST:PORT"


@pytest.mark.parametrize("missing", ["project", "region", "temp_location"])
def test_dataflow_without_a_place(refused, missing):
    given = {"project": "p", "region": "r", "temp_location": "gs://bucket/tmp"}
    options = [f"--{name}={value}" for name, value in given.items() if name != missing]
    said = refused(2, "--runner=DataflowRunner", *options)
    assert said == f"--runner DataflowRunner needs --{missing}"


def test_a_prism_that_is_not_there(refused, tmp_path):
    location = tmp_path / "prism"
    said = refused(5, "--runner=PrismRunner", f"--prism_location={location}")
    assert said.startswith(f"--prism_location {location}: no program there")
