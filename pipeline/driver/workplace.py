"""Where the passes of a job run, and who does the work there.

Beam is loaded with this module.
"""

import time
from dataclasses import dataclass, field

from pipeline.command_line.options import RunOptions
from pipeline.console import say
from pipeline.data.file_table import FileTable
from pipeline.data.files import Footers, read_footers
from pipeline.data.store import FileVersion
from pipeline.output.publish import Output
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.footers import ReadFooters, SharedFiles
from pipeline.runners.identity import Worker
from pipeline.runners.preflight import preflight
from pipeline.runners.runner import Runner
from pipeline.runners.settings import Settings
from pipeline.runners.watchdog import Watchdog


@dataclass
class Workplace:
    """A runner that is there, for an output that is to be made.

    Attributes:
        output: where the answer goes.
        settings: how passes run.
        workers: the worker processes that have answered, once they were asked.
    """

    output: Output
    settings: Settings
    workers: list[Worker] = field(default_factory=list)

    @classmethod
    def connected(cls, options: RunOptions, output: Output) -> "Workplace":
        """One whose runner is there.

        Raises:
            UsageError: there is no such runner, or an option of its is missing or does not fit.
            RunError: what it needs is not there.
        """
        settings = Settings(options)
        settings.check()
        return cls(output, settings.connect())

    def runner(self, work: WorkFolder) -> Runner:
        """What runs passes over a work folder."""
        return Runner(self.settings, work.path)

    def preflight(self, work: WorkFolder, file: FileVersion | None) -> list[Worker]:
        """The workers, who are asked once whether they reach a work folder and the input."""
        if not self.workers:
            self.workers = preflight(self.runner(work), work, self.output.store, file)
        return self.workers

    def read_footers(self, files: FileTable) -> Footers:
        """The footers of many files, read by the workers unless the driver is the only one.

        Raises:
            DataError: a file is not a complete Parquet file.
            RunError: the workers cannot read them.
        """
        if self.settings.one_process:
            return read_footers(self.output.store, files)
        with self.output.scratch(f"footers-{files.fingerprint()[:16]}") as work:
            start = time.perf_counter()
            footers = self._read_by_workers(work, files)
            say(f"footers: {time.perf_counter() - start:.1f} s")
            return footers

    def _read_by_workers(self, work: WorkFolder, files: FileTable) -> Footers:
        runner, store = self.runner(work), self.output.store
        runner.cancel_jobs()
        self.preflight(work, files[0])
        shared = SharedFiles.write(work, files)
        watchdog = Watchdog(work, "footers", self.settings.stall_seconds)
        runner.run(lambda pipeline: pipeline | ReadFooters(shared, work, store), watchdog=watchdog)
        return shared.footers(work)
