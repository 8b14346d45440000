"""What a worker process may fill."""

import psutil
import pytest

from pipeline.passes import cores, memory
from pipeline.passes.memory import memory_limit, memory_share

GB = 1 << 30


@pytest.fixture(autouse=True)
def forgotten():
    memory_share.cache_clear()
    yield
    memory_share.cache_clear()


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """The control groups of a process that is in one of its own."""
    (tmp_path / "own").write_text("0::/night.slice/job\n")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    monkeypatch.setattr(cores, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def test_a_machine_without_limits(groups):
    assert memory_limit() == psutil.virtual_memory().total


@pytest.mark.parametrize(("text", "limited"), [("max\n", False), (f"{GB}\n", True)])
@pytest.mark.parametrize("place", ["", "night.slice", "night.slice/job"])
def test_a_group_says_how_much(groups, place, text, limited):
    (groups / place).mkdir(parents=True, exist_ok=True)
    (groups / place / "memory.max").write_text(text)
    assert memory_limit() == (GB if limited else psutil.virtual_memory().total)


def test_a_group_of_the_first_version_says_how_much(groups):
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.limit_in_bytes").write_text(f"{GB}\n")
    assert memory_limit() == GB


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
