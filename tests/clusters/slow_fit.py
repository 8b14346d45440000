"""A job in a process of its own, slow enough to be struck in the middle."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.pipeline.answer import with_options
from tests.waiting import latest_iteration, wait_for

FAULT_AT = 3
ITERATIONS = 20
JOB_SECONDS = 240.0
# So slow a descent that it is not over before the fault.
SLOW = (
    *("--keys=id", "--k=8", "--optimizer=sgd", "--learning_rate=1e-9", "--tolerance=0"),
    *(f"--max_iterations={ITERATIONS}", "--iterations_per_job=10"),
)


def slow_fit(rows: Path, output: Path, *options: str) -> list[str]:
    """The command."""
    places = (f"--input={rows}", f"--output={output}")
    return [sys.executable, "-m", "pipeline", "fit", *with_options([*places, *SLOW], *options)]


def run_with_fault(
    command: list[str], output: Path, fault: Callable[[subprocess.Popen], None]
) -> tuple[int, str]:
    """Strikes in the middle of the training; returns the exit code and the messages."""
    log = output.with_name("stderr")
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        wait_for(
            lambda: latest_iteration(output) >= FAULT_AT or process.poll() is not None,
            seconds=JOB_SECONDS,
        )
        assert process.poll() is None, log.read_text()
        assert latest_iteration(output) < ITERATIONS, "the fault came too late"
        fault(process)
        process.wait(JOB_SECONDS)
    finally:
        process.kill()
        process.wait()
        print(log.read_text())
    return process.returncode, log.read_text()
