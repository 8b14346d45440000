"""Which lack of memory a cluster's failure is, and the setting to raise."""

import re
from dataclasses import dataclass

_FLINK, _SPARK = "flinkrunner", "sparkrunner"
_DIRECT, _FN_API = "directrunner", "fnapirunner"


@dataclass(frozen=True)
class Lack:
    """A kind of memory that was too little.

    Attributes:
        sign: a pattern of what the failure says.
        what: lacks what.
        settings: what to raise, by the kind of runner.
    """

    sign: str
    what: str
    settings: dict[str, str]


_LACKS = (
    Lack(
        r"subprocess exited with return code (137|-9)\b",
        "a worker process was killed, as it is where the machine or container lacks memory",
        {
            _DIRECT: "what the job may use, or lower --direct_num_workers, --threads or --cache_mb",
            _FN_API: "what the job may use, or lower --direct_num_workers, --threads or --cache_mb",
        },
    ),
    Lack(
        r"number of network buffers",
        "a TaskManager lacks network buffers",
        {
            _FLINK: "taskmanager.memory.network.max and .min (or lower --iterations_per_job, "
            "which makes the graph smaller)"
        },
    ),
    Lack(
        r"[Dd]irect (buffer )?memory|OutOfDirectMemory",
        "a JVM of the cluster lacks direct memory",
        {
            _FLINK: "taskmanager.memory.task.off-heap.size",
            _SPARK: "spark.executor.memory, which bounds direct memory too",
        },
    ),
    Lack(
        r"Java heap space|GC overhead limit|Command exited with code 52\b",
        "a JVM of the cluster lacks heap",
        {_FLINK: "taskmanager.memory.task.heap.size", _SPARK: "spark.executor.memory"},
    ),
    Lack(
        r"OutOfMemoryError: Metaspace",
        "a JVM of the cluster lacks metaspace",
        {
            _FLINK: "taskmanager.memory.jvm-metaspace.size",
            _SPARK: "-XX:MaxMetaspaceSize in spark.executor.extraJavaOptions",
        },
    ),
    Lack(
        r"exceeding (physical |virtual )?memory limits|Container killed|OOMKilled"
        r"|[Ee]xit(ed with)?( code|Code:?| status:?) 137\b",
        "a process of the cluster was killed, as it is where its host or container lacks memory",
        {
            _FLINK: "the container's memory, and taskmanager.memory.process.size with it",
            _SPARK: "spark.executor.memoryOverhead",
        },
    ),
)


def lack_of_memory(text: str, runner: str) -> str | None:
    """What lacks and what to raise, if that is what a failure is about; else None.

    Args:
        text: the failure.
        runner: the kind of runner, as `Settings` has it.
    """
    for lack in _LACKS:
        if re.search(lack.sign, text):
            # Behind a job service of any kind it may be one or the other.
            setting = lack.settings.get(runner) or " or ".join(
                dict.fromkeys(lack.settings.values())
            )
            return f"{lack.what}: raise {setting}"
    return None
