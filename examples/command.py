"""Runs the job's own command line the way a user would."""

import shlex
import subprocess
import sys
from pathlib import Path


def run(*words: str) -> None:
    """Prints a command of the job and runs it, its output live.

    Raises:
        SystemExit: the command failed; the exit code is the command's.
    """
    arguments = ["-m", "pipeline", *words]
    print(f"$ {shlex.join([_shown(sys.executable), *arguments])}", flush=True)
    code = subprocess.run([sys.executable, *arguments], check=False).returncode
    if code:
        raise SystemExit(code)


def _shown(path: str) -> str:
    """The path as one would type it here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
