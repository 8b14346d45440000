"""Waiting for what another process or thread does, without guessing how long it takes."""

import time
from collections.abc import Callable
from pathlib import Path

_POLL_SECONDS = 0.02


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Polls until the condition holds, or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(_POLL_SECONDS)


def latest_iteration(output: Path) -> int:
    """The newest checkpoint's, -1 before the first."""
    return max((int(p.name) for p in output.glob("_work/*/state/0*")), default=-1)
