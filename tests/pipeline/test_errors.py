"""A failure on a worker is found again in what reaches the driver."""

import traceback
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import (
    DataError,
    FullDiskError,
    JobError,
    NoResumeError,
    RunError,
    SetupError,
    UsageError,
    find_failure,
)

MESSAGE = "/data/a.parquet: row 3: weight column 'w' holds -1"
TRACE = """Error received from SDK harness for instruction 7: Traceback (most recent call last):
  File "/x/apache_beam/runners/worker/sdk_worker.py", line 311, in _execute
    response = task()
  File "/x/pipeline/rows.py", line 12, in read
    raise {raised}
{raised}
"""


@pytest.mark.parametrize("kind", [UsageError, DataError, RunError, SetupError, NoResumeError])
@pytest.mark.parametrize("place", ["", " [while running 'Train/BlockStats0']"])
def test_in_the_text_of_a_stack_trace(kind, place):
    text = TRACE.format(raised=f"pipeline.errors.{kind.__name__}: {MESSAGE}{place}")
    failure = find_failure(RuntimeError(text))
    assert type(failure) is kind
    assert str(failure) == MESSAGE


def test_as_the_error_itself_or_its_cause():
    error = DataError(MESSAGE)
    outer = RuntimeError("bundle failed")
    outer.__cause__ = ValueError("between")
    outer.__cause__.__context__ = error
    for raised in (error, outer):
        failure = find_failure(raised)
        assert (type(failure), str(failure)) == (DataError, MESSAGE)


def test_what_beam_puts_behind_the_message_is_taken_off():
    failure = find_failure(DataError(f"{MESSAGE} [while running 'Label/ParDo(LabelBlocks)']"))
    assert str(failure) == MESSAGE


@pytest.mark.parametrize("raised", ["OSError", "pyarrow.lib.OSError", "PermissionError"])
def test_a_disk_that_refuses_in_a_stack_trace(raised):
    text = TRACE.format(raised=f"{raised}: [Errno 28] No space left on device")
    failure = find_failure(RuntimeError(text))
    assert type(failure) is FullDiskError
    assert "No space left on device" in str(failure)


def test_a_disk_that_refuses():
    failure = find_failure(OSError(28, "No space left on device"))
    assert type(failure) is FullDiskError
    assert failure.told.endswith(": free some space there; run the same command again to resume")
    assert str(failure) == "reading or writing failed: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(5, "Input/output error"), "Input/output error; run the same command again"),
        (
            PermissionError(13, "Permission denied", "/out"),
            "'/out': give this user the right to it",
        ),
        (OSError(30, "Read-only file system", "/out"), "name a place that can be written"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
        (OSError(24, "Too many open files"), "ulimit -n"),
    ],
)
def test_the_same_command_is_named_only_where_it_can_help(error, told):
    failure = find_failure(error)
    assert failure is not None and failure.exit_code == 5
    assert told in failure.told
    assert ("same command" in failure.told) == ("same command" in told)


@pytest.mark.parametrize(
    "network", [URLError("no route"), ConnectionResetError("reset"), TimeoutError("too long")]
)
def test_what_could_not_be_fetched_is_not_a_disk_that_refuses(network):
    outer = RuntimeError("the jar at URL could not be fetched: stage it at PATH")
    outer.__context__ = network
    assert find_failure(outer) is None


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MemoryError(), "there is not enough memory: give"),
        (np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(float)), "Unable to allocate"),
        (pa.ArrowMemoryError("malloc of size 9 failed"), "memory: malloc of size 9 failed: give"),
    ],
)
def test_memory_that_was_not_there_is_told_as_that(raised, words):
    """In this process, and in the text that a worker's stack trace is."""
    text = "".join(traceback.format_exception(raised)).rstrip() + " [while running 'Scan/ParDo']"
    for error in (raised, RuntimeError(text)):
        failure = find_failure(error)
        assert failure.exit_code == 5
        assert words in failure.told
        assert "[while running" not in failure.told
        assert failure.told.endswith("; then run the same command to resume")


def test_causes_that_go_round_end():
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert find_failure(one) is None


def test_anything_else_is_no_failure_of_these():
    assert find_failure(ZeroDivisionError("division by zero")) is None
    assert find_failure(RuntimeError("some text about DataError: no")) is None


def test_exit_codes():
    kinds = (JobError, UsageError, DataError, RunError, NoResumeError)
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 5, 5]
