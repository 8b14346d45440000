"""A full cache admits nothing more, and throws out only what is to make room."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis
from hypothesis import strategies as st

from pipeline.passes.cache import BlockCache

ONE, TWO = "one training", "another"


def filled(sizes, limit) -> tuple[BlockCache, list[int]]:
    cache, kept = BlockCache(), []
    for key, size in enumerate(sizes):
        if cache.reserve(ONE, key, size, limit):
            cache.put(ONE, key, f"block {key}")
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
        assert cache.get(ONE, key) == (f"block {key}" if key in kept else None)


def test_a_full_cache_keeps_what_is_in():
    cache, _ = filled([60, 30], 100)
    for _ in range(3):
        assert not cache.reserve(ONE, "late", 20, 100)
        cache.put(ONE, "late", "without room")
        assert cache.get(ONE, "late") is None
        assert cache.get(ONE, 0) == "block 0"
        assert cache.get(ONE, 1) == "block 1"


def test_no_room_at_all():
    assert filled([1, 2, 3], 0)[1] == []


def test_room_that_was_reserved_is_reserved_once():
    cache, _ = filled([60], 100)
    assert cache.reserve(ONE, 0, 60, 100)
    assert cache.reserve(ONE, "other", 40, 100)


def test_more_room_for_a_block_is_the_rest_of_it():
    cache, _ = filled([60], 100)
    assert cache.reserve(ONE, 0, 90, 100)
    assert not cache.reserve(ONE, "other", 20, 100)
    assert not cache.reserve(ONE, 0, 101, 100)
    assert cache.reserve(ONE, "other", 10, 100)


def test_what_is_reserved_is_not_in_before_it_is_put():
    cache = BlockCache()
    assert cache.reserve(ONE, "key", 1, 10)
    assert cache.get(ONE, "key") is None


def test_trainings_at_once_have_blocks_of_their_own():
    cache = BlockCache()
    assert cache.reserve(ONE, "key", 10, 100)
    assert cache.reserve(TWO, "key", 10, 100)
    cache.put(ONE, "key", "of one")
    assert cache.get(TWO, "key") is None
    cache.put(TWO, "key", "of two")
    assert (cache.get(ONE, "key"), cache.get(TWO, "key")) == ("of one", "of two")


def test_a_training_that_is_over_makes_room():
    cache, _ = filled([60], 100)
    assert cache.reserve(TWO, "small", 40, 100)
    assert cache.get(ONE, 0) == "block 0", "there was room for both"
    assert not cache.reserve(TWO, "other", 50, 100), "the first was seen since"
    assert cache.reserve("three", "large", 100, 100)
    assert cache.get(ONE, 0) is None


def test_what_blocks_turn_to_takes_their_place():
    cache, _ = filled([60], 100)
    for _ in range(2):  # the second finds nothing
        cache.turn(ONE, TWO, lambda block: (f"of {block}", 30))
    assert cache.get(ONE, 0) is None
    assert not cache.reserve(TWO, "key", 80, 100)
    assert cache.reserve(TWO, "key", 70, 100)
    assert cache.take(TWO, 0) == "of block 0"
    assert cache.take(TWO, 0) is None


def test_what_is_taken_is_forgotten_and_makes_room():
    cache, _ = filled([60], 100)
    assert cache.take(ONE, 0) == "block 0"
    assert cache.take(ONE, 0) is None
    assert cache.take(ONE, "never there") is None
    assert cache.reserve(ONE, "large", 100, 100)


def test_a_shelf_makes_room_for_another_from_its_end():
    cache, _ = filled([20, 30, 40], 100)
    assert (cache.get(TWO, 1), cache.get(ONE, 1)) == (None, "block 1"), "both are in use"
    assert cache.reserve(TWO, 1, 35, 100, instead_of=ONE)
    assert [cache.get(ONE, key) for key in range(3)] == ["block 0", None, "block 2"], "its own"
    assert cache.reserve(TWO, 5, 30, 100, instead_of=ONE)
    assert [cache.get(ONE, key) for key in range(3)] == ["block 0", None, None]
    assert not cache.reserve(TWO, 6, 36, 100, instead_of=ONE), "all would not be enough"
    assert cache.get(ONE, 0) == "block 0"
    assert not cache.reserve(ONE, 3, 20, 100), "it does not make room for itself"
    assert cache.reserve(TWO, 6, 35, 100, instead_of=ONE)
    assert cache.get(ONE, 0) is None


def test_threads_together_reserve_no_more_than_there_is():
    cache = BlockCache()
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda key: cache.reserve(ONE, key, 10, 1000), range(400)))
    assert sum(granted) == 100
