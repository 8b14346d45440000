"""What a runner gets where the user says nothing, and what the user says instead."""

from dataclasses import replace

import pytest
from apache_beam import Pipeline
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions

from pipeline.command_line.options import RunOptions
from pipeline.errors import RunError, UsageError
from pipeline.runners.settings import Settings

FIVE_SLOTS = {"slots-total": 5, "taskmanagers": 2}
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
        ("FlinkRunner", ["--flink_master=[::1]:8081"]),
        ("SparkRunner", ["--spark_master_url=spark://localhost:7077"]),
        ("Flink", ["--flink_master=localhost:8081"]),
        (
            "apache_beam.runners.portability.flink_runner.FlinkRunner",
            ["--flink_master=localhost:8081"],
        ),
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


@pytest.mark.parametrize(
    ("beam", "place"),
    [
        (["--environment_type=LOOPBACK"], None),
        (["--environment_type=DOCKER"], None),
        (["--environment_type=DOCKER", "--environment_config=image:latest"], "image:latest"),
        (["--environment_type=PROCESS", "--environment_options=process_command=boot"], None),
        (["--environment_type=EXTERNAL"], "localhost:50000"),
        (["--environment_options=external_service_address=pool:7"], None),
    ],
)
def test_another_environment_than_the_pool(beam, place):
    options = settings("FlinkRunner", "--flink_master=f:1", *beam).beam()
    assert options.view_as(PortableOptions).environment_config == place
    Pipeline(options=options)  # Beam refuses options that contradict each other


def test_as_many_threads_as_a_host_has_slots():
    flink = replace(settings("FlinkRunner", "--flink_master=f:1"), task_slots=8)
    assert flink.threads == 8
    assert replace(flink, options=replace(flink.options, threads=3)).threads == 3
    several = settings("FlinkRunner", "--flink_master=f:1", "--sdk_worker_parallelism=8")
    assert replace(several, task_slots=8).threads == 1


def test_how_long_a_job_may_stand_still():
    assert settings("FlinkRunner").stall_seconds == 600
    assert settings("DataflowRunner").stall_seconds == 1800
    assert settings("FlinkRunner", stall_timeout=90.0).stall_seconds == 90
    assert settings("FlinkRunner", stall_timeout=0.0).stall_seconds == 0


@pytest.mark.parametrize(
    ("stall_timeout", "expected"), [(None, 300), (0.0, 300), (1.0, 120), (200.0, 200)]
)
def test_workers_may_take_hardly_longer_to_answer_than_a_job_may_stand_still(
    stall_timeout, expected
):
    assert settings("FlinkRunner", stall_timeout=stall_timeout).start_seconds == expected


def test_the_report_has_the_users_words_and_then_the_defaults():
    beam = ["--flink_master=f:1", "--experiments=a", "--experiments=b", "--environment_config="]
    used = settings("FlinkRunner", *beam).used["beam"]
    assert used[: len(beam)] == beam
    assert "--environment_type=EXTERNAL" in used[len(beam) :]


def test_what_the_user_gives_wins():
    chosen = settings(
        "FlinkRunner", "--flink_master=f:1", "--environment_config", "pool:7", iterations_per_job=3
    )
    assert chosen.flags["environment_config"] == "pool:7"
    assert chosen.iterations_per_job(0) == chosen.iterations_per_job(50) == 3
    assert chosen.beam().view_as(PortableOptions).environment_config == "pool:7"
    assert chosen.beam().view_as(PortableOptions).environment_type == "EXTERNAL"


@pytest.fixture
def of_version(flink):
    """of_version(version): a Flink cluster of five slots -> the option that names it."""
    return lambda version: f"--flink_master={flink(**{**FIVE_SLOTS, 'flink-version': version})}"


@pytest.fixture
def java(monkeypatch):
    monkeypatch.setattr(
        "pipeline.runners.endpoints.shutil.which", lambda program: f"/bin/{program}"
    )


# An environment that needs no pool at hand.
LOOPBACK = "--environment_type=LOOPBACK"


def test_flink_says_how_many_slots_it_has_and_of_which_version_it_is(of_version, java):
    connected = settings("FlinkRunner", of_version("1.20.1"), LOOPBACK).connect()
    options = connected.beam().view_as(FlinkRunnerOptions)
    assert (options.parallelism, options.flink_version) == (5, "1.20")
    assert "--parallelism=5" in connected.used["beam"]
    assert connected.threads == 3, "two TaskManagers share five slots"


def test_parallelism_as_the_user_wants_it(of_version, java):
    beam = (of_version("1.20.1"), LOOPBACK, "--parallelism=2")
    assert settings("FlinkRunner", *beam).connect().flags["parallelism"] == "2"


def test_a_jar_of_the_users_own_has_its_own_version(of_version, java, tmp_path):
    jar = tmp_path / "a.jar"
    jar.touch()
    beam = (
        of_version("1.17.2"),
        LOOPBACK,
        f"--flink_job_server_jar={jar}",
    )
    assert "flink_version" not in settings("FlinkRunner", *beam).connect().flags


def test_a_flink_that_beam_has_no_job_server_for(of_version, java):
    master = of_version("1.17.2")
    with pytest.raises(RunError) as caught:
        settings("FlinkRunner", master, LOOPBACK).connect()
    address = master.removeprefix("--flink_master=")
    assert str(caught.value).startswith(
        f"the cluster at {address} runs Flink 1.17.2, and this Beam"
    )
    assert str(caught.value).endswith(": give --job_endpoint")


@pytest.mark.parametrize(
    ("runner", "beam", "expected"),
    [
        ("FnApiRunner", [], True),
        ("FnApiRunner", ["--direct_running_mode=in_memory"], True),
        ("FnApiRunner", ["--direct_running_mode=multi_threading"], False),
        ("FnApiRunner", ["--direct_running_mode=multi_processing"], False),
        ("DirectRunner", [], False),
        ("PrismRunner", [], False),
        ("FlinkRunner", [], False),
    ],
)
def test_where_the_driver_does_the_work(runner, beam, expected):
    assert settings(runner, *beam).one_process is expected


@pytest.mark.parametrize(
    ("runner", "beam", "expected"),
    [
        ("FnApiRunner", [], [4, 4, 8, 16, 20, 20]),
        ("FnApiRunner", ["--direct_running_mode=multi_processing"], [10, 10, 10]),
        ("FlinkRunner", [], [10, 10, 10]),
        ("SparkRunner", [], [20, 20]),
    ],
)
def test_rounds_grow_where_a_job_starts_at_once(runner, beam, expected):
    rounds, chosen = [], settings(runner, *beam)
    while len(rounds) < len(expected):
        rounds.append(chosen.iterations_per_job(sum(rounds)))
    assert rounds == expected


@pytest.mark.parametrize(
    ("runner", "option", "others"),
    [
        ("FnApiRunner", "--job_endpoint=host:8099", "Prism"),
        ("FnApiRunner", "--flink_master=host:8081", "FlinkRunner or PortableRunner"),
        ("FnApiRunner", "--environment_type=DOCKER", "PrismRunner"),
        ("FlinkRunner", "--direct_num_workers=2", "FnApiRunner or DirectRunner"),
        ("SparkRunner", "--flink_master=host:8081", "FlinkRunner or PortableRunner"),
        ("PrismRunner", "--spark_master_url=spark://host:7077", "SparkRunner or PortableRunner"),
        ("DataflowRunner", "--job_endpoint=host:8099", "FlinkRunner"),
        ("FnApiRunner", "--project=p", "DataflowRunner"),
        ("FlinkRunner", "--num_workers=8", "DataflowRunner"),
        ("FnApiRunner", "--worker_machine_type=large", "DataflowRunner"),
    ],
)
def test_an_option_that_the_runner_does_not_look_at_is_refused(runner, option, others):
    with pytest.raises(UsageError) as refused:
        settings(runner, option).connect()
    name = option.partition("=")[0]
    assert str(refused.value).startswith(f"{name}: --runner {runner} does not look at it, ")
    assert others in str(refused.value)


def test_an_endpoint_that_the_embedded_runner_does_not_use_ends_the_job(run, three_blobs, tmp_path):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--features=f0,f1", "--job_endpoint=flink:8099")
    assert ran.code == 2
    assert "--job_endpoint: --runner FnApiRunner does not look at it" in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--job_name=night", "--max_cache_memory_usage_mb=10"])
def test_what_workers_look_at_everywhere_is_not(option):
    settings("FnApiRunner", option).connect()


def test_a_runner_of_the_users_own_looks_at_what_it_likes():
    Settings(RunOptions(runner="my.module.MyRunner", beam=("--job_endpoint=host:1",))).connect()
