"""Arrays that are kept for long, in memory that goes back to the system when they are let go.

What an allocator keeps for its next request fits no other: rows that gave way to points of a
slightly larger size doubled a process.
"""

import contextlib
import ctypes
import math
import mmap

import numpy as np


def pages(
    shape: tuple[int, ...], kind: type[np.floating] = np.float32, order: str = "C"
) -> np.ndarray:
    """Zeros in pages of their own, which TensorFlow takes as they are."""
    count = math.prod(shape)
    size = max(1, count * np.dtype(kind).itemsize)
    # Private maps are merged by the system, which has room for some 65,000.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # a system without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)  # to be given small ones took as long as to fill them
    flat = np.frombuffer(memory, kind, count)
    return flat.reshape(shape) if order == "C" else flat.reshape(shape[::-1]).T


def give_back() -> None:
    """Lets the system have what the allocator keeps of freed memory, where that can be asked."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc can
        ctypes.CDLL(None).malloc_trim(0)
