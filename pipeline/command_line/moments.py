"""Moments that a user names: a clock time, or an ISO time."""

import re
import time
from datetime import datetime, timedelta

_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
now = time.time


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
