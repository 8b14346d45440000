"""How much memory a worker process may fill."""

import contextlib
import os
from functools import cache

from pipeline.passes.cores import control_groups, cores

_OWN = 1 << 30  # for TensorFlow and what a pass works on
_SHARE = 0.5  # of the rest; the other half is the system's, for files that are read and written
# However many cores share the rest: a container may have few of them, and does not always say so.
_LEAST, _LEAST_SHARE = 512 << 20, 0.25
_LIMITS = ("memory.max", "memory.limit_in_bytes")  # of a control group, by version


@cache
def memory_share(threads: int) -> int:
    """Bytes that a process of so many threads may keep, as one of those that fill the cores."""
    processes = max(1, cores() // threads)
    limit = memory_limit()
    least = min(_LEAST, limit * _LEAST_SHARE)
    return int(max(least, (limit / processes - _OWN) * _SHARE))


def memory_limit() -> int:
    """Bytes that the processes of this machine, or of a control group of theirs, may fill."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (group / name for group in control_groups("memory") for name in _LIMITS):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limit = min(limit, int(path.read_text()))
    return limit
