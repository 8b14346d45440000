"""What a worker of a test runs; imports no TensorFlow, so that its process starts at once."""

from pipeline.errors import DataError

MESSAGE = "/data/a.parquet: row 5: weight column 'w' holds -1.0"


def fail_at_three(number: int) -> int:
    if number == 3:
        raise DataError(MESSAGE)
    return number
