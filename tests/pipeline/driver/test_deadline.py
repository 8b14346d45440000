"""A training that stops in time, by a clock of the test's."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.command_line import moments
from pipeline.command_line.moments import Deadline
from pipeline.command_line.parse import parse
from pipeline.driver.fit import Fit
from pipeline.driver.pace import PUBLISHING_SECONDS, Pace
from pipeline.errors import UsageError
from pipeline.output.publish import Output
from tests.pipeline.answer import Answer, assert_same_answer

FIT = ["fit", "--input=in", "--output=out"]
# So slow a descent that it is not over by itself.
SLOW = (
    *("--features=f0,f1", "--k=3", "--keys=id", "--optimizer=sgd", "--learning_rate=1e-5"),
    *("--tolerance=0", "--max_iterations=18"),
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at 1000 until it is set."""
    hands = [1000.0]
    monkeypatch.setattr(moments, "steady_seconds", lambda: hands[0])
    return hands


@pytest.fixture
def wall(monkeypatch):
    """The wall's, which is another."""
    hands = [0.0]
    monkeypatch.setattr(moments, "now", lambda: hands[0])
    return hands


def test_without_a_deadline_a_round_is_as_long_as_it_may_be(clock):
    assert Pace(None, 1).iterations(20) == 20


@pytest.mark.parametrize("reads", [1, 2])
def test_labels_and_publishing_are_in_time(clock, reads):
    """Iterations of 2 s, with a start of 1 s a round; reads afterwards as slow as the scan."""
    pace = Pace(Deadline.after(100), reads, read_seconds=8.0)
    rounds = []
    while iterations := pace.iterations(20):
        clock[0] += 1 + 2 * iterations
        pace.measured(1 + 2 * iterations, iterations)
        rounds.append(iterations)
    left = 1100 - clock[0] - PUBLISHING_SECONDS
    assert left >= 8 * reads, "the labels"
    assert left <= 1.5 * 8 * reads + 3.01, "and no iteration less than there was time for"
    assert rounds[0] == 1 and max(rounds) > 5
    assert sum(rounds) > 20


def test_an_iteration_that_is_slower_than_the_scan_is_heeded(clock):
    pace = Pace(Deadline.after(100), 1, read_seconds=1.0)
    pace.measured(40.0, 1)
    assert pace.iterations(20) == 0, "the labels take as long as it did"


def test_where_nothing_was_measured_one_iteration_is_tried(clock):
    assert Pace(Deadline.after(100), 1).iterations(20) == 1
    assert Pace(Deadline.after(PUBLISHING_SECONDS - 1), 1).iterations(20) == 0


def test_a_deadline_is_a_duration_or_a_time(clock, wall):
    assert parse(FIT).deadline is None
    wall[0] = datetime(2027, 3, 4, 12, tzinfo=UTC).timestamp()
    for text in ("30m", "2027-03-04T12:30Z", "2027-03-04T14:30+02:00"):
        assert parse([*FIT, f"--deadline={text}"]).deadline.left == 1800


@pytest.mark.parametrize(
    ("text", "left"), [("30m", 1800 - 60), ("2027-03-04T12:30Z", 1800 + 3600)], ids=["30m", "time"]
)
def test_a_clock_that_is_put_back_moves_a_time_and_no_duration(clock, wall, text, left):
    wall[0] = datetime(2027, 3, 4, 12, tzinfo=UTC).timestamp()
    deadline = parse([*FIT, f"--deadline={text}"]).deadline
    clock[0] += 60
    wall[0] -= 3600
    assert deadline.left == left


@pytest.mark.parametrize("minutes", [5, -5])
def test_a_clock_time_is_the_next_one(wall, minutes):
    wall[0] = datetime(2027, 3, 4, 12).timestamp()
    text = f"{datetime(2027, 3, 4, 12) + timedelta(minutes=minutes):%H:%M}"
    expected = 60 * minutes + (86400 if minutes < 0 else 0)
    assert parse([*FIT, f"--deadline={text}"]).deadline.left == expected


@pytest.mark.parametrize("given", ["60", "soon", "25:00", "0"])
def test_what_is_no_deadline(given):
    with pytest.raises(UsageError, match=f"--deadline: '{given}': expected 30m or the like, 05:30"):
        parse([*FIT, f"--deadline={given}"])


def test_a_deadline_that_has_passed():
    with pytest.raises(UsageError, match="it has passed"):
        parse([*FIT, "--deadline=2020-01-01T00:00Z"])


def test_it_is_no_part_of_the_configuration():
    assert parse([*FIT, "--deadline=1h"]).configuration() == parse(FIT).configuration()


@pytest.fixture
def stopping(clock, monkeypatch):
    """stopping(rounds): the clock is past every deadline after so many rounds of a job."""

    def stop_after(rounds):
        counter, one_round = itertools.count(1), Fit._round

        def counted(*args):
            state = one_round(*args)
            if next(counter) == rounds:
                clock[0] = 1e12
            return state

        clock[0] = 0.0
        monkeypatch.setattr(Fit, "_round", counted)

    return stop_after


def test_training_stops_and_everything_says_so(run, three_blobs, tmp_path, stopping):
    output = tmp_path / "out"
    stopping(3)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *SLOW, "--deadline=1h")
    assert ran.code == 0, ran.stderr
    answer = Answer(output)
    done = len(answer.history)
    assert 3 <= done < 18
    warning = f"--deadline: training was stopped after {done} iterations, so that there is time"
    assert f"warning: {warning}" in ran.stderr
    assert answer.run.warnings[0].startswith(warning)
    assert answer.run.result.status == "deadline"
    assert answer.run.result.iterations == done
    assert answer.history.schema.metadata == {b"status": b"deadline"}
    assert answer.table.num_rows == 600
    assert "deadline" not in answer.run.configuration


def test_a_deadline_before_the_first_iteration_labels_with_the_start(run, three_blobs, tmp_path):
    output = tmp_path / "out"
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={output}", *SLOW, "--deadline=1s")
    assert ran.code == 0, ran.stderr
    answer = Answer(output)
    assert (answer.run.result.status, answer.run.result.iterations) == ("deadline", 0)
    assert answer.table.num_rows == 600


def test_a_start_that_is_still_drawn_cannot_label(run, three_blobs, tmp_path, stopping):
    args = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}", "--keys=id", "--k=3")
    stopping(2)
    ran = run("fit", *args, "--init=k-means-parallel", "--deadline=1h")
    assert ran.code == 5
    assert "is too early to stop, for --init k-means-parallel still draws the start" in ran.stderr
    assert "run the same command again to resume" in ran.stderr
    assert run("fit", *args, "--init=k-means-parallel", "--resume=require").code == 0


def test_a_resumed_run_with_another_deadline_goes_on(
    run, fit, three_blobs, tmp_path, clock, stopping, monkeypatch
):
    """Also where the first had its labels already: the state on disk knows no clock."""
    whole = fit(three_blobs.folder, tmp_path / "whole", *SLOW)
    output = tmp_path / "out"
    args = (f"--input={three_blobs.folder}", f"--output={output}", *SLOW)

    def fail(*args):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Output, "publish", fail)
        stopping(2)
        assert run("fit", *args, "--deadline=1h").code == 5
    clock[0] = 0.0
    ran = run("fit", *args, "--resume=require", "--deadline=2h")
    assert ran.code == 0, ran.stderr
    assert "resuming after iteration" in ran.stderr
    answer = Answer(output)
    assert answer.run.result.status == "max_iterations"
    assert_same_answer(answer, whole)


def test_trials_that_were_stopped_go_on(run, fit, three_blobs, tmp_path, clock, stopping):
    """Though they were chosen from by figures, and labelled with."""
    several = (*SLOW, "--restarts=2", "--init=random")
    whole = fit(three_blobs.folder, tmp_path / "whole", *several)
    output = tmp_path / "out"
    args = (f"--input={three_blobs.folder}", f"--output={output}", *several)
    stopping(2)
    ran = run("fit", *args, "--deadline=1h", "--gate=smallest_cluster>=1000")
    assert ran.code == 4
    stopped = Answer(output / "_rejected")
    assert stopped.run.result.status == "deadline"
    assert stopped.history.schema.metadata == {b"status": b"deadline deadline"}
    clock[0] = 0.0
    ran = run("fit", *args, "--resume=require", "--deadline=2h")
    assert ran.code == 0, ran.stderr
    answer = Answer(output)
    assert answer.run.result.status == "max_iterations"
    assert_same_answer(answer, whole)


def test_by_the_real_clock(run, three_blobs, tmp_path):
    """It would take for ever."""
    args = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    endless = [word for word in SLOW if "max_iterations" not in word]
    ran = run("fit", *args, *endless, "--max_iterations=1000000", "--deadline=5s")
    assert ran.code == 0, ran.stderr
    assert Answer(tmp_path / "out").run.result.status == "deadline"
