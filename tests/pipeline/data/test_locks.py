"""Files that one process at a time holds."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.data.locks import HeldError, locked


def hold(path, ready):
    with locked(path, "the first"):
        ready.set()
        signal.pause()


def test_who_holds_it_is_told_and_a_dead_one_lets_go(tmp_path):
    path = tmp_path / "new" / "held"
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=hold, args=(path, ready))
    process.start()
    try:
        assert ready.wait(60)
        for _ in range(2):
            with pytest.raises(HeldError, match=r"^the first$"), locked(path, "the second"):
                pass
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert path.read_text() == "the first", "the premise: nobody tidied up"
        with locked(path, "me"):
            assert path.read_text() == "me"
    finally:
        process.kill()
    assert not path.exists()


def test_one_who_has_not_said_yet_who_it_is(tmp_path):
    path = tmp_path / "held"
    with locked(path, ""), pytest.raises(HeldError, match="just begun"), locked(path, "me"):
        pass


def test_nobody_holds_a_file_that_was_deleted(tmp_path):
    path = tmp_path / "held"
    with locked(path, "me") as is_held:
        assert is_held()
        path.unlink()
        assert not is_held()
        with locked(path, "another") as is_anothers:
            assert is_anothers()
            assert not is_held()
    assert not path.exists()


def test_what_another_holds_since_is_not_deleted(tmp_path):
    path = tmp_path / "held"
    with locked(path, "me"):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_one_of_many_at_once_has_it(tmp_path):
    count = 8
    at_once, all_tried = threading.Barrier(count), threading.Barrier(count)

    def attempt(number):
        at_once.wait(60)
        try:
            with locked(tmp_path / "held", f"{number}"):
                all_tried.wait(60)
                return True
        except HeldError:
            all_tried.wait(60)
            return False

    with ThreadPoolExecutor(count) as pool:
        assert sum(pool.map(attempt, range(count))) == 1
