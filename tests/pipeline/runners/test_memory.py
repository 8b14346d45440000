"""A lack of memory is told as that, with the setting to raise."""

import pytest

from pipeline.runners.memory import lack_of_memory

FLINK, SPARK = "flinkrunner", "sparkrunner"
DIRECT = (
    "io.netty.util.internal.OutOfDirectMemoryError: failed to allocate 4194304 byte(s) of direct "
    "memory (used: 131, max: 134)"
)


@pytest.mark.parametrize(
    ("text", "runner", "setting"),
    [
        ("java.lang.OutOfMemoryError: Direct buffer memory", FLINK, "task.off-heap.size"),
        (DIRECT, FLINK, "taskmanager.memory.task.off-heap.size"),
        ("Cannot reserve 4 bytes of direct buffer memory (allocated: 1)", FLINK, "off-heap.size"),
        (DIRECT, SPARK, "spark.executor.memory, "),
        ("java.lang.OutOfMemoryError: Java heap space", FLINK, "task.heap.size"),
        ("java.lang.OutOfMemoryError: Java heap space", SPARK, "spark.executor.memory"),
        ("java.lang.OutOfMemoryError: GC overhead limit exceeded", SPARK, "executor.memory"),
        ("ExecutorLostFailure … Reason: Command exited with code 52", SPARK, "executor.memory"),
        ("ExecutorLostFailure … Reason: Command exited with code 137", SPARK, "memoryOverhead"),
        ("Container killed by YARN for exceeding memory limits. 2 GB", SPARK, "memoryOverhead"),
        ("java.lang.OutOfMemoryError: Metaspace", FLINK, "jvm-metaspace.size"),
        ("Worker subprocess exited with return code 137", "directrunner", "--direct_num_workers"),
        ("Worker subprocess exited with return code -9", "fnapirunner", "what the job may use"),
        ("Insufficient number of network buffers: required 512", FLINK, "network.max"),
        ("Insufficient number of network buffers: required 512", "portablerunner", "network.max"),
    ],
)
def test_what_to_raise(text, runner, setting):
    told = lack_of_memory(f"Job aborted due to stage failure: {text}.", runner)
    assert setting in told.partition(": raise ")[2]


def test_behind_another_job_service_both_are_named():
    told = lack_of_memory("java.lang.OutOfMemoryError: Java heap space", "portablerunner")
    assert "taskmanager.memory.task.heap.size or spark.executor.memory" in told


@pytest.mark.parametrize(
    "text",
    [
        "ExecutorLostFailure (executor 1 exited): Remote RPC client disassociated",
        "Command exited with code 1",
        "Worker subprocess exited with return code 1",
        "StatusRuntimeException: CANCELLED: call already cancelled",
        "/data/memory/part-137.parquet: row 137",
    ],
)
def test_other_failures_are_no_lack_of_memory(text):
    assert lack_of_memory(text, SPARK) is None
