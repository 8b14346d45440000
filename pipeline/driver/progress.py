"""Progress: a live bar on a terminal, a line now and then on a log.

That of a pass is read from what its workers say of themselves, that of the training from the
checkpoints, so it is the same on every runner.
"""

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from kmeans_tf.state import TrainingState, Trial
from pipeline.console import logs_json, say
from pipeline.data.store import FileVersion
from pipeline.errors import JobError
from pipeline.passes.checkpoint import WorkFolder, checkpoint_files, load_state
from pipeline.passes.heartbeat import read_heard

LINE_SECONDS = 5.0  # between two lines on a log
_POLL_SECONDS = 0.25
_FAR_SECONDS = 2.0  # where every look is a request
_RECENT = 5  # iterations, whose rate is told and whose changes foretell the end
_RECENT_LOOKS = 40  # at the rows that were read, whose rate is told
_MOST_READ = 32  # workers' files in a look: a stage that is over waits for the last one

Tell = Callable[..., None]  # (text, done=None, total=None, **facts)


@contextlib.contextmanager
def stage_progress(stage: str, work: WorkFolder | None = None, rows: int = 0) -> Iterator[None]:
    """Shows that a stage goes on while the block runs.

    Args:
        stage: its name.
        work: where its workers say how many rows they have read, if any.
        rows: that there are to read.
    """
    pass_ = _Pass(stage, work, rows)
    far = work is not None and not work.store.is_local(work.path)
    with _told(pass_.report, far=far):
        yield


@contextlib.contextmanager
def training_progress(
    work: WorkFolder, max_iterations: int, rows: int, tolerance: float = 0.0
) -> Iterator[None]:
    """Shows the newest checkpoint while the block runs, and once more at its end."""
    watcher = _Watcher(work, max_iterations, rows, tolerance)
    with _told(watcher.report, watcher.report_last, far=not work.store.is_local(work.path)):
        yield


@contextlib.contextmanager
def _told(
    look: Callable[[Tell], None],
    last: Callable[[Tell], None] | None = None,
    *,
    far: bool = False,
) -> Iterator[None]:
    """Looks for something to tell again and again while the block runs."""
    lives = sys.stderr.isatty() and not logs_json()
    with _bar() if lives else contextlib.nullcontext(_Lines().tell) as tell:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(_FAR_SECONDS if far else _POLL_SECONDS):
                look(tell)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            if last:
                last(tell if lives else _say)
    if last and lives:
        last(_say)


class _Lines:
    """Lines on a log, the first after a while and then one at most in so long."""

    def __init__(self) -> None:
        self.due = time.monotonic() + LINE_SECONDS

    def tell(self, text: str, done: Any = None, total: Any = None, **facts: Any) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + LINE_SECONDS
            _say(text, **facts)


def _say(text: str, done: Any = None, total: Any = None, **facts: Any) -> None:
    say(text, **facts)


def _rate(seen: Sequence[tuple[int, float]], last: int) -> float:
    """Per second, by the last few of counts and seconds; the first has a start in it."""
    recent = seen[1:][-last:]
    if len(recent) < 2:
        return 0.0
    (first, began), (now, ended) = recent[0], recent[-1]
    return (now - first) / (ended - began) if ended > began else 0.0


class _Pass:
    """How far a pass over the rows has come, by what its workers say."""

    def __init__(self, stage: str, work: WorkFolder | None, rows: int):
        self.stage, self.work, self.total = stage, work, rows
        self.start = time.monotonic()
        self.files: dict[str, FileVersion] = {}
        self.rows: dict[str, int] = {}  # by worker
        self.seen: list[tuple[int, float]] = []
        if work:  # what is there is of an attempt, or a stage, before
            with contextlib.suppress(OSError, JobError):
                self.files = {file.path: file for file in work.store.files(work.workers)}

    def report(self, tell: Tell) -> None:
        """Tells how far it is; how fast, and how long it still takes, where that is known."""
        with contextlib.suppress(OSError, JobError, ValueError, TypeError):
            self._look()
        now = time.monotonic()
        done = min(sum(self.rows.values()), self.total)
        if done > (self.seen[-1][0] if self.seen else -1):
            self.seen.append((done, now))
        facts: dict[str, Any] = {"stage": self.stage, "seconds": round(now - self.start, 1)}
        rate = _rate(self.seen, _RECENT_LOOKS)
        if not rate or done == self.total:
            tell(f"{self.stage}: {now - self.start:.0f} s so far", **facts)
            return
        left = (self.total - done) / rate
        facts |= {"rows": done, "rows_per_second": round(rate), "seconds_left": round(left, 1)}
        text = f"{self.stage}: {done:,} of {self.total:,} rows  {rate:,.0f} rows/s"
        tell(f"{text}  about {left:,.0f} s left", done, self.total, **facts)

    def _look(self) -> None:
        if not self.work:
            return
        files = self.work.store.files(self.work.workers)
        new = [file for file in files if self.files.get(file.path) != file]
        for file in new[:_MOST_READ]:
            self.files[file.path] = file
            heard = read_heard(self.work, file.path)
            if heard.stage == self.stage:
                self.rows[file.path] = heard.rows


class _Watcher:
    def __init__(self, work: WorkFolder, max_iterations: int, rows: int, tolerance: float):
        self.work, self.rows = work, rows
        self.max_iterations, self.tolerance = max_iterations, tolerance
        self.seen: list[tuple[int, float]] = []  # iterations, and when their checkpoint was written
        self.told: tuple[tuple, dict] | None = None
        self.report(lambda *_, **__: None)
        self.told = None

    @property
    def iteration(self) -> int:
        return self.seen[-1][0] if self.seen else -1

    def report(self, tell: Tell) -> None:
        """Tells of the newest checkpoint, if it is a new one.

        A checkpoint that is superseded or cannot be read now may be told later; what is wrong
        with it is for the job to say, whose own error must come through.
        """
        with contextlib.suppress(OSError, JobError):
            # By its name: a store's times may be whole seconds, or not there.
            new = [(i, file) for i, file in checkpoint_files(self.work) if i > self.iteration]
            if new:
                state = load_state(self.work, new[-1][1].path)
                self.seen += [(iteration, file.modified / 1e9) for iteration, file in new]
                if state.iteration and _followed(state).costs:
                    self.told = self._described(state)
        if self.told:
            (text, done, total), facts = self.told
            tell(text, done, total, **facts)

    def report_last(self, tell: Tell) -> None:
        """Tells of the last checkpoint, if there was a new one."""
        self.report(tell)

    def _described(self, state: TrainingState) -> tuple[tuple, dict]:
        trial, iteration = _followed(state), state.iteration
        costs = trial.costs
        total = max(iteration, self._expected(costs, iteration))
        facts: dict[str, Any] = {"stage": "train", "iteration": iteration, "cost": costs[-1]}
        parts = [f"iteration {iteration}/{self.max_iterations}"]
        if len(state.trials) > 1:
            facts |= {"trials": len(state.trials), "running": len(state.running())}
            parts.append(f"{facts['running']} of {facts['trials']} trials run")
            parts.append(f"k = {len(trial.prototypes)}:")
        parts.append(f"cost {costs[-1]:.8g}")
        if len(costs) > 1:
            change = (costs[-1] - costs[-2]) / costs[-2] if costs[-2] else 0.0
            parts.append(f"change {change:+.2e}")
            facts["change"] = change
        rate = _rate(self.seen, _RECENT)
        if rate:
            facts["rows_per_second"] = round(self.rows * rate)
            parts.append(f"{self.rows * rate:,.0f} rows/s")
        if rate and not state.done:
            left = facts["seconds_left"] = round((total - iteration) / rate, 1)
            parts.append(f"about {left:,.0f} s left")
        return ("  ".join(parts), iteration, total), facts

    def _expected(self, costs: Sequence[float], iteration: int) -> int:
        """After how many iterations the training will have converged."""
        left = iterations_left(costs, self.tolerance)
        return self.max_iterations if left is None else min(self.max_iterations, iteration + left)


def _followed(state: TrainingState) -> Trial:
    """The trial whose cost is told: of those that run the last, which has the largest k."""
    running = state.running()
    return state.trials[max(running) if running else -1]


def iterations_left(costs: Sequence[float], tolerance: float) -> int | None:
    """How many iterations it takes until the cost changes by `tolerance` of itself or less.

    The last changes are taken to go on shrinking as they did; None where they do not shrink.
    """
    changes = [abs(b - a) / abs(b) if b else 0.0 for a, b in pairwise(costs[-_RECENT - 1 :])]
    if not changes:
        return None
    if changes[-1] <= tolerance:
        return 0
    if len(changes) < 2 or not 0 < changes[-1] < changes[0] or tolerance <= 0:
        return None
    ratio = (changes[-1] / changes[0]) ** (1 / (len(changes) - 1))
    return math.ceil(math.log(tolerance / changes[-1]) / math.log(ratio))


@contextlib.contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(text: str, done: Any = None, total: Any = None, **facts: Any) -> None:
            progress.update(task, completed=done, total=total, description=text)

        yield tell
