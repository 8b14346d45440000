"""A Flink standalone session cluster: one JobManager, TaskManagers, a Python worker pool.

The package on PyPI holds Flink's jars but neither start scripts nor configuration, so the JVMs
are started here. Beam's job-server jar lies on the cluster's own class path and classes resolve
parent first: a jar shipped per job would be unloaded with each stage, and take the Python
workers down while other stages still use them.
"""

import shlex
import shutil
from pathlib import Path
from typing import Any

from cluster import build, job_server, processes, worker_pool
from cluster.home import HOME, HOST, folder, write
from cluster.java import java, java_program

FLINK_PACKAGE = "apache-flink-libraries==1.19.3"
REST_PORT = 8081
RPC_PORT = 6123
JOB_PORT = 8099
ARTIFACT_PORT = 8098
WORKER_PORT = 50000
START_SECONDS = 90.0

TASKMANAGERS = 2
SLOTS = 1  # of a TaskManager, which asks for one Python worker however many it has

JOBMANAGER = "flink-jobmanager"
TASKMANAGER = "flink-taskmanager"
JOB_SERVER = "flink-job-server"
POOL = "flink-workers"

JOBMANAGER_CLASS = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASKMANAGER_CLASS = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_SERVER_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
MEMORY_CLASS = "org.apache.flink.runtime.util.bash.BashJavaUtils"
MEMORY_PREFIX = "BASH_JAVA_UTILS_EXEC_RESULT:"

# The job server ships its own jar, 160 MB, with every job, though the cluster has it already;
# every TaskManager keeps it for so long after the job's end (by default for an hour).
SHIPPED_JAR_SECONDS = 60

# Without a strategy one lost TaskManager ends the job.
RESTARTS = 3
# A TaskManager counts as lost after two of these; by default only after 20 s.
HEARTBEAT_MILLIS = 2_000

# Flink's defaults (1.4 GB a TaskManager) leave too few network buffers for an unrolled graph.
CONFIGURATION = """\
jobmanager.rpc.address: {host}
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: {host}
jobmanager.memory.process.size: 1024m
taskmanager.host: {host}
taskmanager.bind-host: {host}
taskmanager.memory.process.size: 2560m
taskmanager.memory.network.min: 512m
taskmanager.memory.network.max: 512m
taskmanager.memory.managed.size: 256m
parallelism.default: 1
rest.address: {host}
rest.bind-address: {host}
rest.port: {rest_port}
heartbeat.interval: {heartbeat_millis}
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: {restarts}
restart-strategy.fixed-delay.delay: 2 s
classloader.resolve-order: parent-first
io.tmp.dirs: {temporary}
blob.storage.directory: {temporary}
blob.service.cleanup.interval: {jar_seconds}
"""

LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
"""


def install() -> None:
    """Fetches Flink and builds the job-server jar, whatever of it is missing."""
    java_program()
    job_server_jar()
    build.pip_package(FLINK_PACKAGE, HOME / "flink-dist")


def up(taskmanagers: int = TASKMANAGERS, slots: int = SLOTS) -> None:
    """Brings the cluster up, or to the wanted TaskManagers and slots if it is up already."""
    install()
    configure()
    processes.require_port(JOBMANAGER, REST_PORT)
    worker_pool.start(POOL, WORKER_PORT, taskmanagers)
    processes.start(JOBMANAGER, jvm("JM", JOBMANAGER_CLASS, "--executionMode", "cluster"))
    start_taskmanagers(taskmanagers, slots)
    job_server.start(
        JOB_SERVER,
        java(JOB_SERVER_CLASS, [job_server_jar()], ["-Xmx512m"]),
        ["--flink-master", f"http://{HOST}:{REST_PORT}"],
        job_server.Ports(JOB_PORT, ARTIFACT_PORT),
    )


def start_taskmanagers(count: int, slots: int) -> None:
    """Starts TaskManagers, or ends some, until the REST interface counts them and their slots."""
    wanted = [f"{TASKMANAGER}-{i}" for i in range(count)]
    for name in set(taskmanager_names()) - set(wanted):
        processes.stop(name)
    command = jvm("TM", TASKMANAGER_CLASS)
    for name in wanted:
        own = {"resource-id": name, "numberOfTaskSlots": slots}  # an id for the REST interface
        words = (w for key, value in own.items() for w in ("-D", f"taskmanager.{key}={value}"))
        processes.start(name, [*command, *words])
    processes.wait_healthy(
        [JOBMANAGER, *wanted],
        lambda: counted() == (count, count * slots),
        f"{count} TaskManagers of {slots} slots at {HOST}:{REST_PORT}",
        START_SECONDS,
    )


def down() -> None:
    """Ends every process of the cluster; harmless when there is none."""
    for name in [JOB_SERVER, *taskmanager_names(), JOBMANAGER, POOL]:
        processes.stop(name)
    shutil.rmtree(folder("flink", "tmp"), ignore_errors=True)


def taskmanager_names() -> list[str]:
    """The names of the TaskManagers that were started."""
    return [name for name in processes.names() if name.startswith(TASKMANAGER)]


def options() -> dict[str, str]:
    """What the job is told of this cluster; the rest it knows or finds out."""
    return {
        "runner": "FlinkRunner",
        "flink_master": f"{HOST}:{REST_PORT}",
        "job_endpoint": f"{HOST}:{JOB_PORT}",
    }


def status() -> str:
    """One line on the cluster's health, as its REST interface tells it."""
    cluster = overview()
    if not cluster:
        return "flink: down"
    slots = f"{cluster['slots-available']} of {cluster['slots-total']} slots free"
    return f"flink: up at {HOST}:{REST_PORT}, {cluster['taskmanagers']} TaskManagers, {slots}"


def overview() -> dict[str, Any]:
    """What the REST interface says of the cluster; empty when it does not answer."""
    return processes.ask(f"http://{HOST}:{REST_PORT}/overview")


def counted() -> tuple[int | None, int | None]:
    """How many TaskManagers there are, and slots of theirs."""
    cluster = overview()
    return cluster.get("taskmanagers"), cluster.get("slots-total")


def jobs() -> list[str]:
    """The names of the jobs under way, as the REST interface tells."""
    known = processes.ask(f"http://{HOST}:{REST_PORT}/jobs/overview")["jobs"]
    return [job["name"] for job in known if job["end-time"] == -1]


def job_server_jar() -> Path:
    """Beam's Flink job server, built if need be."""
    return build.maven_jar(Path(__file__).parent / "flink" / "pom.xml")


def configure() -> None:
    """Writes Flink's two configuration files."""
    text = CONFIGURATION.format(
        host=HOST,
        rpc_port=RPC_PORT,
        rest_port=REST_PORT,
        restarts=RESTARTS,
        heartbeat_millis=HEARTBEAT_MILLIS,
        jar_seconds=SHIPPED_JAR_SECONDS,
        temporary=folder("flink", "tmp"),
    )
    write(configuration_folder() / "config.yaml", text)
    write(configuration_folder() / "log4j.properties", LOGGING)


def configuration_folder() -> Path:
    """Where Flink's configuration is written."""
    return folder("flink", "conf")


def jvm(kind: str, main: str, *arguments: str) -> list[str]:
    """The command of a JobManager ("JM") or TaskManager ("TM")."""
    memory, dynamic = memory_arguments(kind)
    logging = f"-Dlog4j.configurationFile={configuration_folder() / 'log4j.properties'}"
    classpath = [flink_home() / "lib" / "*", job_server_jar()]
    command = java(main, classpath, [*memory, logging])
    return [*command, "--configDir", str(configuration_folder()), *dynamic, *arguments]


def memory_arguments(kind: str) -> tuple[list[str], list[str]]:
    """A JVM's heap sizes and the like, and the settings to match, as Flink computes them.

    Returns:
      arguments for the JVM and arguments for the main class.
    """
    jars = [flink_home() / "bin" / "bash-java-utils.jar", flink_home() / "lib" / "*"]
    question = [f"GET_{kind}_RESOURCE_PARAMS", "--configDir", str(configuration_folder())]
    output = build.run([*java(MEMORY_CLASS, jars), *question], "sizing Flink's memory")
    lines = [line for line in output.splitlines() if line.startswith(MEMORY_PREFIX)]
    memory, dynamic = (shlex.split(line.removeprefix(MEMORY_PREFIX)) for line in lines)
    return memory, dynamic


def flink_home() -> Path:
    """The folder that holds Flink's `lib` and `bin`."""
    return HOME / "flink-dist" / "pyflink"
