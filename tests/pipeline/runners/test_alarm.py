"""A wait is ended from another thread, and whatever else happens to it stays as it was."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from pipeline.runners.alarm import Alarm

SECONDS = 60.0


def wait():
    threading.Event().wait(SECONDS)
    pytest.fail("nobody ended the wait")


def test_a_reason_ends_the_wait():
    before = signal.getsignal(signal.SIGALRM)
    reasons = iter([None, None, "it stands still"])
    alarm = Alarm(lambda: next(reasons), 0.01)
    with pytest.raises(KeyboardInterrupt), alarm:
        wait()
    assert alarm.reason == "it stands still"
    assert signal.getsignal(signal.SIGALRM) == before


def test_without_a_reason_the_block_ends_by_itself():
    looked = threading.Event()
    with Alarm(looked.set, 0.01) as alarm:
        assert looked.wait(SECONDS)
    assert alarm.reason is None


def test_a_reason_that_comes_too_late_interrupts_nobody():
    asked, answer = threading.Event(), threading.Event()

    def look():
        asked.set()
        answer.wait(SECONDS)
        return "too late"

    with Alarm(look, 0.01) as alarm:
        assert asked.wait(SECONDS)
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "watch_job":
            thread.join(SECONDS)
    assert alarm.reason is None


def test_an_interrupt_of_the_users_is_none_of_the_alarms():
    with pytest.raises(KeyboardInterrupt), Alarm(lambda: None, 0.01) as alarm:
        signal.raise_signal(signal.SIGINT)
        wait()
    assert alarm.reason is None


def test_another_thread_is_not_interrupted():
    alarms = []

    def run():
        with Alarm(lambda: "it stands still", 0.01) as alarm:
            alarms.append(alarm)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SECONDS)
    assert alarms[0].reason is None


def child(body):
    code = (
        "import signal, threading, pipeline.runners.alarm as alarm\n"
        "alarm._SLOW_SECONDS = 0.1\n" + textwrap.dedent(body)
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def test_a_wait_that_does_not_end_ends_with_the_process():
    ran = child("""
        with alarm.Alarm(lambda: "train: nothing has moved", 0.01):
            while True:
                try:
                    threading.Event().wait()
                except KeyboardInterrupt:
                    pass
    """)
    assert ran.returncode == 5
    assert ran.stderr == (
        "kmeans-tf: error: train: nothing has moved; run the same command again to resume\n"
    )


def test_a_job_that_ignores_ctrl_c_is_ended_too():
    """As one does that was started with `nohup … &`."""
    ran = child("""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        alarm._SLOW_SECONDS = 60
        try:
            with alarm.Alarm(lambda: "it stands still", 0.01):
                threading.Event().wait()
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (ran.returncode, ran.stdout) == (0, "interrupted\n"), ran.stderr
