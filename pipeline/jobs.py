"""How what a command asks for is done: on which runner, and from the preflight to publishing.

Beam is loaded with this module.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmeans_tf import Model
from kmeans_tf.metrics import Metric
from pipeline.attempt import Attempt
from pipeline.console import say
from pipeline.data.plan import Plan
from pipeline.errors import DataError, UsageError
from pipeline.fit import Fit
from pipeline.options import FitOptions, LabelOptions
from pipeline.output.publish import Output
from pipeline.output.results import Results, write_results
from pipeline.passes.checkpoint import WorkFolder
from pipeline.previous import InitialPrototypes
from pipeline.runners.identity import Worker
from pipeline.runners.preflight import describe_workers, preflight
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings


@dataclass
class Job:
    """An answer to be made.

    Attributes:
        output: where it goes.
        plan: what is read for it.
        request: what the user asked for.
        configuration: the options that it depends on.
        settings: how its passes run.
    """

    output: Output
    plan: Plan
    request: dict[str, Any]
    configuration: dict[str, Any]
    settings: Settings

    @classmethod
    def connected(
        cls,
        options: FitOptions | LabelOptions,
        output: Output,
        plan: Plan,
        request: dict[str, Any],
        configuration: dict[str, Any],
    ) -> "Job":
        """A job whose runner is there.

        Raises:
            UsageError: there is no such runner, or an option of its is missing or does not fit.
            RunError: what it needs is not there.
        """
        settings = Settings(options.run)
        settings.check()
        return cls(output, plan, request, configuration, settings.connect())

    def fit(
        self, options: FitOptions, k: int, metric: Metric, initial: InitialPrototypes | None
    ) -> None:
        """Clusters the input, from prototypes that are given, if any."""
        self._carry_out(lambda attempt: Fit(attempt, options, k, metric, initial).files())

    def label(self, model: Model) -> None:
        """Labels the input."""
        self._carry_out(lambda attempt: _label_files(attempt, model))

    def _carry_out(self, make_files: Callable[[Attempt], dict[str, str]]) -> None:
        """Makes and publishes the files of the output, or only checks that it could be done."""
        if self.settings.options.check:
            self._only_check()
            return
        output, fingerprint = self.output, _digest(self.configuration)
        runner = Runner(self.settings, output.work_folder(fingerprint).path)
        runner.cancel_jobs()
        work = output.claim(self.configuration, fingerprint)
        with _abandoning(output, work):
            workers = self._preflight(runner, work)
            attempt = Attempt(self.plan, work, runner, self.configuration, workers)
            output.publish(work, self.request, make_files(attempt))
        say(f"done: {output.path}")

    def _only_check(self) -> None:
        with self.output.scratch() as work:
            workers = self._preflight(Runner(self.settings, work.path), work)
        say(
            f"ready: {self.settings.runner} (environment: {self.settings.environment}) with "
            f"{describe_workers(workers)}"
        )

    def _preflight(self, runner: Runner, work: WorkFolder) -> list[Worker]:
        return preflight(runner, work, self.plan.store, self.plan.footers[0].file)


def _label_files(attempt: Attempt, model: Model) -> dict[str, str]:
    totals = attempt.label(model)
    results = Results(attempt.plan, model, None, totals, np.empty((0, model.dimension)))
    return write_results(attempt.work, results, attempt.record(results))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _abandoning(output: Output, work: WorkFolder) -> Iterator[None]:
    """Leaves nothing behind where another attempt would fail the same way."""
    try:
        yield
    except (UsageError, DataError):
        output.abandon(work)
        raise
