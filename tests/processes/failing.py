"""What a worker of a test runs; imports no TensorFlow, so that its process starts at once."""

import os
import signal

from pipeline.errors import DataError
from pipeline.runners.preflight import probe

MESSAGE = "/data/a.parquet: row 5: weight column 'w' holds -1.0"


def fail_at_three(number: int) -> int:
    if number == 3:
        raise DataError(MESSAGE)
    return number


def answer_and_stop(*arguments):
    """A probe of a worker that stands still, in the way of SIGSTOP, once it has answered."""
    probe(*arguments)
    os.kill(os.getpid(), signal.SIGSTOP)
