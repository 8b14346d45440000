"""What a process needs of its surroundings before it loads anything large."""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # the step has threads of its own
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


# TensorFlow then loads without Keras, which is a third of its time and 80 MB.
WITHOUT_KERAS = {"TF_USE_LEGACY_KERAS": "1"}
_FOLDERS_OF_LIBRARIES = ("KERAS_HOME", "MPLCONFIGDIR")  # below the user's home otherwise
_PACKAGE = Path(__file__).parent
_PATH = "PYTHONPATH"
_STARTED = [time.monotonic()]  # this module is the first to be loaded


def prepare(variables: Mapping[str, str] = ENVIRONMENT) -> None:
    """Sets what the user has not set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def seconds_since_start() -> float:
    """Of the command."""
    return time.monotonic() - _STARTED[0]


def steady_seconds() -> float:
    """From some moment on, also while the machine sleeps, whatever its clock is set to."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def start_clock() -> None:
    """A command starts now, in a process that may have run others."""
    _STARTED[0] = time.monotonic()


def prepare_process() -> None:
    """Makes the process and those that it starts independent of where they are started."""
    _open_streams()
    prepare()
    _keep_libraries_at_home()
    _let_children_find_the_package()


def reach_working_folder() -> None:
    """Lets modules of the working folder be found, here and by processes that this one starts."""
    with contextlib.suppress(OSError):  # it may have been deleted
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.append(folder)
        known = os.environ.get(_PATH, "").split(os.pathsep)
        if folder not in known:
            os.environ[_PATH] = os.pathsep.join([*filter(None, known), folder])


def _open_streams() -> None:
    """Opens to nothing what was closed: some file would get its number, and be written into."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _keep_libraries_at_home() -> None:
    """Gives what libraries would write below the user's home a temporary place."""
    unset = [name for name in _FOLDERS_OF_LIBRARIES if name not in os.environ]
    try:
        place = Path(tempfile.gettempdir(), f"kmeans-tf-{uuid.uuid4().hex}")  # made by who needs it
    except OSError:
        place = Path(os.devnull, "no temporary folder")
    for name in unset:
        os.environ[name] = str(place / name.lower())
    if unset:
        atexit.register(shutil.rmtree, place, ignore_errors=True)


def _let_children_find_the_package() -> None:
    """Python looks in the working folder and on its path: a user's `pipeline.py` may be there."""
    try:
        folders = [str(Path.cwd()), *sys.path]
    except OSError:
        folders = sys.path
    found = PathFinder.find_spec(_PACKAGE.name, folders)
    if found is None or found.origin is None or Path(found.origin).parent == _PACKAGE:
        return
    known = os.environ.get(_PATH, "").split(os.pathsep)
    os.environ[_PATH] = os.pathsep.join([str(_PACKAGE.parent), *filter(None, known)])
    os.environ["PYTHONSAFEPATH"] = "1"
    reach_working_folder()
