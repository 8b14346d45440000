"""What native libraries write as they load, kept from the terminal unless they fail."""

import atexit
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_STDERR = 2  # the file descriptor
_KEEPER_SECONDS = 2
_NOBODY = nullcontext()
_ALL_IS_WELL = b"\0loaded\0"
# A process started meanwhile has the pipe too: what it writes afterwards goes through.
_KEEP = f"""
import os
kept, well = b"", False
while data := os.read(0, 65536):
    kept += data
    if not well and {_ALL_IS_WELL!r} in kept:
        well, kept = True, kept.partition({_ALL_IS_WELL!r})[2]
    if well:
        os.write(2, kept)
        kept = b""
os.write(2, kept)
"""


@contextlib.contextmanager
def native_notices_hidden(
    saying: AbstractContextManager[Any] = _NOBODY,
) -> Iterator[None]:
    """Keeps from the terminal what TensorFlow's libraries write as they load, unless they fail.

    They write to the file descriptor, and where they fail they may abort the process: so another
    process holds what they wrote, and lets it out unless it hears that all is well. Whoever has a
    line for the user meanwhile, in another thread, reaches the terminal by another descriptor. A
    process that ends in order meanwhile has loaded for nobody, and what was written is no matter.

    Args:
        saying: the lock under which others write lines, if they do.
    """
    terminal = os.dup(_STDERR)  # stays open: a thread may be about to write there
    try:
        keeper = _Keeper()
    except OSError:  # no process may be started: better notices than no job
        yield
        return
    with _stderr_on(terminal, saying):
        os.dup2(keeper.pipe, _STDERR)
        atexit.register(keeper.hear_that_all_is_well)
        try:
            yield
            keeper.hear_that_all_is_well()
        finally:
            atexit.unregister(keeper.hear_that_all_is_well)
            os.dup2(terminal, _STDERR)
            keeper.close()


class _Keeper:
    """A process that keeps what is written into a pipe."""

    def __init__(self) -> None:
        reader, self.pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", _KEEP],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(reader)

    def hear_that_all_is_well(self) -> None:
        """Lets what was written be forgotten."""
        with contextlib.suppress(OSError):  # it is gone, and nothing is held any more
            os.write(self.pipe, _ALL_IS_WELL)

    def close(self) -> None:
        """Closes the pipe; what is to be let out is, unless another process holds it open."""
        os.close(self.pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KEEPER_SECONDS)


@contextlib.contextmanager
def _stderr_on(terminal: int, saying: AbstractContextManager[Any]) -> Iterator[None]:
    """Lets `sys.stderr`, if it is the process's own, write to another file descriptor."""
    own = sys.stderr
    if own is sys.__stderr__:
        with saying:
            sys.stderr = os.fdopen(terminal, "w", buffering=1, closefd=False)
    try:
        yield
    finally:
        sys.stderr = own
