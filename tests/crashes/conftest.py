"""The command line in this process, as in tests/pipeline, and in processes that may be killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.pipeline.conftest import fit, run, three_blobs

__all__ = ["fit", "run", "three_blobs"]


class Ended(NamedTuple):
    """How a process ended: its exit code, or the signal that ended it as a negative number."""

    code: int
    seconds: float
    stderr: str


class Nursery:
    """A process that has loaded everything, and whose children run a command each."""

    def __init__(self, folder: Path):
        self._said = folder / "said"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        *argv: object,
        kill_after: float | None = None,
        whom: str = "driver",
        since: tuple[Path, str] | None = None,
    ) -> Ended:
        """Runs a command, and kills its driver or a worker after so many seconds.

        They count from the start, or since there is a file in a folder that a pattern matches.
        """
        request = {"argv": [str(word) for word in argv], "said": str(self._said)}
        place = since and (str(since[0]), since[1])
        request |= {"kill_after": kill_after, "whom": whom, "since": place}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._process.stdout.readline())
        return Ended(code, seconds, self._said.read_text())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Commands in processes of their own, which start at once."""
    started = Nursery(tmp_path_factory.mktemp("nursery"))
    try:
        yield started
    finally:
        started.close()
