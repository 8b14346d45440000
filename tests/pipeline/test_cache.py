"""A full cache admits nothing more and throws nothing out."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis
from hypothesis import strategies as st

from pipeline.cache import BlockCache


def filled(sizes, limit) -> tuple[BlockCache, list[int]]:
    cache, kept = BlockCache(), []
    cache.use("one")
    for key, size in enumerate(sizes):
        if cache.reserve(key, size, limit):
            cache.put(key, f"block {key}")
            kept.append(key)
    return cache, kept


@hypothesis.given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 200))
def test_it_holds_what_fits_in_the_order_it_came(sizes, limit):
    cache, kept = filled(sizes, limit)
    room, expected = limit, []
    for key, size in enumerate(sizes):
        if size <= room:
            room -= size
            expected.append(key)
    assert kept == expected
    for key in range(len(sizes)):
        assert cache.get(key) == (f"block {key}" if key in kept else None)


def test_a_full_cache_keeps_what_is_in():
    cache, _ = filled([60, 30], 100)
    for _ in range(3):
        assert not cache.reserve("late", 20, 100)
        cache.put("late", "without room")
        assert cache.get("late") is None
        assert cache.get(0) == "block 0"
        assert cache.get(1) == "block 1"


def test_no_room_at_all():
    assert filled([1, 2, 3], 0)[1] == []


def test_room_that_was_reserved_is_reserved_once():
    cache, _ = filled([60], 100)
    assert cache.reserve(0, 60, 100)
    assert cache.reserve("other", 40, 100)


def test_what_is_reserved_is_not_in_before_it_is_put():
    cache = BlockCache()
    cache.use("one")
    assert cache.reserve("key", 1, 10)
    assert cache.get("key") is None


def test_another_configuration_starts_empty():
    cache, _ = filled([60], 100)
    cache.use("one")
    assert cache.get(0) == "block 0"
    cache.use("two")
    assert cache.get(0) is None
    assert cache.reserve("other", 100, 100)


def test_threads_together_reserve_no_more_than_there_is():
    cache = BlockCache()
    cache.use("one")
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda key: cache.reserve(key, 10, 1000), range(400)))
    assert sum(granted) == 100
