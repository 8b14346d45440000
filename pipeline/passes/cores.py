"""How many cores a process may use, and the control groups that limit it."""

import contextlib
import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def cores() -> int:
    """How many cores the process may use: those that it may run on, or as many as its quota is."""
    allowed = os.cpu_count() or 1
    with contextlib.suppress(AttributeError, OSError):  # macOS has no affinity
        allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, math.ceil(min(_quota(), allowed))))


def _quota() -> float:
    """The cores that a container's quota of time comes to; infinite where there is none."""
    quota = math.inf
    for folder in control_groups("cpu"):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            time, period = (folder / "cpu.max").read_text().split()
            quota = min(quota, int(time) / int(period))
        with contextlib.suppress(OSError, ValueError):
            time, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            if int(time) > 0:  # -1: none
                quota = min(quota, int(time) / int(period))
    return quota


def control_groups(controller: str) -> list[Path]:
    """The control groups that the process is in, each with those around it.

    In a container its own is mounted in the place of that around all.

    Args:
        controller: of the first version, which has groups of its own for each.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    own = [Path(line.split(":", 2)[-1].lstrip("/")) for line in lines]
    places = dict.fromkeys([Path(), *own, *(above for place in own for above in place.parents)])
    return [root / place for root in (_GROUPS, _GROUPS / controller) for place in places]
