"""One attempt at an output: what its stages share, and the stage that both commands end with."""

import contextlib
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf import Model
from kmeans_tf.pages import give_back
from pipeline import environment
from pipeline.command_line.options import ALWAYS
from pipeline.console import say
from pipeline.data.addresses import masked_words
from pipeline.data.page_sums import READING
from pipeline.data.plan import Plan
from pipeline.data.store import FileVersion
from pipeline.driver.checks import check_labelled
from pipeline.driver.progress import stage_progress
from pipeline.errors import UsageError
from pipeline.output.results import Results, bad_rows, key_types, load_drawing_ahead
from pipeline.output.run_record import Counts, Gate, Input, RunRecord, Scatter, Schema, Table
from pipeline.passes.blocks import BlockRange
from pipeline.passes.cache import JobCache
from pipeline.passes.checkpoint import WorkFolder, find_manifest, load_manifest
from pipeline.passes.counters import by_name
from pipeline.passes.label import Trained, part_rows
from pipeline.passes.parcels import drop
from pipeline.passes.stage import Stage
from pipeline.passes.totals import LabelTotals
from pipeline.runners.identity import Worker, versions
from pipeline.runners.runner import Runner
from pipeline.runners.watchdog import Watchdog
from pipeline.transforms import Blocks, Label, LabelSpec, SharedBlocks

_STAGES = ("scan", "seed", "train", "label")


@dataclass
class Clock:
    """Seconds by stage and of each iteration, where Beam jobs began, and the stage that runs.

    `rows` are those that a pass reads, of which its workers tell in `work`; `before` is how long
    the command had run by then.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STAGES, 0.0))
    iterations: list[float] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    running: str = ""
    rows: int = 0
    work: WorkFolder | None = None
    before: float = field(default_factory=environment.seconds_since_start)

    def told(self) -> dict[str, Any]:
        """What run.json says of it, with the process's own start."""
        total = environment.seconds_since_start()
        return (
            {"start": self.before}
            | self.seconds
            | {"total": total, "iterations": self.iterations, "jobs": self.jobs}
        )

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block, shows that it goes on, and says how long it took."""
        self.running, start = name, time.perf_counter()
        # The training shows its iterations.
        shown = name != "train"
        with stage_progress(name, self.work, self.rows) if shown else contextlib.nullcontext():
            yield
        give_back()  # the next stage needs memory of other sizes
        seconds = self.seconds[name] = time.perf_counter() - start
        facts: dict[str, Any] = {"stage": name, "seconds": round(seconds, 3)}
        rate = ""
        if name in ("scan", "label") and seconds:
            facts["rows"] = self.rows
            rate = f"  {self.rows / seconds:,.0f} rows/s"
        say(f"{name}: {seconds:.1f} s{rate}", **facts, done=True)


@dataclass
class Attempt:
    """What is read, where it is worked on, and who does the work.

    Attributes:
        plan: the input.
        work: the folder of this configuration, with whatever an attempt before has left.
        runner: runs the passes.
        configuration: the options that the answer depends on.
        workers: the worker processes that answered before the first pass.
        clock: what took how long.
        counters: what the workers counted.
        warnings: what the user should know of the answer.
        gates: the bounds that it was held to.
    """

    plan: Plan
    work: WorkFolder
    runner: Runner
    configuration: dict[str, Any]
    workers: Sequence[Worker] = ()
    clock: Clock = field(default_factory=Clock)
    counters: Counter = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def run_alone(self, transform: beam.PTransform) -> None:
        """Runs one pass that begins by itself, for as long as it moves."""
        watchdog = Watchdog(self.work, self.clock.running, self.runner.settings.stall_seconds)
        self.counters += self.runner.run(lambda pipeline: pipeline | transform, watchdog=watchdog)

    def __post_init__(self) -> None:
        self.clock.rows, self.clock.work = self.plan.rows, self.work

    def run(
        self,
        build: Callable[[beam.PCollection], object],
        ranges: Sequence[BlockRange] | None = None,
    ) -> None:
        """Runs one pass over the blocks, in these ranges, for as long as it moves."""
        settings = self.runner.settings
        blocks = Blocks(ranges or self._blocks.ranges(), spread=not settings.one_process)
        watchdog = Watchdog(self.work, self.clock.running, settings.stall_seconds)
        self.counters += self.runner.run(
            lambda pipeline: build(pipeline | blocks), watchdog=watchdog
        )
        drop(self.work, self.work.sums)

    @property
    def cache(self) -> JobCache:
        """What workers may use for it.

        Raises:
            UsageError: points are to be staged, and the output is not on a local disk.
        """
        settings, stage = self.runner.settings, Stage()
        always = settings.options.stage == ALWAYS
        if self.work.store.is_local(self.work.path):
            stage = Stage(Path(self.work.staged) if settings.may_stage else None, always)
        elif always:
            raise UsageError(f"--stage {ALWAYS}: the output {self.work.path} is on no local disk")
        return JobCache(self.work.path, settings.threads, settings.options.cache_mb, stage)

    @cached_property
    def _blocks(self) -> SharedBlocks:
        return SharedBlocks.write(self.work, self.plan.blocks)

    def warn(self, text: str) -> None:
        """Says something that the report says too."""
        self.warnings.append(text)
        say(f"warning: {text}")

    def label(
        self, model: Model, corners: Sequence[np.ndarray] = (), trained: Trained | None = None
    ) -> LabelTotals:
        """Writes a label for every row below the work folder, unless that was done.

        Args:
            model: which gives the labels.
            corners: (d,) float64, between which all rows are, where that is known.
            trained: where the model comes from, if from this job.

        Raises:
            DataError: there are bad rows, and the policy is to fail.
        """
        totals = self._labelled()
        if not self.plan.rows:
            self.warn(f"no row in {len(self.plan.footers)} file(s): the answer is empty")
        if totals is None:
            distances = model.distance_type(*corners)
            spec = LabelSpec.of(self.plan, model, self.work, self.cache, distances, trained)
            with self.clock.stage("label"):
                load_drawing_ahead()
                rows = part_rows(self.plan.columns.dimension, self.plan.rows)
                ranges = self._blocks.ranges_of(rows)
                self.run(lambda blocks: blocks | Label(spec), ranges)
            totals = load_manifest(self.work)
        check_labelled(model, totals)
        return totals

    def _labelled(self) -> LabelTotals | None:
        """What an attempt before has labelled, if all of it is still there, and whole."""
        totals = find_manifest(self.work)
        if totals is None:
            return None
        there = {file.path: file for file in self.work.store.files(self.work.file("labels"))}
        try:
            rows = sum(self._rows(there[path]) for path in totals.parts.values())
        except (KeyError, OSError, pa.ArrowException):  # the machine may have ended with the job
            return None
        return totals if rows == totals.all_rows else None

    def _rows(self, part: FileVersion) -> int:
        """Of a part of the labels, every page of which is looked at."""
        with self.work.store.open(part) as stream:
            return sum(map(len, pq.ParquetFile(stream, **READING).iter_batches()))

    def record(self, results: Results) -> RunRecord:
        """What run.json says of this attempt and its results."""
        plan, columns, totals = self.plan, self.plan.columns, results.totals
        now = datetime.now(UTC)
        bad_columns, worst = bad_rows(totals)
        return RunRecord(
            run_id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
            command=["kmeans-tf", *masked_words(sys.argv[1:])],
            configuration=self.configuration | self.runner.settings.used,
            schema=Schema(
                features=list(columns.features),
                layout="list" if columns.is_list else "scalars",
                keys=key_types(plan),
                weight=columns.weight,
            ),
            counts=Counts(
                files=len(plan.footers),
                row_groups=plan.row_groups,
                blocks=len(plan.blocks),
                rows=totals.all_rows,
                bad_rows=totals.bad_rows,
                bad=worst,
                weight=results.weight,
                sample_rows=len(results.sample),
                bad_columns=bad_columns,
            ),
            versions={"python": sys.version.split()[0]} | versions(),
            input=_input(plan),
            seconds=self.clock.told(),
            counters=by_name(self.counters),
            workers=[asdict(worker) for worker in self.workers],
            warnings=list(self.warnings),
            result=results.result,
            scatter=Scatter("", ""),  # which is known with its table
            digests=results.digests,
        )


def _input(plan: Plan) -> Input:
    tables = [Table(table.format, table.folder, table.id) for table in plan.snapshots]
    return Input(plan.files.fingerprint(), plan.nbytes, tables)
