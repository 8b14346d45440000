"""TensorFlow in a process: when it is loaded, and how and where it runs.

Loading it takes seconds, and much comes before: what is wrong with the options or the files, and
what a scan finds out. So all modules have `tf` from here. It is TensorFlow, loaded when something
of it is first asked for, or before that, by a thread that others wait for when they ask.
"""

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_tf.notices import native_notices_hidden

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # what it says of processors and of XLA, line by line


class _TensorFlow:
    """Stands for the module, and has what that has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loader: threading.Thread | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.load(), name)
        setattr(self, name, value)  # found without this method from now on
        return value

    def load(self) -> Any:
        if "tensorflow" not in sys.modules:
            self.load_ahead(_load_quietly)
        if self._loader and self._loader is not threading.current_thread():
            self._loader.join()
        return importlib.import_module("tensorflow")

    def load_ahead(self, load: Callable[[], None]) -> None:
        with self._lock:
            if self._loader is None:
                loader = threading.Thread(target=load, name="load_tensorflow")
                loader.start()
                self._loader = loader


def _load_quietly() -> None:
    """For whoever has made no arrangements: a notebook shows whatever a process writes."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.suppress(ImportError), native_notices_hidden():
        importlib.import_module("tensorflow")


_TENSORFLOW = _TensorFlow()
if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = _TENSORFLOW


def load() -> None:
    """Loads TensorFlow, if nobody did yet."""
    _TENSORFLOW.load()


def processors() -> int:
    """How many processors the process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def on_processor() -> AbstractContextManager[None]:
    """Where costs whose last bits count are computed: a GPU adds up in another order."""
    return tf.device("CPU:0")


def full_precision() -> None:
    """Turns TF32 off: what scores prove rests on float32 products."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


def has_gpu() -> bool:
    """Whether ops run on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def resident(array: np.ndarray) -> "tf.Tensor":
    """An array that never changes again as a tensor where ops run: on a GPU, or in its own memory.

    That begins at a multiple of 64 bytes. `tf.constant` copies twice where a processor runs them.
    """
    shared = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    if not has_gpu():
        return shared
    with tf.device("GPU:0"):
        return tf.identity(shared)


def configure(threads: int) -> None:
    """Lets `threads` Python threads each run their own ops, single-threaded; TF32 is off.

    Two callers with one thread each are twice as fast on a step as one caller with two. It has
    no effect once TensorFlow has run something in this process.
    """
    full_precision()
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def load_ahead(
    threads: int, during: Callable[[], AbstractContextManager[None]] = nullcontext
) -> None:
    """Loads TensorFlow for so many threads, see `configure`, in one of its own; once a process.

    Args:
        threads: that run ops.
        during: what is around it.
    """

    def begin() -> None:
        with contextlib.suppress(ImportError), during():  # who asks for it will hear of that
            configure(threads)

    _TENSORFLOW.load_ahead(begin)
