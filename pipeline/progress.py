"""Progress, read from the checkpoints: the same on every runner."""

import contextlib
import posixpath
import sys
import threading
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kmeans_tf.state import TrainingState
from pipeline.console import say
from pipeline.errors import JobError
from pipeline.passes.checkpoint import WorkFolder, checkpoints, load_state

_POLL_SECONDS = 0.25
_FAR_SECONDS = 2.0  # where every look is a request


@contextlib.contextmanager
def training_progress(work: WorkFolder, max_iterations: int, rows: int) -> Iterator[None]:
    """Shows each new checkpoint while the block runs: a live bar on a terminal, else lines."""
    watcher = _Watcher(work, max_iterations, rows)
    show = _bar(max_iterations) if sys.stderr.isatty() else contextlib.nullcontext(say)
    with show as line:
        stop = threading.Event()
        thread = threading.Thread(target=watcher.watch, args=(line, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            watcher.report(line)


class _Watcher:
    def __init__(self, work: WorkFolder, max_iterations: int, rows: int):
        self.work = work
        self.max_iterations, self.rows = max_iterations, rows
        self.iteration, self.modified = -1, 0
        self.report(lambda text: None)

    def watch(self, line, stop: threading.Event) -> None:
        is_local = self.work.store.is_local(self.work.path)
        while not stop.wait(_POLL_SECONDS if is_local else _FAR_SECONDS):
            self.report(line)

    def report(self, line) -> None:
        """Passes a line for every iteration that is new, from the newest checkpoint.

        A checkpoint that is superseded or cannot be read now may be told later; what is wrong
        with it is for the job to say, whose own error must come through.
        """
        with contextlib.suppress(OSError, JobError):
            paths = checkpoints(self.work)
            # By its name: a store's times may be whole seconds, or not there.
            if paths and int(posixpath.basename(paths[-1])) > self.iteration:
                file = self.work.store.version(paths[-1])
                if file:
                    self._report(load_state(self.work, file.path), file.modified, line)

    def _report(self, state: TrainingState, modified: int, line) -> None:
        new = state.iteration - self.iteration
        seconds = (modified - self.modified) / 1e9 / new if self.modified else 0.0
        for iteration in range(max(1, self.iteration + 1), state.iteration + 1):
            line(self._describe(iteration, state.trials[0].costs[:iteration], seconds))
        self.iteration, self.modified = state.iteration, modified

    def _describe(self, iteration: int, costs: Sequence[float], seconds: float) -> str:
        parts = [f"iteration {iteration}/{self.max_iterations}", f"cost {costs[-1]:.8g}"]
        if len(costs) > 1:
            change = (costs[-1] - costs[-2]) / costs[-2] if costs[-2] else 0.0
            parts.append(f"change {change:+.2e}")
        if seconds > 0:
            left = seconds * (self.max_iterations - iteration)
            parts += [f"{self.rows / seconds:,.0f} rows/s", f"at most {left:,.0f} s left"]
        return "  ".join(parts)


@contextlib.contextmanager
def _bar(total: int) -> Iterator:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)

        def show(text: str) -> None:
            done, _, rest = text.removeprefix("iteration ").partition("  ")
            progress.update(task, completed=int(done.split("/")[0]), description=rest)

        yield show
