"""A Spark standalone cluster: a master, workers, Beam's job server, a Python worker pool.

Spark comes as the jars of the PyPI package; its start scripts are not used. The job server is
the driver of every Spark application, so it carries Spark's jars on its own class path, and
every job gets one executor JVM per worker, which asks the pool for one Python worker.
"""

import shutil
from pathlib import Path
from typing import Any

from cluster import build, job_server, processes, worker_pool
from cluster.home import HOME, HOST, folder
from cluster.java import java, java_program

SPARK_PACKAGE = "pyspark==3.5.9"
MASTER_PORT = 7077
MASTER_UI_PORT = 8180
WORKER_UI_PORT = 8181
JOB_PORT = 8199
ARTIFACT_PORT = 8198
WORKER_PORT = 50001
START_SECONDS = 90.0
SCALA_VERSION = "2.12"

WORKERS = 2
WORKER_CORES = 1
WORKER_MEMORY = "2g"
EXECUTOR_MEMORY = "1g"

MASTER = "spark-master"
WORKER = "spark-worker"
JOB_SERVER = "spark-job-server"
POOL = "spark-workers"

MASTER_CLASS = "org.apache.spark.deploy.master.Master"
WORKER_CLASS = "org.apache.spark.deploy.worker.Worker"
JOB_SERVER_CLASS = "org.apache.beam.runners.spark.SparkJobServerDriver"


def install() -> None:
    """Fetches Spark and builds the job-server jar, whatever of it is missing."""
    java_program()
    job_server_jar()
    build.pip_package(SPARK_PACKAGE, HOME / "spark-dist")


def up(workers: int = WORKERS) -> None:
    """Brings the cluster up, or to the wanted number of workers if it is up already.

    A different number restarts the job server, which ends the jobs it has.
    """
    install()
    worker_pool.start(POOL, WORKER_PORT, workers)
    start_master()
    start_workers(workers)
    job_server.start(
        JOB_SERVER,
        java(JOB_SERVER_CLASS, [job_server_jar(), *spark_jars()], driver_options(workers)),
        ["--spark-master-url", master_url()],
        job_server.Ports(JOB_PORT, ARTIFACT_PORT),
        environment(),
    )


def start_master() -> None:
    """Starts the master and waits for its web interface."""
    processes.require_port(MASTER, MASTER_UI_PORT)
    ports = ["--port", str(MASTER_PORT), "--webui-port", str(MASTER_UI_PORT)]
    command = java(MASTER_CLASS, spark_jars(), ["-Xmx512m"])
    processes.start(MASTER, [*command, "--host", HOST, *ports], environment())
    processes.wait_healthy(
        [MASTER], lambda: bool(overview()), f"{MASTER} on port {MASTER_UI_PORT}", START_SECONDS
    )


def start_workers(count: int) -> None:
    """Starts workers, or ends some, until the master counts that many."""
    wanted = [f"{WORKER}-{i}" for i in range(count)]
    for name in set(worker_names()) - set(wanted):
        processes.stop(name)
    for i, name in enumerate(wanted):
        processes.start(name, worker_command(name, WORKER_UI_PORT + i), environment())
    processes.wait_healthy(
        [MASTER, *wanted],
        lambda: overview().get("aliveworkers") == count,
        f"{count} Spark workers at {master_url()}",
        START_SECONDS,
    )


def down() -> None:
    """Ends every process of the cluster; harmless when there is none."""
    for name in [JOB_SERVER, *worker_names(), MASTER, POOL]:
        processes.stop(name)
    shutil.rmtree(folder("spark"), ignore_errors=True)


def worker_names() -> list[str]:
    """The names of the Spark workers that were started."""
    return [name for name in processes.names() if name.startswith(f"{WORKER}-")]


def options() -> dict[str, str]:
    """What the job is told of this cluster; the rest it knows or finds out."""
    return {
        "runner": "SparkRunner",
        "spark_master_url": master_url(),
        "job_endpoint": f"{HOST}:{JOB_PORT}",
        "environment_config": f"{HOST}:{WORKER_PORT}",
        # The executors have Beam and Spark already; without this each job sends them both again.
        "files_to_stage": str(build.empty_jar()),
    }


def status() -> str:
    """One line on the cluster's health, as the master's web interface tells it."""
    master = overview()
    if not master:
        return "spark: down"
    cores = f"{master['cores'] - master['coresused']} of {master['cores']} cores free"
    return f"spark: up at {master_url()}, {master['aliveworkers']} workers, {cores}"


def jobs() -> list[str]:
    """The names of the applications under way, as the master's web interface tells."""
    return [application["name"] for application in overview()["activeapps"]]


def overview() -> dict[str, Any]:
    """What the master's web interface says of the cluster; empty when it does not answer."""
    return processes.ask(f"http://{HOST}:{MASTER_UI_PORT}/json/")


def master_url() -> str:
    """Where Spark applications find the master."""
    return f"spark://{HOST}:{MASTER_PORT}"


def job_server_jar() -> Path:
    """Beam's Spark job server, built if need be."""
    return build.maven_jar(Path(__file__).parent / "spark" / "pom.xml")


def spark_jars() -> list[Path]:
    """Spark's own class path."""
    return [HOME / "spark-dist" / "pyspark" / "jars" / "*"]


def driver_options(workers: int) -> list[str]:
    """The JVM options of the job server, which is the driver of every Spark application."""
    settings = {
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.executor.memory": EXECUTOR_MEMORY,
        "spark.executor.extraClassPath": job_server_jar(),
        # Waits for every executor: the first to register would otherwise get all of a short job.
        "spark.cores.max": workers * WORKER_CORES,
        "spark.scheduler.minRegisteredResourcesRatio": 1.0,
    }
    return ["-Xmx1g", *(f"-D{key}={value}" for key, value in settings.items())]


def worker_command(name: str, ui_port: int) -> list[str]:
    """The command of one Spark worker."""
    arguments = {
        "--host": HOST,
        "--webui-port": ui_port,
        "--cores": WORKER_CORES,
        "--memory": WORKER_MEMORY,
        "--work-dir": folder("spark", name),
    }
    command = java(WORKER_CLASS, spark_jars(), ["-Xmx512m"])
    own = [str(part) for pair in arguments.items() for part in pair]
    return [*command, *own, master_url()]


def environment() -> dict[str, str]:
    """Where Spark's own programs look for its home, its address and its scratch space."""
    return {
        "SPARK_HOME": str(HOME / "spark-dist" / "pyspark"),
        # Without it a worker takes Spark for a source tree and looks for build directories.
        "SPARK_SCALA_VERSION": SCALA_VERSION,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder("spark", "tmp")),
    }
