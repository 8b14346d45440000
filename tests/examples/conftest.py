"""The examples' commands, run in this process: another would first load TensorFlow anew."""

import subprocess
import types
from collections.abc import Iterator

import pytest

from pipeline.__main__ import main


def run_here(arguments: list[str], check: bool) -> subprocess.CompletedProcess:
    """In the place of `subprocess.run`, for `python -m pipeline …`."""
    _, module_option, module, *words = arguments
    assert (module_option, module, check) == ("-m", "pipeline", False)
    return subprocess.CompletedProcess(arguments, main(words))


@pytest.fixture(scope="module")
def commands_run_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("examples.command.subprocess", types.SimpleNamespace(run=run_here))
        yield
