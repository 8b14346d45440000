"""What the values of options may be, from text.

Each raises an argparse.ArgumentTypeError that says what was expected.
"""

import argparse
import re
from datetime import date

from pipeline.command_line.dates import parse_day
from pipeline.command_line.gates import Bound
from pipeline.command_line.moments import Deadline
from pipeline.command_line.options import AUTO

MOST_TRIALS = 1000
_UNITS = {"s": 1, "m": 60, "h": 3600}


def ks(text: str) -> tuple[int, ...]:
    """Each k that is named, in order."""
    found = set[int]()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?::(\d+)(?::(\d+))?)?\s*", part)
        if not match:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected a whole number, several with commas, or FIRST:LAST:STEP"
            )
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not (0 < first <= last and step):
            raise argparse.ArgumentTypeError(
                f"{part!r}: expected numbers from 1, the last no smaller than the first"
            )
        if (last - first) // step >= MOST_TRIALS:
            raise argparse.ArgumentTypeError(too_many((last - first) // step + 1))
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def too_many(trials: int) -> str:
    """What is said of more trials than MOST_TRIALS."""
    return f"{trials:,} trials, at most {MOST_TRIALS:,} go together: give fewer k or restarts"


def megabytes(text: str) -> int | None:
    """A number from 0; None for auto."""
    if text == AUTO:
        return None
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected auto or a whole number from 0")
    return int(text)


def duration(text: str) -> float:
    """Seconds, from 10m and the like."""
    if text == "0":
        return 0.0
    seconds = _seconds(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 10m, 90s, 1h or the like, or 0")
    return seconds


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    return float(match[1]) * _UNITS[match[2]] if match else None


def deadline(text: str) -> Deadline:
    """A duration from now, a clock time or an ISO time."""
    seconds = _seconds(text)
    if seconds is not None:
        return Deadline.after(seconds)
    try:
        return Deadline.at(text)
    except ValueError as error:
        passed = "it has passed; " if "passed" in str(error) else ""
        raise argparse.ArgumentTypeError(
            f"{text!r}: {passed}expected 30m or the like, 05:30, or 2026-07-14T05:30Z"
        ) from error


def day(text: str) -> date:
    """A day: YYYY-MM-DD, today or yesterday."""
    try:
        return parse_day(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected YYYY-MM-DD, today or yesterday"
        ) from error


def gate(text: str) -> Bound:
    """A bound on a figure."""
    try:
        return Bound.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
