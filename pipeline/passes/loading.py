"""Libraries as the job's processes load them: what they make stays, and is no garbage."""

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder

# What Beam, TensorFlow and pyarrow load where it is installed, for those who hand it to them.
UNUSED = ("h5py", "pandas", "pymongo")


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Looks for no garbage meanwhile, and never again among what is there by then.

    A library makes a hundred thousand objects and more, and to go through them again and again
    took a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if threading.active_count() > 1:
            gc.collect()  # what others have left meanwhile, or it would stay too
        gc.freeze()
        if was_on:
            gc.enable()


@contextlib.contextmanager
def without(packages: tuple[str, ...] = UNUSED) -> Iterator[None]:
    """What this thread loads meanwhile is told that these are not installed, if none did yet."""
    refusal = _Refusal(packages)
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)


class _Refusal(MetaPathFinder):
    def __init__(self, packages: tuple[str, ...]):
        self._packages, self._thread = packages, threading.current_thread()

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._packages and threading.current_thread() is self._thread:
            raise ModuleNotFoundError(f"{name} is not for this", name=name)
