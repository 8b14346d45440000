"""Moments that a user names: a clock time, an ISO time, or so many seconds from now."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.environment import steady_seconds

_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
now = time.time


@dataclass(frozen=True)
class Deadline:
    """A moment by a clock: the wall's where a time was named, which may be put right meanwhile.

    Attributes:
        moment: in seconds, as the clock counts them.
        clock: tells the present in them.
    """

    moment: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """So many seconds from now, whatever the wall's clock is set to."""
        return cls(steady_seconds() + seconds, steady_seconds)

    @classmethod
    def at(cls, text: str) -> "Deadline":
        """See `parse_moment`."""
        return cls(parse_moment(text), now)

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.moment - self.clock()


def parse_moment(text: str) -> float:
    """Seconds since 1970 of the next 05:30, or of an ISO time; local where no zone is named.

    Raises:
        ValueError: it is none, or has passed.
    """
    present = datetime.fromtimestamp(now()).astimezone()
    clock = _CLOCK.fullmatch(text)
    if clock:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        moment = present.replace(hour=hour, minute=minute, second=second, microsecond=0)
        if moment <= present:  # the same clock time of the next day, whatever the zone does
            moment = (moment.replace(tzinfo=None) + timedelta(1)).astimezone()
        return moment.timestamp()
    moment = datetime.fromisoformat(text).astimezone()
    if moment <= present:
        raise ValueError(f"{text} has passed")
    return moment.timestamp()
