import gc
import weakref

from pipeline.passes.loading import loading


class Garbage:
    def __init__(self) -> None:
        self.own = self  # a cycle: only the collector finds it


def test_what_became_garbage_meanwhile_does_not_stay():
    """Other threads read tables while a library loads."""
    with loading():
        gone = weakref.ref(Garbage())
        assert gone() is not None
    assert gone() is None
    gc.unfreeze()


def test_what_is_there_by_then_is_not_looked_through_again():
    with loading():
        made = [Garbage() for _ in range(10)]
    assert gc.get_freeze_count() > len(made)
    assert gc.isenabled()
    gc.unfreeze()
