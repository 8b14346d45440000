"""Timing whole processes."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Finished:
    """What a process took: wall seconds, peak memory in bytes, and what it printed."""

    seconds: float
    peak: int
    output: str

    @property
    def json(self) -> dict:
        return json.loads(self.output)


def run_module(
    module: str, *arguments: object, quiet: bool = True, folder: Path = Path()
) -> Finished:
    """Runs `python -m module …` in a folder and waits.

    Raises:
        RuntimeError: it failed.
    """
    return run([sys.executable, "-m", module, *map(str, arguments)], quiet=quiet, folder=folder)


def run(
    command: Sequence[str],
    *,
    quiet: bool = True,
    folder: Path = Path(),
    variables: Mapping[str, str] | None = None,
) -> Finished:
    """Runs a command in a folder, with some variables in its environment, and waits.

    Raises:
        RuntimeError: it failed.
    """
    errors = subprocess.DEVNULL if quiet else None
    # What pip installs has its bytecode; without, Python compiles this checkout every time.
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    paths = [str(folder.absolute()), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths)} | dict(variables or {})
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder
    ) as process:
        assert process.stdout is not None  # it is a pipe
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Finished(time.perf_counter() - start, usage.ru_maxrss * 1024, output)


def machine() -> str:
    """One line about where the figures come from."""
    return f"{_cpu_model()}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}"


def _cpu_model() -> str:
    """The processor's model where Linux names it, else whatever Python knows of it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def held(ratio: float, *, least: float | None = None, most: float | None = None) -> str:
    """A ratio beside the bar that it is held to, if there is one."""
    bars = [bar for bar in (least, most) if bar is not None]
    near = any(abs(ratio - bar) < 0.005 for bar in bars)
    told = f"{ratio:.3f}" if near else f"{ratio:.2f}"
    if not bars:
        return told
    met = (least is None or ratio >= least) and (most is None or ratio <= most)
    return f"{told} (bar {' to '.join(f'{bar:g}' for bar in bars)}: {'met' if met else 'missed'})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
