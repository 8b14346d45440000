"""How what a command asks for is done: on which runner, and from the preflight to publishing.

Beam is loaded with this module.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kmeans_tf import Model
from kmeans_tf.metrics import Metric
from pipeline.command_line.options import FitOptions
from pipeline.console import say
from pipeline.data.plan import Plan
from pipeline.driver.attempt import Attempt
from pipeline.driver.fit import Fit
from pipeline.driver.workplace import Workplace
from pipeline.errors import DataError, GateError, UsageError
from pipeline.nights.night import Night
from pipeline.nights.previous import InitialPrototypes
from pipeline.output.publish import Output
from pipeline.output.results import Results, write_results
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.shared import forget
from pipeline.runners.identity import Worker
from pipeline.runners.preflight import describe_workers


@dataclass
class Job:
    """An answer to be made.

    Attributes:
        place: where it is made, and where it goes.
        plan: what is read for it.
        request: what the user asked for.
        configuration: the options that it depends on.
        warnings: what the user was told before, and the report is to tell.
    """

    place: Workplace
    plan: Plan
    request: dict[str, Any]
    configuration: dict[str, Any]
    warnings: Sequence[str] = ()

    def fit(
        self,
        options: FitOptions,
        ks: Sequence[int],
        metric: Metric,
        initial: InitialPrototypes | None,
        night: Night | None,
    ) -> None:
        """Clusters the input, from prototypes that are given, if any.

        Raises:
            GateError: the answer is not as good as was asked for.
        """
        self._carry_out(lambda attempt: Fit(attempt, options, ks, metric, initial, night).files())

    def label(self, model: Model) -> None:
        """Labels the input."""
        self._carry_out(lambda attempt: _label_files(attempt, model))

    def _carry_out(self, make_files: Callable[[Attempt], dict[str, str]]) -> None:
        """Makes and publishes the files of the output, or only checks that it could be done."""
        if self.place.settings.options.check:
            self._only_check()
            return
        output, fingerprint = self.place.output, _digest(self.configuration)
        runner = self.place.runner(output.work_folder(fingerprint))
        runner.cancel_jobs()
        claimed = output.claim(self.configuration, fingerprint)
        work = replace(claimed, alone=self.place.settings.one_process)
        with _abandoning(output, work):
            workers = self._preflight(work)
            attempt = Attempt(self.plan, work, runner, self.configuration, workers)
            attempt.warnings.extend(self.warnings)
            files = make_files(attempt)
            _check_gates(attempt, output, files)
            output.publish(work, self.request, files)
        say(f"done: {output.path}")

    def _only_check(self) -> None:
        with self.place.output.scratch(f"check-{uuid.uuid4().hex}") as work:
            workers = self._preflight(work)
        settings = self.place.settings
        say(
            f"ready: {settings.runner} (environment: {settings.environment}) with "
            f"{describe_workers(workers)}"
        )

    def _preflight(self, work: WorkFolder) -> list[Worker]:
        return self.place.preflight(work, next(iter(self.plan.files), None))


def _check_gates(attempt: Attempt, output: Output, files: dict[str, str]) -> None:
    """Raises a GateError, and leaves the files to be looked at, if a gate is not passed."""
    failed = [gate for gate in attempt.gates if not gate.passed]
    if failed:
        told = ", ".join(f"{gate.text} (it is {gate.value:.4g})" for gate in failed)
        folder = output.reject(attempt.work, files)
        raise GateError(f"--gate {told}: not published; the answer and its report lie in {folder}")


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
        with contextlib.suppress(OSError):  # what ended it is to be told
            output.abandon(work)
        raise
    finally:
        forget(work.path)
