"""Days that stand in paths, so that one unchanging command runs every night.

`{date}` is the day, `{yesterday}` the one before and `{date-7}` that of the week before; a form may
follow, as strftime has it: `{date:%Y/%m/%d}`.
"""

import re
from datetime import UTC, date, datetime, timedelta

from pipeline.errors import UsageError

TODAY, YESTERDAY = "today", "yesterday"
_PART = re.compile(r"%%|%[-_0^#EO]*[^%]")
_DAY = re.compile(r"\{(date|yesterday)(?:-(\d{1,4}))?(?::([^{}]+))?\}")


def parse_day(text: str) -> date:
    """A day: YYYY-MM-DD, today or yesterday, which are UTC's.

    Raises:
        ValueError: it is none.
    """
    today = datetime.now(UTC).date()
    named = {TODAY: today, YESTERDAY: today - timedelta(1)}
    return named[text] if text in named else date.fromisoformat(text)


def names_a_day(text: str) -> bool:
    """Whether a day is to stand in a path."""
    return _DAY.search(text) is not None


def on(day: date | None, text: str) -> str:
    """A path with the days in it; as it is where there is no day.

    Raises:
        UsageError: a form has what stands for no part of a day.
    """
    if day is None:
        return text

    def written(match: re.Match) -> str:
        name, before, form = match.groups()
        for part in _PART.findall(form or ""):
            if day.strftime(part) == part:
                raise UsageError(f"{text}: {part} stands for no part of a day")
        days = int(before or 0) + (name == YESTERDAY)
        return (day - timedelta(days)).strftime(form or "%Y-%m-%d")

    return _DAY.sub(written, text)
