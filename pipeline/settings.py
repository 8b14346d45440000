"""How jobs run: what the user gave, else what the cluster says of itself, else by runner."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners import create_runner

from pipeline.errors import UsageError
from pipeline.flink import FlinkCluster
from pipeline.options import RunOptions
from pipeline.sums import default_threads

_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_MASTERS = {"flinkrunner": "flink_master", "sparkrunner": "spark_master_url"}
EMBEDDED = "embed"  # the job endpoint that is Beam's own, in the driver
# A master that the runner starts in its own process: none, [local], local, local[4].
LOCAL_MASTER = re.compile(r"(\[(local|auto|collection)\]|local(\[.*\])?)?")
# Workers of a cluster are a pool beside each of its hosts, and live through the pauses of a job.
_POOL = {
    "environment_type": "EXTERNAL",
    "environment_config": "localhost:50000",
    "environment_cache_millis": "60000",
}
_IN_PARTS = {"environment_option", "environment_options"}  # instead of environment_config


@dataclass(frozen=True)
class Defaults:
    """What a runner gets where the user says nothing.

    Attributes:
        iterations_per_job: more where a job is dear to start, fewer where a large graph is dear.
        flags: Beam's options by name.
        threads: chunks at once in a worker process; None: the driver's cores, shared by the
            processes.
        start_seconds: how long workers may take to answer.
    """

    iterations_per_job: int = 10
    flags: dict[str, str] = field(default_factory=dict)
    threads: int | None = 1  # a cluster's slot is a core
    start_seconds: int = 300


_DEFAULTS = {
    "fnapirunner": Defaults(threads=None),
    "directrunner": Defaults(threads=None),
    "prismrunner": Defaults(flags={"environment_type": "LOOPBACK"}, threads=None),
    "flinkrunner": Defaults(flags=_POOL),
    "sparkrunner": Defaults(iterations_per_job=20, flags=_POOL),
    "dataflowrunner": Defaults(iterations_per_job=20, start_seconds=1200),
}


@dataclass(frozen=True)
class Settings:
    """How jobs run.

    Attributes:
        options: what the user gave.
        found: Beam's options by name, where the cluster itself says what they should be.
        slots: of a worker's host, where the cluster says so. Beam asks for one worker process on
            each, so it works on as many chunks at once.
    """

    options: RunOptions
    found: dict[str, str] = field(default_factory=dict)
    slots: int | None = None

    @property
    def runner(self) -> str:
        """The runner's name as the user gave it."""
        return self.options.runner

    @property
    def iterations_per_job(self) -> int:
        return self.options.iterations_per_job or self._defaults.iterations_per_job

    @property
    def threads(self) -> int:
        """Chunks at once in a worker process."""
        if self.options.threads:
            return self.options.threads
        if self.slots and "sdk_worker_parallelism" not in self._given:
            return self.slots
        if self._defaults.threads and not self._in_process:
            return self._defaults.threads
        direct = self.beam().view_as(DirectOptions)
        processes = 1
        if direct.direct_running_mode == "multi_processing":
            processes = direct.direct_num_workers or default_threads()
        return max(1, default_threads() // processes)

    @property
    def start_seconds(self) -> int:
        """How long workers may take to answer; runners wait for an absent one for ever."""
        return self._defaults.start_seconds

    @property
    def flags(self) -> dict[str, str]:
        """Beam's options by name: the user's, else the cluster's, else the runner's defaults."""
        given = self._given
        defaults = {} if self._in_process else self._defaults.flags
        if given.get("environment_type", "EXTERNAL") != "EXTERNAL" or _IN_PARTS & set(given):
            defaults = {n: v for n, v in defaults.items() if n != "environment_config"}
        return defaults | self.found | given

    @property
    def flink(self) -> FlinkCluster | None:
        """The Flink cluster that the jobs run on, where its address is known."""
        is_flink = self.kind == "flinkrunner"
        return None if not is_flink or self._has_no_master else FlinkCluster(self._master)

    @property
    def job_endpoint(self) -> str | None:
        """Where a job service takes the jobs in, if it is not the driver's own."""
        endpoint = self._given.get("job_endpoint")
        return None if endpoint == EMBEDDED else endpoint

    @property
    def used(self) -> dict[str, object]:
        """What the run report says of how the job ran."""
        return {
            "runner": self.runner,
            "iterations_per_job": self.iterations_per_job,
            "threads": self.threads,
            "cache_mb": self.options.cache_mb,
            "beam": [*self.options.beam, *self._added],
        }

    @property
    def environment(self) -> str:
        """Which environment the workers have, in words."""
        kind = self.flags.get("environment_type", "the runner's own")
        place = self.flags.get("environment_config")
        return f"{kind} at {place}" if place else kind

    def beam(self, *more: str) -> PipelineOptions:
        """The options as Beam takes them; `more` words come last, and win."""
        return PipelineOptions([f"--runner={self._name}", *self.options.beam, *self._added, *more])

    def check(self) -> None:
        """Raises a UsageError if there is no such runner."""
        try:
            create_runner(self._name)
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"--runner {self.runner}: {reason}") from error

    @property
    def kind(self) -> str:
        """The runner's class in lower case, however it was named: Flink, FlinkRunner, its path."""
        name = self.runner.lower().rpartition(".")[2]
        return name if name.endswith("runner") else f"{name}runner"

    @property
    def _defaults(self) -> Defaults:
        return _DEFAULTS.get(self.kind, Defaults())

    @property
    def _added(self) -> list[str]:
        """What the user left open, as words of a command line."""
        return [f"--{name}={v}" for name, v in self.flags.items() if name not in self._given]

    @property
    def _name(self) -> str:
        return _FN_API_RUNNER if self.runner.lower() == "fnapirunner" else self.runner

    @property
    def _given(self) -> dict[str, str]:
        words = [word.removeprefix("--").partition("=") for word in _joined(self.options.beam)]
        return {name: value if assigned else "true" for name, assigned, value in words}

    @property
    def _master(self) -> str:
        return self._given.get(_MASTERS.get(self.kind, ""), "")

    @property
    def _has_no_master(self) -> bool:
        return LOCAL_MASTER.fullmatch(self._master) is not None

    @property
    def _in_process(self) -> bool:
        """Whether the runner starts its cluster in a process of the driver's."""
        is_cluster = self.kind in _MASTERS and not self.job_endpoint
        return is_cluster and self._has_no_master


def _joined(words: Sequence[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    joined: list[str] = []
    for word in words:
        if word.startswith("--") or not joined:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined
