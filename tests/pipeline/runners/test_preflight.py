"""What is missing is said before any data is read, in one message that names the option."""

import contextlib
import json
import os
import posixpath
import shutil
import socket
from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.command_line.options import RunOptions
from pipeline.data.store import FileVersion, Store
from pipeline.errors import DataError
from pipeline.passes.checkpoint import WorkFolder
from pipeline.runners import flink as flink_module
from pipeline.runners import preflight
from pipeline.runners.flink import FlinkCluster
from pipeline.runners.preflight import PROBES, probe
from pipeline.runners.settings import Settings
from tests.stores import ReadOnly, WriteOnly


@contextlib.contextmanager
def listener(host="localhost", family=socket.AF_INET):
    """A port at which something accepts connections."""
    with socket.create_server((host, 0), family=family) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """The address of a port at which nothing listens."""
    with socket.socket() as held:  # bound, so that nobody else takes it, and not listening
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def no_pool(closed):
    """The options of a pool at which nothing listens, which is looked at after everything else."""
    return ("--environment_type=EXTERNAL", f"--environment_config={closed}")


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


UP = {"slots-total": 2, "taskmanagers": 1, "flink-version": "1.19.3"}


def test_a_flink_master_that_does_not_answer(refused, closed):
    said = refused(5, "--runner=FlinkRunner", f"--flink_master={closed}")
    assert said.startswith(f"--flink_master: http://{closed}/overview does not answer: ")


def test_a_flink_master_that_is_something_else(refused, monkeypatch):
    monkeypatch.setattr(flink_module, "CONNECT_SECONDS", 0.2)
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


@pytest.mark.parametrize(
    ("runner", "jar"),
    [("FlinkRunner", "flink_job_server_jar"), ("SparkRunner", "spark_job_server_jar")],
)
def test_a_jar_that_is_not_there(refused, tmp_path, runner, jar):
    said = refused(5, f"--runner={runner}", f"--{jar}={tmp_path / 'a.jar'}")
    assert said.startswith(f"--{jar} {tmp_path / 'a.jar'}: no file there")


def test_a_java_that_is_not_there(refused, tmp_path):
    launcher = tmp_path / "java"
    said = refused(5, "--runner=FlinkRunner", f"--job_server_java_launcher={launcher}")
    assert said.startswith(f"--job_server_java_launcher {launcher}: no program there")


def test_a_java_that_is_not_on_the_path(refused, no_pool, tmp_path, monkeypatch):
    launcher = tmp_path / "java"
    launcher.touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    said = refused(5, "--runner=FlinkRunner", f"--job_server_java_launcher={launcher}", *no_pool)
    assert said.startswith("--environment_config"), "which comes after Java"


@pytest.mark.parametrize("runner", ["Flink", "Spark"])
def test_an_uber_jar_needs_no_java(refused, no_pool, flink, monkeypatch, runner):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    master = [f"--flink_master={flink(**UP)}"] if runner == "Flink" else []
    uber = [f"--{runner.lower()}_submit_uber_jar"]
    uber += ["--spark_rest_url=http://localhost:6066"] if runner == "Spark" else []
    said = refused(5, f"--runner={runner}Runner", *master, *uber, *no_pool)
    assert said.startswith("--environment_config"), "which comes after Java"


def test_an_uber_jar_for_spark_needs_a_place_to_go(refused):
    said = refused(2, "--runner=SparkRunner", "--spark_submit_uber_jar")
    assert said.startswith("--spark_submit_uber_jar needs --spark_rest_url")


def test_an_uber_jar_for_a_flink_in_the_driver_needs_java(refused, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = refused(5, "--runner=FlinkRunner", "--flink_submit_uber_jar")
    assert "needs Java, and there is no java on the PATH" in said


def test_one_of_the_spark_masters_is_enough(refused, closed, no_pool):
    with listener() as port:
        masters = f"--spark_master_url=spark://{closed},localhost:{port}"
        places = (masters, f"--job_endpoint=localhost:{port}")
        said = refused(5, "--runner=SparkRunner", *places, *no_pool)
    assert said.startswith("--environment_config"), "which comes after the masters"


def test_none_of_the_spark_masters_answers(refused, closed):
    with listener() as port:
        places = (f"--spark_master_url=spark://{closed},{closed}", f"--job_endpoint=:{port}")
        said = refused(5, "--runner=SparkRunner", *places)
    assert said.startswith(f"--spark_master_url {closed},{closed} does not answer")


def test_a_spark_master_that_does_not_answer(refused, closed):
    with listener() as port:
        places = (f"--spark_master_url=spark://{closed}", f"--job_endpoint=localhost:{port}")
        said = refused(5, "--runner=SparkRunner", *places)
    assert said.startswith(f"--spark_master_url {closed} does not answer")


@pytest.mark.parametrize("address", ["localhost", "localhost:", "localhost:x", "[::1", "::1:80"])
def test_an_address_without_a_port(refused, address):
    said = refused(2, "--runner=PortableRunner", f"--job_endpoint={address}")
    assert said == f"--job_endpoint {address}: expected HOST:PORT"


@pytest.fixture
def ipv6():
    """The address of a port of IPv6 at which something listens."""
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(listener("::1", socket.AF_INET6))
        except OSError:
            pytest.skip("no IPv6 here")
        yield f"[::1]:{port}"


def test_an_address_of_ipv6(refused, no_pool, ipv6):
    said = refused(5, "--runner=PortableRunner", f"--job_endpoint={ipv6}", *no_pool)
    assert said.startswith("--environment_config"), "the endpoint answers, and is this host's"


def test_the_portable_runner_without_an_endpoint(refused):
    said = refused(2, "--runner=PortableRunner")
    assert said == "--runner PortableRunner needs --job_endpoint=HOST:PORT"


@pytest.mark.parametrize(
    ("runner", "places", "looked_at"),
    [
        ("PortableRunner", ["--job_endpoint=localhost:8099"], True),
        ("PortableRunner", ["--job_endpoint=embed"], True),
        ("PortableRunner", ["--job_endpoint=remote:8099"], False),
        ("PortableRunner", ["--job_endpoint=localhost.remote:8099"], False),
        ("PrismRunner", [], True),
        ("SparkRunner", [], True),
        ("SparkRunner", ["--spark_master_url=local[2]"], True),
        ("SparkRunner", ["--spark_master_url=spark://localhost:1,[::1]:1"], True),
        ("SparkRunner", ["--spark_master_url=spark://localhost:1,remote:1"], False),
        ("FlinkRunner", ["--job_endpoint=remote:8099"], False),
        ("FlinkRunner", ["--flink_master=http://127.0.0.1:1/", "--job_endpoint=[::1]:1"], True),
        ("FlinkRunner", ["--flink_master=http://127.0.0.1.remote:1"], False),
        ("FlinkRunner", ["--flink_master=localhost:1", "--job_endpoint=remote:1"], False),
    ],
)
def test_a_pool_is_looked_for_where_it_can_be_seen(monkeypatch, runner, places, looked_at):
    connected = []

    def connect_to(place, timeout):
        connected.append(place)
        return socket.socket()

    monkeypatch.setattr("pipeline.runners.endpoints.socket.create_connection", connect_to)
    monkeypatch.setattr(
        "pipeline.runners.endpoints.shutil.which", lambda program: f"/bin/{program}"
    )
    monkeypatch.setattr(FlinkCluster, "settings", lambda *args: ({}, 1))
    pool = ("--environment_type=EXTERNAL", "--environment_config=localhost:50000")
    Settings(RunOptions(runner=runner, beam=(*places, *pool))).connect()
    assert (("localhost", 50000) in connected) == looked_at


@pytest.mark.parametrize("missing", ["project", "region", "temp_location"])
def test_dataflow_without_a_place(refused, missing):
    places = {"project": "p", "region": "r", "temp_location": "gs://bucket/tmp"}
    options = [f"--{name}={value}" for name, value in places.items() if name != missing]
    said = refused(2, "--runner=DataflowRunner", *options)
    assert said == f"--runner DataflowRunner needs --{missing}"


def test_a_prism_that_is_not_there(refused, tmp_path):
    location = tmp_path / "prism"
    said = refused(5, "--runner=PrismRunner", f"--prism_location={location}")
    assert said.startswith(f"--prism_location {location}: no program there")


HERE = socket.gethostname()
MINE = f"the worker {os.getpid()} on {HERE}"
SHARED = "on a shared file system or an object store"


class Workers:
    """The kind of store that workers have."""

    store: type[Store] = Store


def probe_elsewhere(work, attempt, store, *arguments):
    """Probes as a worker whose store is another."""
    probe(replace(work, store=Workers.store()), attempt, Workers.store(), *arguments)


@pytest.fixture
def probed(run, three_blobs, tmp_path, monkeypatch):
    """probed(store): a fit whose workers have such a store, which must fail -> its message."""

    def check(workers_store):
        monkeypatch.setattr(Workers, "store", workers_store)
        monkeypatch.setattr(preflight, "probe", probe_elsewhere)
        monkeypatch.setattr(Settings, "one_process", False)
        ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", "--k=3")
        assert ran.code == 5, ran.stderr
        assert ran.stderr.count("\n") == 1, ran.stderr
        assert not list(tmp_path.rglob("preflight*")), "what is left would be another's report"
        return ran.stderr.removeprefix("kmeans-tf: error: ").rstrip()

    return check


def shared_by(numbers):
    """A store by which the reports of only these numbers reach the driver's disk."""

    class Partly(Store):
        def write(self, path, data):
            if int(posixpath.basename(path)) in numbers:
                super().write(path, data)

    return Partly


def test_a_disk_that_only_some_workers_share(probed):
    said = probed(shared_by(range(5)))
    assert said.startswith(f"only 5 of {PROBES} reports of the workers reached ")
    assert f" here, from hosts {HERE}: give an --output that every worker and the driver " in said
    assert f"reach, {SHARED}" in said


def test_a_disk_that_no_worker_shares(probed):
    said = probed(shared_by([]))
    assert said.startswith(f"only 0 of {PROBES} reports of the workers reached ")
    assert " here: give an --output that " in said


def test_the_reports_of_another_attempt_do_not_count(probed):
    folders = set()

    class Nowhere(Store):
        def write(self, path, data):
            folders.add(posixpath.dirname(path))

    probed(Nowhere)
    probed(Nowhere)
    assert len(folders) == 2, "a driver that was killed leaves its own"


def test_a_report_that_is_half_written_is_none(probed):
    class Lost(Store):
        def write(self, path, data):
            folder, name = posixpath.split(path)
            super().write(posixpath.join(folder, f".{name}.half"), data[:3])

    assert probed(Lost).startswith("only 0 of ")


def test_an_input_that_a_worker_does_not_have(probed):
    class Without(Store):
        def version(self, path):
            return None

    said = probed(Without)
    assert said.startswith(f"{MINE} cannot read ")
    assert ".parquet (there is no such file): put the input " in said
    assert f"put the input {SHARED}, under the same name" in said


def test_an_input_of_which_a_worker_has_a_copy(probed):
    class Copied(Store):
        def version(self, path):
            file = super().version(path)
            return FileVersion(path, file.size, 1_700_000_000_123_456_789)

    said = probed(Copied)
    assert said.startswith(f"{MINE} cannot read ")
    assert " bytes, modified 2023-11-14T22:13:20.123456789Z, the driver's is " in said


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        pa.ArrowInvalid("Permission denied\nby Arrow"),
        DataError("Permission denied"),
    ],
)
def test_an_input_that_a_worker_may_not_read(probed, error):
    class Refusing(Store):
        def open(self, file):
            raise error

    said = probed(Refusing)
    assert said.startswith(f"{MINE} cannot read ")
    assert "Permission denied): put the input " in said


def test_the_input_is_read_and_the_report_written_each_through_its_store(tmp_path):
    (tmp_path / "a").write_text("read")
    work = WorkFolder(str(tmp_path / "work"), WriteOnly())
    probe(work, "attempt", ReadOnly(), Store().version(str(tmp_path / "a")), 0)
    (report,) = (tmp_path / "work" / "attempt").iterdir()
    assert json.loads(report.read_text())["problem"] is None


def test_an_output_that_a_worker_cannot_write(probed):
    class ReadOnly(Store):
        def write(self, path, data):
            raise OSError(30, "Read-only file system")

    said = probed(ReadOnly)
    assert said.startswith(f"{MINE} cannot write ")
    assert ": [Errno 30] Read-only file system: give an --output that every worker can " in said


@pytest.mark.parametrize("name", ["python", "kmeans_tf", "tensorflow", "beam"])
def test_a_worker_of_another_version(probed, name):
    class Older(Store):
        def write(self, path, data):
            super().write(path, json.dumps(json.loads(data) | {name: "0.9"}).encode())

    said = probed(Older)
    assert said.startswith(f"{MINE} has {name} 0.9, the driver ")
    assert ": install the same on both" in said


def test_a_process_that_is_its_own_worker_needs_no_job_to_look_at_itself(
    run, three_blobs, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.runners.runner.Runner.run", lambda *_: pytest.fail("a job"))
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", "--check")
    assert ran.code == 0, ran.stderr
    assert f"1 worker process(es): {HERE} pid {os.getpid()}" in ran.stderr
