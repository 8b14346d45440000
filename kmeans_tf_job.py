"""Where the installed commands begin: with the package `pipeline` that lies beside this file.

A user may well have a `pipeline.py`, and it may come first on Python's path.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_FOLDER = Path(__file__).parent / "pipeline"


def command() -> None:
    """`kmeans-tf`: what `python -m pipeline` does."""
    _take_own_package()
    from pipeline.__main__ import command

    command()


def worker_pool() -> None:
    """`kmeans-tf-worker-pool`: what `python -m pipeline.worker_pool` does."""
    _take_own_package()
    from pipeline.worker_pool.__main__ import main

    sys.exit(main())


def _take_own_package() -> None:
    spec = spec_from_file_location("pipeline", _FOLDER / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{_FOLDER} is not there")
    module = sys.modules["pipeline"] = module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    command()
