"""Streams of work: run ahead on threads in order, and grouped by size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

_Item = TypeVar("_Item")


def in_order(
    pool: Executor, tasks: Iterable[tuple[int, Callable[[], _Item]]], limit: int
) -> Iterator[_Item]:
    """The results of (size, task) in the order of the tasks, which run ahead on a pool's threads.

    What runs or waits to be taken is of at most `limit` in size together, or one task. A task is
    taken from `tasks` before there is room for it.
    """
    waiting: deque[tuple[int, Future]] = deque()
    ahead = 0
    try:
        for size, task in tasks:
            while waiting and ahead + size > limit:
                taken, future = waiting.popleft()
                ahead -= taken
                yield future.result()
            waiting.append((size, pool.submit(task)))
            ahead += size
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()


def grouped(
    items: Iterable[_Item], size: Callable[[_Item], int], limit: int
) -> Iterator[list[_Item]]:
    """Consecutive items, as many as are of at most `limit` in size together, or one."""
    group: list[_Item] = []
    total = 0
    for item in items:
        added = size(item)
        if group and total + added > limit:
            yield group
            group, total = [], 0
        group.append(item)
        total += added
    if group:
        yield group
