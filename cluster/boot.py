"""Beam's boot program, the first to run in a worker's container: it installs what the job stages
and starts Python.
"""

from importlib.metadata import version
from pathlib import Path

from cluster import build

MODULE = "github.com/apache/beam/sdks/v2/python/container"


def program() -> Path:
    """Boot at the version of the Beam installed here, built if need be."""
    return build.go_program(f"{MODULE}@v{version('apache-beam')}", "container")
