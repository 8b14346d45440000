"""Progress: a live bar on a terminal, a line now and then on a log.

That of the training is read from the checkpoints, so it is the same on every runner.
"""

import contextlib
import math
import posixpath
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from kmeans_tf.state import TrainingState, Trial
from pipeline.console import logs_json, say
from pipeline.errors import JobError
from pipeline.passes.checkpoint import WorkFolder, checkpoints, load_state

LINE_SECONDS = 5.0  # between two lines on a log
_POLL_SECONDS = 0.25
_FAR_SECONDS = 2.0  # where every look is a request
_RECENT = 5  # iterations, whose rate is told and whose changes foretell the end

Tell = Callable[..., None]  # (text, done=None, total=None, **facts)


@contextlib.contextmanager
def stage_progress(stage: str) -> Iterator[None]:
    """Shows that a stage goes on while the block runs."""
    start = time.monotonic()

    def look(tell: Tell) -> None:
        seconds = time.monotonic() - start
        tell(f"{stage}: {seconds:.0f} s so far", stage=stage, seconds=round(seconds, 1))

    with _told(look):
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


class _Watcher:
    def __init__(self, work: WorkFolder, max_iterations: int, rows: int, tolerance: float):
        self.work, self.rows = work, rows
        self.max_iterations, self.tolerance = max_iterations, tolerance
        self.seen: list[tuple[int, int]] = []  # iterations, and when their checkpoint was written
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
            paths = checkpoints(self.work)
            # By its name: a store's times may be whole seconds, or not there.
            if paths and int(posixpath.basename(paths[-1])) > self.iteration:
                file = self.work.store.version(paths[-1])
                if file:
                    state = load_state(self.work, file.path)
                    self.seen.append((state.iteration, file.modified))
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
        seconds = self._seconds()
        if seconds > 0:
            facts["rows_per_second"] = round(self.rows / seconds)
            parts.append(f"{self.rows / seconds:,.0f} rows/s")
        if seconds > 0 and not state.done:
            left = facts["seconds_left"] = round(seconds * (total - iteration), 1)
            parts.append(f"about {left:,.0f} s left")
        return ("  ".join(parts), iteration, total), facts

    def _seconds(self) -> float:
        """Of an iteration, by the last few; the first of a training has a start in it."""
        recent = self.seen[1:][-_RECENT:] if len(self.seen) > 2 else self.seen
        if len(recent) < 2:
            return 0.0
        (first, began), (last, ended) = recent[0], recent[-1]
        return (ended - began) / 1e9 / (last - first)

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
