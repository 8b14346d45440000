"""Libraries as the job's processes load them: what they make stays, and is no garbage."""

import contextlib
import gc
from collections.abc import Iterator


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
        gc.collect()  # what others have left meanwhile, or it would stay too
        gc.freeze()
        if was_on:
            gc.enable()
