"""Archives are read by several threads at once."""

import gc
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kmeans_tf.stats import ClusterStats
from pipeline.passes.archive import pack, unpack

PATH = "configuration/sums/file"


def _give_way(*_: object) -> None:
    time.sleep(0)


@pytest.fixture
def other_threads_run_while_python_parses():
    """As they may whenever it collects garbage, and what is collected has a say."""
    thresholds, seconds = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(_give_way)
    gc.set_threshold(20)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(seconds)
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(_give_way)


def test_threads_read_archives_at_once(other_threads_run_while_python_parses):
    data = pack(ClusterStats.zero(3, 1, 2), PATH)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: unpack(data, [ClusterStats], PATH), range(200)))
    assert all(np.array_equal(one.sums, np.zeros_like(one.sums)) for one in read)
