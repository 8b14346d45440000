"""What a worker says of itself, and how seldom."""

import json
import os
import pickle
import socket
from types import SimpleNamespace

import pytest

from pipeline.data.blocks import BlockRef, Span
from pipeline.data.store import FileVersion, Store
from pipeline.passes import heartbeat as module
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.heartbeat import BEAT_SECONDS, Heard, Heartbeat, read_heard, say_last_words

BLOCK = BlockRef(3, (Span(FileVersion("/data/a.parquet", 1, 0), 0, 0, 10),))


class CountingStore(Store):
    written = 0

    def write(self, path, data):
        CountingStore.written += 1
        super().write(path, data)


@pytest.fixture
def clock(monkeypatch):
    """A process that has said nothing yet, and its time."""
    clock = SimpleNamespace(seconds=50.0)
    clock.monotonic = lambda: clock.seconds
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "_PROCESS", module._Process())
    monkeypatch.setattr(CountingStore, "written", 0)
    return clock


@pytest.fixture
def work(tmp_path):
    return WorkFolder(str(tmp_path), CountingStore())


@pytest.fixture
def beating(clock, work):
    return Heartbeat("train", work)


def heard(work):
    (file,) = work.store.files(work.workers)
    return read_heard(work, file.path)


def test_the_first_block_is_said_at_once(beating, work):
    beating.began(BLOCK)
    line = "train: block 3 of /data/a.parquet"
    assert heard(work) == Heard(socket.gethostname(), os.getpid(), line, 0, stage="train")


def test_a_process_says_something_now_and_then(beating, work, clock):
    for _ in range(100):
        beating.began(BLOCK)
        beating.did_a_task()
    assert CountingStore.written == 1
    clock.seconds += BEAT_SECONDS
    beating.did_a_task()
    assert CountingStore.written == 2
    assert heard(work).tasks == 101


def test_it_says_nothing_that_it_has_not_done(beating, work, clock):
    beating.began(BLOCK)
    clock.seconds += 10 * BEAT_SECONDS
    assert CountingStore.written == 1


def test_rows_are_counted_by_stage(beating, work, clock):
    for heartbeat, blocks in ((beating, 3), (Heartbeat("label", work), 2)):
        for _ in range(blocks):
            heartbeat.began(BLOCK)
            heartbeat.read(BLOCK)
        clock.seconds += BEAT_SECONDS
        heartbeat.did_a_task()
        assert (heard(work).stage, heard(work).rows) == (heartbeat.stage, blocks * BLOCK.rows)


def test_jobs_in_one_process_speak_for_themselves(beating, work, clock, tmp_path):
    other = Heartbeat("scan", WorkFolder(str(tmp_path / "other")))
    for _ in range(3):
        beating.did_a_task()
        other.did_a_task()
    assert CountingStore.written == 1
    assert heard(other.work).line == "scan"


def test_a_round_goes_on_where_the_last_one_was(beating, work):
    beating.began(BLOCK)
    pickle.loads(pickle.dumps(beating)).began(BLOCK)
    assert CountingStore.written == 1


def test_a_file_that_cannot_be_written_ends_no_job(clock, tmp_path):
    (tmp_path / "workers").write_text("in the way of the folder")
    Heartbeat("train", WorkFolder(str(tmp_path))).began(BLOCK)
    assert (tmp_path / "workers").read_text() == "in the way of the folder"


def test_last_words(beating, work):
    beating.began(BLOCK)
    say_last_words("its data channel was lost")
    assert heard(work).last_words == "its data channel was lost"
    assert heard(work).line.startswith("train: block 3")


def test_last_words_after_a_job_is_over_leave_nothing_behind(beating, work):
    beating.began(BLOCK)
    work.store.delete(work.workers)
    say_last_words("its data channel was lost")
    assert not work.store.is_folder(work.workers)


def test_last_words_of_a_process_that_did_nothing(clock):
    say_last_words("its data channel was lost")


def test_another_program_can_read_it(beating, work):
    beating.began(BLOCK)
    (file,) = work.store.files(work.workers)
    assert json.loads(work.store.read(file.path))["pid"] == os.getpid()
