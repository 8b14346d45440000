"""What a worker process may fill."""

import psutil
import pytest

from pipeline.passes import memory
from pipeline.passes.memory import memory_limit, memory_share

GB = 1 << 30


@pytest.fixture(autouse=True)
def forgotten():
    memory_share.cache_clear()
    yield
    memory_share.cache_clear()


def test_a_machine_without_containers(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (tmp_path / "none",))
    assert memory_limit() == psutil.virtual_memory().total


@pytest.mark.parametrize(("text", "limited"), [("max\n", False), (f"{GB}\n", True)])
def test_a_container_says_how_much(monkeypatch, tmp_path, text, limited):
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (tmp_path / "memory.max",))
    assert memory_limit() == (GB if limited else psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("limit", "cores", "threads", "expected"),
    [
        (9 * GB, 2, 2, 4 * GB),
        (10 * GB, 2, 1, 2 * GB),
        (3 * GB, 4, 8, GB),
        (GB, 1, 1, GB // 4),
        (2 * GB, 1, 1, GB // 2),
        (16 * GB, 64, 1, GB // 2),
    ],
    ids=["alone", "one of two", "more threads than cores", "none left", "little", "many cores"],
)
def test_half_of_what_is_left_beyond_a_gigabyte(monkeypatch, limit, cores, threads, expected):
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    monkeypatch.setattr(memory, "cores", lambda: cores)
    assert memory_share(threads) == expected
