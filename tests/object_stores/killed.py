"""A command that is killed while it publishes: `python -m tests.object_stores.killed N …`.

In the N-th move it dies between the copy and the delete.
"""

import itertools
import os
import signal
import sys

from pipeline.__main__ import command
from pipeline.data.store import Store

moves = itertools.count(1)
last = int(sys.argv.pop(1))
move = Store.move


def dying(store: Store, source: str, target: str) -> None:
    if next(moves) < last:
        move(store, source, target)
        return
    (system, base), (_, to) = store._locate(source), store._locate(target)
    system.copy_file(base, to)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Store.move = dying
    command()
