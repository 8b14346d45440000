"""When a job counts as standing still, and what is told of it."""

import json

import pytest

from pipeline.data.store import Store
from pipeline.passes.checkpoint import WorkFolder
from pipeline.runners.watchdog import Watchdog, in_words


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def work(tmp_path):
    return WorkFolder(str(tmp_path))


@pytest.fixture
def watchdog(work, clock):
    """One that allows a minute."""
    return started(work, clock)


def started(work, clock, seconds=60.0):
    watchdog = Watchdog(work, "train", seconds, clock)
    clock.seconds += 500  # it takes time to build the pipeline
    watchdog.start()
    return watchdog


def say(work, host, line, tasks=1, last_words=""):
    heard = {"host": host, "pid": 7, "line": line, "tasks": tasks, "last_words": last_words}
    work.store.write(f"{work.workers}/{host}-7", json.dumps(heard).encode())


def test_a_job_that_never_begins(watchdog, clock):
    clock.seconds += 59
    assert watchdog.look() is None
    clock.seconds += 1
    assert watchdog.look() == (
        "train: nothing has moved for 60s, longer than --stall_timeout allows, and the job was "
        "cancelled: no worker was heard"
    )


def test_what_moves_it(watchdog, work, clock):
    for move in (
        lambda: say(work, "node-1", "block 0"),
        lambda: say(work, "node-1", "block 0", tasks=22),
        lambda: say(work, "node-2", "block 1"),
        lambda: work.store.write(work.state(3), b"a checkpoint"),
    ):
        clock.seconds += 50
        move()
        assert watchdog.look() is None
    clock.seconds += 59
    assert watchdog.look() is None
    clock.seconds += 1
    assert watchdog.look() is not None


def test_a_driver_that_stood_still_itself(watchdog, work, clock):
    clock.seconds += 5000
    say(work, "node-1", "block 0")
    assert watchdog.look() is None, "it looks before it complains"


def test_the_latest_worker_is_named_first(watchdog, work, clock):
    say(work, "node-1", "train: block 3 of /data/a.parquet", tasks=41)
    watchdog.look()
    clock.seconds += 30
    say(work, "node-2", "train: block 4 of /data/a.parquet", tasks=40)
    watchdog.look()
    clock.seconds += 60
    assert watchdog.look().endswith(
        ": workers last heard: "
        "node-2 pid 7, 60s ago: train: block 4 of /data/a.parquet (40 tasks done); "
        "node-1 pid 7, 90s ago: train: block 3 of /data/a.parquet (41 tasks done)"
    )


def test_many_workers_are_counted(watchdog, work, clock):
    for i in range(8):
        say(work, f"node-{i}", "block 0")
    watchdog.look()
    clock.seconds += 60
    told = watchdog.look()
    assert told.count(" pid 7, ") == 5
    assert told.endswith("; and 3 more workers")


def test_what_an_attempt_before_has_left_is_of_no_account(work, clock):
    say(work, "node-1", "block 0", last_words="killed")
    watchdog = started(work, clock)
    clock.seconds += 60
    assert watchdog.look().endswith("no worker was heard")
    assert watchdog.last_words() == []


def test_why_a_worker_ended(watchdog, work):
    say(work, "node-1", "block 0")
    say(work, "node-2", "block 1", last_words="its data channel was lost: GOAWAY received")
    assert watchdog.last_words() == ["node-2 pid 7: its data channel was lost: GOAWAY received"]


def test_nought_is_for_ever(work, clock):
    watchdog = started(work, clock, 0.0)
    clock.seconds += 1e9
    assert watchdog.look() is None
    assert watchdog.look_seconds is None


def test_a_store_that_fails_is_for_the_job_to_tell(work, clock):
    class Failing(Store):
        broken = False

        def files(self, folder, recursive=False):
            if Failing.broken:
                raise OSError(5, "Input/output error")
            return super().files(folder, recursive)

    watchdog = started(WorkFolder(work.path, Failing()), clock)
    Failing.broken = True
    clock.seconds += 59
    assert watchdog.look() is None


@pytest.mark.parametrize(("seconds", "look"), [(600.0, 10.0), (30.0, 3.0), (1.0, 0.1)])
def test_it_looks_often_enough(work, seconds, look):
    assert Watchdog(work, "scan", seconds).look_seconds == look


@pytest.mark.parametrize(("seconds", "told"), [(90, "90s"), (600, "10m"), (9000, "2h")])
def test_a_duration_in_words(seconds, told):
    assert in_words(seconds) == told
