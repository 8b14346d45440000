import ctypes

import psutil
import pytest

from kmeans_tf.pages import give_back

MB = 1 << 20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc")
def test_what_the_allocator_keeps_is_given_back():
    process = psutil.Process()
    parts = [bytearray(1 << 16) for _ in range(3000)]  # of the heap: larger ones are maps
    kept, full = parts[-1], process.memory_info().rss
    del parts
    give_back()
    assert process.memory_info().rss < full - 100 * MB
    assert len(kept) == 1 << 16
