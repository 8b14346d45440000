"""Tasks run ahead, a bounded number, and come out in their order."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.data.streams import grouped, in_order

SIZES = st.lists(st.integers(1, 9), max_size=30)


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


@hypothesis.given(SIZES, st.integers(1, 20))
def test_results_come_in_order_and_no_more_than_fits_runs_ahead(pool, sizes, limit):
    taken, ahead, last = [], [], []

    def tasks():
        for i, size in enumerate(sizes):
            # This one is not running yet: the others are, or wait.
            ahead.append(sum(sizes[len(taken) : i]))
            yield size, partial(int, i)
        last.append(True)

    for number in in_order(pool, tasks(), limit):
        assert number == len(taken)
        assert last or sum(sizes[number : len(ahead)]) > limit, "there was room for one more"
        taken.append(number)
    assert len(taken) == len(sizes)
    assert all(total <= max(limit, *sizes) for total in ahead)


def test_tasks_run_while_others_do(pool):
    """Each of three waits for the others: one after the other they would wait for ever."""
    together = threading.Barrier(3, timeout=60)
    assert sorted(in_order(pool, [(1, together.wait)] * 3, 3)) == [0, 1, 2]


def test_what_was_not_begun_is_not_done_when_nobody_asks_any_more():
    began, go, done = threading.Event(), threading.Event(), []

    def hold():
        began.set()
        go.wait(60)

    with ThreadPoolExecutor(1) as one:
        results = in_order(one, [(1, int), (1, hold), (1, partial(done.append, 1))], 3)
        next(results)
        began.wait(60)
        results.close()
        go.set()
    assert not done


def test_a_failure_comes_in_its_turn(pool):
    results = in_order(pool, [(1, int), (1, partial(int, "x")), (1, int)], 3)
    assert next(results) == 0
    with pytest.raises(ValueError, match="'x'"):
        next(results)


@hypothesis.given(SIZES, st.integers(1, 20))
def test_groups_are_bounded_or_of_one_and_none_could_take_another(sizes, limit):
    groups = list(grouped(sizes, int, limit))
    assert [size for group in groups for size in group] == sizes
    assert all(sum(group) <= limit or len(group) == 1 for group in groups)
    assert all(sum(a) + b[0] > limit for a, b in itertools.pairwise(groups))
