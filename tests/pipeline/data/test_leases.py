"""Folders held where there are no locks, tried on a disk, of which only files are asked."""

import contextlib
import os
import threading
import time

import pytest
from pyarrow import fs

from pipeline.data import leases
from pipeline.data.leases import leased
from pipeline.data.locks import HeldError

disk = fs.LocalFileSystem()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "held")


def aged(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_another_is_told_who_holds_it(path, tmp_path):
    with leased(disk, path, "the first") as is_held:
        with pytest.raises(
            HeldError, match=r"^the first; if it was killed, its hold ends in \d+ s"
        ):
            leased(disk, path, "the second").__enter__()
        assert is_held()
        assert len([*tmp_path.iterdir()]) == 1
    assert not [*tmp_path.iterdir()]
    with leased(disk, path, "the second"):
        pass


def test_of_many_at_once_no_two_hold_it(path):
    held = [0] * 20
    together = threading.Barrier(8, timeout=60)

    def work():
        for turn in range(len(held)):
            together.wait()
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(leased(disk, path, "me"))
                    held[turn] += 1
                except HeldError:
                    pass
                together.wait()  # until all have tried

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(held) <= 1  # of those that come at the same moment all may give way


@pytest.mark.parametrize("name", ["held-elsewhere-1-2", "held-of-no-holder", "held-x"])
def test_one_that_was_long_not_written_is_a_dead_holders(path, tmp_path, name):
    (tmp_path / "helde").write_text("something else")
    (tmp_path / name).write_text("another")
    aged(tmp_path / name, leases.DEAD_SECONDS - 10)
    with pytest.raises(HeldError, match=r"^another; .* ends in (9|10) s$"):
        leased(disk, path, "me").__enter__()
    aged(tmp_path / name, leases.DEAD_SECONDS + 1)
    with leased(disk, path, "me"):
        assert not (tmp_path / name).exists()


def test_one_of_a_process_that_is_gone_is_a_dead_holders(path, tmp_path, monkeypatch):
    def kill(pid, signal):
        assert signal == 0
        if pid == 71:
            raise ProcessLookupError
        raise PermissionError

    monkeypatch.setattr(leases.os, "kill", kill)
    (tmp_path / f"held-{leases._machine()}-71-a").write_text("gone")
    with leased(disk, path, "me"):
        assert len([*tmp_path.iterdir()]) == 1
    (tmp_path / f"held-{leases._machine()}-72-a").write_text("another user's")
    with pytest.raises(HeldError, match=r"^another user's"):
        leased(disk, path, "me").__enter__()


def renewed(mine, before):
    while mine.exists() and mine.stat().st_mtime_ns == before:
        assert threading.main_thread().is_alive()
    return mine.exists()


def test_one_that_is_gone_is_not_held(path, tmp_path, monkeypatch):
    with leased(disk, path, "me") as is_held:
        assert is_held()
        for mine in tmp_path.iterdir():
            mine.unlink()
        assert not is_held()
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    leases._Lease(disk, path, "me").keep(
        threading.Event()
    )  # returns, for there is nothing to renew
    assert not [*tmp_path.iterdir()]


def test_it_is_renewed(path, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    with leased(disk, path, "me") as is_held:
        (mine,) = tmp_path.iterdir()
        aged(mine, leases.DEAD_SECONDS * 2)
        assert renewed(mine, mine.stat().st_mtime_ns)
        assert is_held()
    assert not [*tmp_path.iterdir()]


class Slow:
    """A store of which a write takes so many seconds by the clock, or fails."""

    def __init__(self, monkeypatch):
        self.clock, self.seconds, self.fails = 1000.0, 0.0, False
        monkeypatch.setattr(leases.environment, "steady_seconds", lambda: self.clock)

    def open_output_stream(self, *args, **named):
        self.clock += self.seconds
        if self.fails:
            raise OSError(5, "Input/output error")
        return disk.open_output_stream(*args, **named)

    def __getattr__(self, name):
        return getattr(disk, name)


@pytest.mark.parametrize(
    ("asleep", "writing", "gives_way"),
    [(0, 0, False), (20, 0, False), (61, 0, True), (0, 61, True), (31, 0, True), (20, 20, True)],
)
def test_a_holder_that_comes_late_gives_way(
    path, tmp_path, monkeypatch, asleep, writing, gives_way
):
    store = Slow(monkeypatch)
    lease = leases._Lease(store, path, "late")
    lease.take()
    (tmp_path / "held-elsewhere-1-2").write_text("another, who took it for dead")
    store.clock += asleep
    store.seconds = writing
    assert lease._renew() != gives_way
    assert lease.is_there() != gives_way


def test_a_holder_whose_renewals_fail_is_late_when_one_succeeds(path, tmp_path, monkeypatch):
    store = Slow(monkeypatch)
    lease = leases._Lease(store, path, "late")
    lease.take()
    store.fails, store.seconds = True, 10
    for _ in range(6):
        with pytest.raises(OSError, match="Input/output"):
            lease._renew()
    (tmp_path / "held-elsewhere-1-2").write_text("another, who took it for dead")
    store.fails, store.seconds = False, 0
    assert not lease._renew()
