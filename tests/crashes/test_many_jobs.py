"""Many jobs in one process: what it holds does not grow."""

import gc
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

JOBS, WARM = 200, 60
MORE_BYTES = 48 << 20  # of memory that the allocators of a dozen threads may lay by meanwhile


def held() -> dict[str, int]:
    """What the process holds."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    children = subprocess.run(["ps", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {
        "bytes": int(resident.split()[1]) << 10,
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "processes": len(children.stdout.splitlines()),
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_two_hundred_jobs_leave_nothing_behind(run, three_blobs, tmp_path):
    model, output = tmp_path / "model", tmp_path / "out"
    place = f"--input={three_blobs.folder}"
    options = ("--features=f0,f1", "--keys=id", "--k=3", "--max_iterations=2")
    assert run("fit", place, f"--output={model}", *options).code == 0
    kinds = [
        (0, ("fit", place, *options)),
        (0, ("label", place, "--keys=id", f"--model={model}")),
        (0, ("fit", place, *options, "--check")),
        (3, ("fit", f"--input={tmp_path / 'none'}", *options)),
        (3, ("fit", place, "--features=id,f0", "--k=5000")),
    ]
    before = None
    for number in range(JOBS):
        code, (command, *args) = kinds[number % len(kinds)]
        ran = run(command, *args, f"--output={output}")
        assert ran.code == code, ran.stderr
        shutil.rmtree(output, ignore_errors=True)
        if number == WARM:
            before = held()
    after = held()
    for name in ("files", "threads", "processes"):
        assert after[name] <= before[name], (before, after)
    assert after["bytes"] <= before["bytes"] + MORE_BYTES, (before, after)
    assert not list(tmp_path.glob("out*"))
