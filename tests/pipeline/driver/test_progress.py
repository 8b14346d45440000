"""Progress: plain lines where nobody watches, a live bar on a terminal."""

import contextlib
import io
import json
import os
import re
import threading
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from kmeans_tf import TrainingState, Trial
from pipeline.console import log_json
from pipeline.data.store import Store
from pipeline.driver import progress
from pipeline.driver.progress import iterations_left, stage_progress, training_progress
from pipeline.errors import RunError
from pipeline.passes.checkpoint import WorkFolder, save_state
from pipeline.passes.heartbeat import Heard
from tests.waiting import wait_for


@pytest.fixture
def work(tmp_path):
    return WorkFolder(str(tmp_path))


def train(work, costs):
    for i in range(len(costs) + 1):
        trial = Trial(np.zeros((2, 2)), np.arange(2, dtype=np.int32), costs=tuple(costs[:i]))
        save_state(work, TrainingState((trial,), i))


def lines(work, costs, before=0):
    train(work, costs[:before])
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), training_progress(work, 10, 1000):
        train(work, costs)
    return stderr.getvalue().splitlines()


def test_a_plain_line_at_the_end(work):
    (line,) = lines(work, [200.0, 100.0, 99.0])
    assert line.startswith("iteration 3/10  cost 99  change -1.00e-02")
    assert "\x1b" not in line


def test_a_line_of_json_for_schedulers(work):
    log_json(True)
    try:
        (line,) = lines(work, [200.0, 100.0, 99.0])
    finally:
        log_json(False)
    told = json.loads(line)
    assert (told["stage"], told["iteration"], told["cost"]) == ("train", 3, 99.0)
    assert told["message"].startswith("iteration 3/10")


def test_of_several_trials_the_last_that_runs_is_followed(work):
    def trial(k, costs, status):
        places, labels = np.zeros((k, 2)), np.arange(k, dtype=np.int32)
        return Trial(places, labels, costs=costs, status=status)

    over, runs = trial(2, (9.0, 9.0), "converged"), trial(3, (8.0, 4.0, 2.0), "running")
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), training_progress(work, 10, 1000):
        save_state(work, TrainingState((over, runs, over), 3))
    line = stderr.getvalue()
    assert line.startswith("iteration 3/10  1 of 3 trials run  k = 3:  cost 2  change -5.00e-01")


def test_a_cost_that_is_no_number_of_json_is_left_out(work):
    log_json(True)
    try:
        (line,) = lines(work, [np.inf])
    finally:
        log_json(False)
    assert "cost" not in json.loads(line, parse_constant=pytest.fail)


def test_lines_now_and_then(work, monkeypatch):
    monkeypatch.setattr("pipeline.driver.progress.LINE_SECONDS", 0.0)
    monkeypatch.setattr("pipeline.driver.progress._POLL_SECONDS", 0.001)
    stderr = Stderr()
    with contextlib.redirect_stderr(stderr), training_progress(work, 10, 1000):
        train(work, [200.0])
        assert stderr.written.wait(20), "while the training runs"
    assert stderr.getvalue().startswith("iteration 1/10  cost 200")


@pytest.mark.parametrize(
    ("costs", "left"),
    [
        ([100.0], None),
        ([100.0, 90.0], None),
        ([100.0, 100.0], 0),
        ([111.0, 101.0, 100.0], 1),  # changes of 9.9 % and 1 %: the next is of 0.1 %
        ([100.0, 99.0, 90.0], None),  # they grow
    ],
)
def test_the_end_is_foretold_by_the_changes(costs, left):
    assert iterations_left(costs, 2e-3) == left


def test_what_was_there_before_is_not_told_again(work):
    said = lines(work, [200.0, 100.0, 99.0], before=3)
    assert said == []


class CoarseStore(Store):
    """All happens in one second, and its times are whole ones."""

    def files(self, folder, recursive=False):
        return [replace(file, modified=10**18) for file in super().files(folder, recursive)]


def test_checkpoints_of_the_same_second_are_told_without_a_rate(work):
    said = lines(replace(work, store=CoarseStore()), [200.0, 100.0, 99.0], before=1)
    assert said == ["iteration 3/10  cost 99  change -1.00e-02"]


def test_the_rate_leaves_out_the_first_iteration(work):
    """Which took a minute, with the start in it; the others took a second."""
    log_json(True)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), training_progress(work, 10, 1000):
            train(work, [200.0, 150.0, 120.0])
            for iteration, second in enumerate((0, 60, 61, 62)):
                os.utime(work.state(iteration), (second, second))
    finally:
        log_json(False)
    told = json.loads(stderr.getvalue())
    assert told["rows_per_second"] == 1000
    # The changes, of a third and a quarter of the cost, hardly shrink: all ten are expected.
    assert told["seconds_left"] == 7.0


def test_after_one_iteration_nothing_is_told_of_time(work):
    (line,) = lines(work, [200.0])
    assert line == "iteration 1/10  cost 200"


def test_a_pass_tells_how_far_its_workers_are(work, monkeypatch):
    """Two workers, of which one was heard in the stage before."""
    clock = SimpleNamespace(seconds=50.0)
    clock.monotonic = lambda: clock.seconds
    monkeypatch.setattr(progress, "time", clock)

    def say(worker, stage, rows):
        heard = Heard("host", worker, stage, 1, stage=stage, rows=rows)
        work.store.write(f"{work.workers}/host-{worker}", json.dumps(asdict(heard)).encode())

    say(1, "scan", 1000)
    looks, told = progress._Pass("label", work, 1000), []
    for seconds, first, second in ((10, 100, 0), (1, 100, 200), (1, 100, 500), (1, 400, 600)):
        clock.seconds += seconds
        say(1, "label", first)
        say(2, "label", second)
        looks.report(lambda *words, **facts: told.append((*words, facts)))
    texts = [text for text, *_ in told]
    assert texts == [
        "label: 10 s so far",
        "label: 11 s so far",  # the first ten seconds had a start in them
        "label: 600 of 1,000 rows  300 rows/s  about 1 s left",
        "label: 13 s so far",
    ]
    _, done, total, facts = told[2]
    assert (done, total, facts["rows_per_second"], facts["seconds_left"]) == (600, 1000, 300, 1.3)


def test_a_stage_without_rows_tells_its_seconds(monkeypatch):
    monkeypatch.setattr("pipeline.driver.progress._POLL_SECONDS", 0.001)
    monkeypatch.setattr("pipeline.driver.progress.LINE_SECONDS", 0.0)
    stderr = Stderr()
    with contextlib.redirect_stderr(stderr), stage_progress("seed"):
        assert stderr.written.wait(20)
    assert stderr.getvalue().startswith("seed: 0 s so far\n")


def test_a_cost_of_nothing_divides_nothing(work):
    assert "change +0.00e+00" in lines(work, [0.0, 0.0])[0]


def test_it_ends_where_the_training_fails(work):
    threads = threading.active_count()

    def fail():
        with training_progress(work, 10, 1000):
            raise ValueError("on the way")

    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(ValueError, match="on the way"):
        fail()
    assert threading.active_count() == threads


FAULTS = [OSError(5, "Input/output error"), RunError("checkpoint cannot be read")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_store_that_fails_does_not_hide_why_the_training_failed(work, monkeypatch, fault):
    def fail(*args):
        raise fault

    def train_and_fail():
        with training_progress(work, 10, 1000):
            train(work, [200.0])
            monkeypatch.setattr(Store, "read", fail)
            raise ValueError("on the way")

    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(ValueError, match="on the way"):
        train_and_fail()


class Stderr(io.StringIO):
    """Tells that something was written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        self.written.set()
        return super().write(text)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_checkpoint_that_cannot_be_read_is_looked_at_again(work, fault):
    faults = [fault]

    class FailingOnce(Store):
        def read(self, path):
            if faults:
                raise faults.pop()
            return super().read(path)

    failing = replace(work, store=FailingOnce())
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), training_progress(failing, 10, 1000):
        train(work, [200.0])
        wait_for(lambda: not faults)
    assert stderr.getvalue() == "iteration 1/10  cost 200\n"


def test_a_live_bar_on_a_terminal(work, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    driver, terminal = os.openpty()
    with (
        os.fdopen(terminal, "w") as stderr,
        contextlib.redirect_stderr(stderr),
        training_progress(work, 10, 1000),
    ):
        train(work, [200.0, 100.0, 99.0])
    shown = _all_of(driver)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert plain != shown, "it moves the cursor"
    assert "━" in plain
    assert "3/10" in plain
    assert "cost 99  change -1.00e-02" in plain


def _all_of(driver: int) -> str:
    """What a terminal that is now closed was sent: the kernel hands it over piece by piece."""
    pieces = []
    with contextlib.suppress(OSError):  # the end, as Linux tells it
        while piece := os.read(driver, 1 << 16):
            pieces.append(piece)
    os.close(driver)
    return b"".join(pieces).decode()


def test_a_clock_that_is_set_back_gives_no_negative_seconds(
    fit, three_blobs, tmp_path, monkeypatch
):
    """Every checkpoint is an hour older than the one before."""

    def save_in_the_past(work, state):
        checkpoint = save_state(work, state)
        now = time.time_ns()
        os.utime(work.state(state.iteration), ns=(now, now - state.iteration * 3600 * 10**9))
        return checkpoint

    monkeypatch.setattr("pipeline.passes.train.save_state", save_in_the_past)
    options = ("--features=f0,f1", "--k=3", "--max_iterations=3", "--tolerance=0")
    options += ("--optimizer=sgd", "--learning_rate=1e-5")
    answer = fit(three_blobs.folder, tmp_path / "out", *options, "--iterations_per_job=2")
    seconds = answer.run.seconds["iterations"]
    assert len(seconds) == len(answer.history) > 1
    assert min(seconds) >= 0.0
