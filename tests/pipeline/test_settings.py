"""What a runner gets where the user says nothing, and what the user says instead."""

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions

from pipeline.errors import RunError
from pipeline.options import RunOptions
from pipeline.preflight import connect
from pipeline.settings import Settings

POOL = {
    "environment_type": "EXTERNAL",
    "environment_config": "localhost:50000",
    "environment_cache_millis": "60000",
}


def settings(runner, *beam, **options):
    return Settings(RunOptions(runner=runner, beam=beam, **options))


@pytest.mark.parametrize(
    ("runner", "beam"),
    [
        ("FlinkRunner", ["--flink_master=localhost:8081"]),
        ("flinkrunner", ["--flink_master", "http://node:8081"]),
        ("FlinkRunner", ["--job_endpoint=localhost:8099"]),
        ("SparkRunner", ["--spark_master_url=spark://localhost:7077"]),
    ],
)
def test_a_cluster_by_its_address_alone_has_a_pool(runner, beam):
    assert settings(runner, *beam).flags.items() >= POOL.items()


@pytest.mark.parametrize(
    ("runner", "beam"),
    [
        ("FlinkRunner", []),
        ("FlinkRunner", ["--flink_master=[local]"]),
        ("FlinkRunner", ["--flink_master=[auto]"]),
        ("SparkRunner", ["--spark_master_url=local"]),
        ("SparkRunner", ["--spark_master_url=local[4]"]),
    ],
)
def test_a_cluster_in_the_drivers_process_has_none(runner, beam):
    assert not settings(runner, *beam).flags.keys() & POOL.keys()
    assert settings(runner, *beam).flink is None


def test_what_the_user_gives_wins():
    given = settings(
        "FlinkRunner", "--flink_master=f:1", "--environment_config", "pool:7", iterations_per_job=3
    )
    assert given.flags["environment_config"] == "pool:7"
    assert given.iterations_per_job == 3
    assert given.beam().view_as(PortableOptions).environment_config == "pool:7"
    assert given.beam().view_as(PortableOptions).environment_type == "EXTERNAL"


@pytest.fixture
def of_version(flink):
    """of_version(version): a Flink cluster of five slots -> the option that names it."""
    return lambda version: f"--flink_master={flink(**{'slots-total': 5, 'flink-version': version})}"


@pytest.fixture
def java(monkeypatch):
    monkeypatch.setattr("pipeline.preflight.shutil.which", lambda program: f"/bin/{program}")


# An environment that needs no pool at hand.
LOOPBACK = "--environment_type=LOOPBACK"


def test_flink_says_how_many_slots_it_has_and_of_which_version_it_is(of_version, java):
    found = connect(settings("FlinkRunner", of_version("1.20.1"), LOOPBACK))
    options = found.beam().view_as(FlinkRunnerOptions)
    assert (options.parallelism, options.flink_version) == (5, "1.20")
    assert "--parallelism=5" in found.used["beam"]


def test_parallelism_as_the_user_wants_it(of_version, java):
    beam = (of_version("1.20.1"), LOOPBACK, "--parallelism=2")
    assert connect(settings("FlinkRunner", *beam)).flags["parallelism"] == "2"


def test_a_jar_of_the_users_own_has_its_own_version(of_version, java):
    beam = (
        of_version("1.17.2"),
        LOOPBACK,
        "--flink_job_server_jar=a.jar",
    )
    assert "flink_version" not in connect(settings("FlinkRunner", *beam)).flags


def test_a_flink_that_beam_has_no_job_server_for(of_version, java):
    master = of_version("1.17.2")
    with pytest.raises(RunError) as caught:
        connect(settings("FlinkRunner", master, LOOPBACK))
    address = master.removeprefix("--flink_master=")
    assert str(caught.value).startswith(
        f"the cluster at {address} runs Flink 1.17.2, and this Beam"
    )
    assert str(caught.value).endswith(": give --job_endpoint")
