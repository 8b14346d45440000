"""Numbers, times and settings as people read them."""

import functools
import math
import re
from typing import Any

from markupsafe import Markup, escape

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_MINUS = "\u2212"
UNCHANGED = "unchanged"
_ABBREVIATED = 1e4  # from which a number on an axis has a prefix


def number(value: float | None, digits: int = 6) -> str:
    """Formats for people: `digits` significant digits, but the integer part is never rounded."""
    if value is None:
        return "—"
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e15):
        return f"{value:.{digits}g}".replace("-", _MINUS)
    before_point = math.floor(math.log10(abs(value))) + 1 if value else 1
    text = f"{value + 0:,.{max(0, digits - before_point)}f}"  # + 0: no minus zero
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", _MINUS)


def short(value: float, digits: int = 6, largest: float | None = None) -> str:
    """Formats for an axis: 128 M rather than 128,000,000.

    Args:
        value: what is formatted.
        digits: how many are significant.
        largest: of the axis, whose prefix all its values have; None: the value's own.
    """
    value = float(f"{value:.{digits}g}")
    largest = abs(value) if largest is None else largest
    if not value or not _ABBREVIATED <= largest < 1e15:
        return number(value, digits)
    size, prefix = next(entry for entry in _PREFIXES if largest >= entry[0])
    return f"{number(value / size, digits)} {prefix}"


def duration(seconds: float | None) -> str:
    """Formats a time for people: 3.25 s, 4 min 05 s, 2 h 03 min."""
    if seconds is None:
        return "—"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{number(seconds, 3)} s" if seconds >= 0.01 else "0 s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def percent(share: float | None) -> str:
    """Formats a share: 41.3 %; more digits near 0 and 1, where they tell."""
    if share is None:
        return "—"
    if not share:
        return "0 %"
    least = min(abs(share), abs(1 - share)) if 0 < share < 1 else 1
    digits = 1 if least >= 1e-3 else 3
    return f"{100 * share + 0:,.{digits}f} %"


def change(now: float | None, then: float | None) -> str:
    """How much a figure has changed, as a part of what it was: +3.2 %."""
    if now is None or then is None:
        return "—"
    if now == then:
        return UNCHANGED
    if not then:
        return "—"
    return signed(100 * (now - then) / abs(then), 1) + " %"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, and minus is no hyphen."""
    text = f"{abs(value):,.{digits}f}"
    return (_MINUS if value < 0 and float(text.replace(",", "")) else "+") + text


def setting(value: Any) -> str:
    """Formats an option: lists by commas, pairs by colons."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(
            ":".join(map(str, entry)) if isinstance(entry, list | tuple) else setting(entry)
            for entry in value
        )
    return value if isinstance(value, str) else str(value)


def breakable(name: str) -> Markup:
    """A name that a narrow column may break where its words end."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_./-])", name))


def is_said(value: Any) -> bool:
    """Whether an option says anything."""
    return value is not None and value != "" and value != [] and value != () and value != {}


FILTERS: dict[str, Any] = {
    "number": number,
    "breakable": breakable,
    "brief": functools.partial(number, digits=4),
    "duration": duration,
    "percent": percent,
    "signed": signed,
    "setting": setting,
}
