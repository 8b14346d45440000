"""How jobs run: what the user gave, else what the cluster says of itself, else by runner."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SparkRunnerOptions,
    WorkerOptions,
)
from apache_beam.runners import create_runner

from pipeline.command_line.beam_options import beam_parser
from pipeline.command_line.options import ALWAYS, AUTO, RunOptions
from pipeline.data.addresses import masked_words
from pipeline.errors import UsageError
from pipeline.passes.cores import cores
from pipeline.runners import endpoints
from pipeline.runners.flink import FlinkCluster
from pipeline.runners.views import RememberedOptions

_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# Workers of a cluster are a pool beside each of its hosts, and live through the pauses of a job.
_POOL = {
    "environment_type": "EXTERNAL",
    "environment_config": "localhost:50000",
    "environment_cache_millis": "60000",
}
_IN_MEMORY, _PROCESSES = "in_memory", "multi_processing"  # how Beam's own runners may run
_FIRST_ITERATIONS, _MOST_ITERATIONS = 4, 20  # of a job in the driver's own process
_LEAST_START_SECONDS = 120
_IN_PARTS = {"environment_option", "environment_options"}  # instead of environment_config


@dataclass(frozen=True)
class RunnerKind:
    """What is known of a runner: what it gets where the user says nothing, and what it needs.

    Attributes:
        iterations_per_job: more where starting a job is costly, fewer where a large graph is.
        flags: Beam's options by name.
        threads: chunks at once in a worker process; None: the driver's cores, shared by the
            processes.
        start_seconds: how long workers may take to answer.
        stall_seconds: how long a job may stand still, which counts from before its workers are
            there.
        master: the option that names its cluster.
        cluster: who is asked what the cluster says of itself, by its address.
        needs: options without which it cannot run.
        begins_in_driver: whether it runs on this machine where no address is given.
        embedded: whether the driver does the work, unless workers are asked for.
        check: raises an error where something that it needs is missing.
    """

    iterations_per_job: int = 10
    flags: dict[str, str] = field(default_factory=dict)
    threads: int | None = 1  # a cluster's task slot is a core
    start_seconds: int = 300
    stall_seconds: float = 600.0
    master: str | None = None
    cluster: type[FlinkCluster] | None = None
    needs: tuple[str, ...] = ()
    begins_in_driver: bool = False
    embedded: bool = False
    check: Callable[[dict[str, str]], None] = lambda flags: None


_RUNNERS = {
    "fnapirunner": RunnerKind(threads=None, embedded=True),
    "directrunner": RunnerKind(threads=None),
    "prismrunner": RunnerKind(
        flags={"environment_type": "LOOPBACK"},
        threads=None,
        begins_in_driver=True,
        check=endpoints.check_prism,
    ),
    "flinkrunner": RunnerKind(
        flags=_POOL,
        master="flink_master",
        cluster=FlinkCluster,
        begins_in_driver=True,
        check=endpoints.check_flink,
    ),
    "sparkrunner": RunnerKind(
        iterations_per_job=20,
        flags=_POOL,
        master="spark_master_url",
        begins_in_driver=True,
        check=endpoints.check_spark,
    ),
    "portablerunner": RunnerKind(check=endpoints.check_portable),
    "dataflowrunner": RunnerKind(
        iterations_per_job=20,
        start_seconds=1200,
        stall_seconds=1800.0,
        needs=("project", "region", "temp_location"),
    ),
}
_NAMES = ("FnApi", "Direct", "Prism", "Flink", "Spark", "Portable", "Dataflow")
_ADDRESSES = (*(kind.master for kind in _RUNNERS.values() if kind.master), "job_endpoint")


# Which runners look at the options of one of Beam's groups.
_LOOKED_AT = {
    DirectOptions: ("fnapirunner", "directrunner"),
    PortableOptions: ("flinkrunner", "sparkrunner", "prismrunner", "portablerunner"),
    JobServerOptions: ("flinkrunner", "sparkrunner", "prismrunner", "portablerunner"),
    FlinkRunnerOptions: ("flinkrunner", "portablerunner"),
    SparkRunnerOptions: ("sparkrunner", "portablerunner"),
    PrismRunnerOptions: ("prismrunner",),
    GoogleCloudOptions: ("dataflowrunner",),
    WorkerOptions: ("dataflowrunner",),
}
# Of these groups, what Beam's workers look at wherever they run, and what is the job's own.
_EVERYWHERE = {
    *("job_name", "sdk_container_image", "worker_harness_container_image"),
    *("default_sdk_harness_log_level", "sdk_harness_log_level_overrides"),
    *("max_cache_memory_usage_mb", "element_processing_timeout_minutes"),
}


@dataclass(frozen=True)
class Settings:
    """How jobs run.

    Attributes:
        options: what the user gave.
        discovered: Beam's options by name, where the cluster itself says what they should be.
        task_slots: of a worker's host, where the cluster says so. Beam asks for one worker process
            on each, so it works on as many chunks at once.
    """

    options: RunOptions
    discovered: dict[str, str] = field(default_factory=dict)
    task_slots: int | None = None

    @property
    def runner(self) -> str:
        """The runner's name as the user gave it."""
        return self.options.runner

    def iterations_per_job(self, done: int) -> int:
        """How many iterations are unrolled in a job, after so many that were done.

        In the driver's own process a job starts at once, and a training may soon be over: there it
        has as many as were done, within limits.
        """
        if self.options.iterations_per_job:
            return self.options.iterations_per_job
        if self.one_process:
            return min(max(_FIRST_ITERATIONS, done), _MOST_ITERATIONS)
        return self._known.iterations_per_job

    @property
    def threads(self) -> int:
        """Chunks at once in a worker process."""
        if self.options.threads:
            return self.options.threads
        if self.task_slots and "sdk_worker_parallelism" not in self._user_flags:
            return self.task_slots
        if self._known.threads and not self._in_process:
            return self._known.threads
        processes = 1
        if self._direct.direct_running_mode == _PROCESSES:
            processes = self._direct.direct_num_workers or cores()
        return max(1, cores() // processes)

    @property
    def one_process(self) -> bool:
        """Whether the driver does the work too, and nobody else."""
        return self._known.embedded and self._direct.direct_running_mode == _IN_MEMORY

    @property
    def may_stage(self) -> bool:
        """Whether points go to files where memory does not hold them: within a machine."""
        if self.options.stage == AUTO:
            return self._known.threads is None
        return self.options.stage == ALWAYS

    @property
    def start_seconds(self) -> int:
        """How long workers may take to answer: runners wait for an absent one for ever.

        Hardly longer than a job may stand still.
        """
        patience = max(_LEAST_START_SECONDS, self.stall_seconds or math.inf)
        return int(min(self._known.start_seconds, patience))

    @property
    def stall_seconds(self) -> float:
        """How long a job may stand still before it is ended; 0: for ever."""
        given = self.options.stall_timeout
        return self._known.stall_seconds if given is None else given

    @property
    def flags(self) -> dict[str, str]:
        """Beam's options by name: the user's, else the cluster's, else the runner's defaults."""
        chosen = self._user_flags
        defaults = {} if self._in_process else self._known.flags
        if chosen.get("environment_type", "EXTERNAL") != "EXTERNAL" or _IN_PARTS & set(chosen):
            defaults = {n: v for n, v in defaults.items() if n != "environment_config"}
        return defaults | self.discovered | chosen

    @property
    def flink(self) -> FlinkCluster | None:
        """The Flink cluster that the jobs run on, where its address is known."""
        cluster = self._known.cluster
        return None if cluster is None or self._has_no_master else cluster(self._master)

    @property
    def job_endpoint(self) -> str | None:
        """Where a job service takes the jobs in, if it is not the driver's own."""
        endpoint = self._user_flags.get("job_endpoint")
        return None if endpoint == endpoints.EMBEDDED else endpoint

    @property
    def used(self) -> dict[str, object]:
        """What the run report says of how the job ran."""
        first, most = self.iterations_per_job(0), self.iterations_per_job(_MOST_ITERATIONS)
        return {
            "runner": self.runner,
            "iterations_per_job": first if first == most else f"{first} to {most}",
            "threads": self.threads,
            "stage": self.options.stage,
            "cache_mb": "auto" if self.options.cache_mb is None else self.options.cache_mb,
            "beam": masked_words([*self.options.beam, *self._added]),
        }

    @property
    def environment(self) -> str:
        """Which environment the workers have, in words."""
        kind = self.flags.get("environment_type", "the runner's own")
        place = self.flags.get("environment_config")
        return f"{kind} at {place}" if place else kind

    def beam(self, *more: str) -> PipelineOptions:
        """The options as Beam takes them; `more` words come last, and win."""
        words = [f"--runner={self._name}", *self.options.beam, *self._added, *more]
        return RememberedOptions(words)

    def check(self) -> None:
        """Raises a UsageError if there is no such runner."""
        try:
            create_runner(self._name)
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0] if "." in self.runner else _other_runner(self.kind)
            raise UsageError(f"--runner {self.runner}: {reason}") from error

    def connect(self) -> "Settings":
        """These settings, completed by what the cluster says of itself.

        Raises:
            UsageError: an option is missing or does not fit.
            RunError: what the runner needs is not there.
        """
        self._check_looked_at()
        flags, known = self.flags, self._known
        discovered, task_slots = self.flink.settings(flags) if self.flink else ({}, None)
        for name in known.needs:
            if not flags.get(name):
                raise UsageError(f"--runner {self.runner} needs --{name}")
        known.check(flags)
        addresses = [flags[name] for name in _ADDRESSES if name in flags]
        local = endpoints.is_local(addresses, begins_in_driver=known.begins_in_driver)
        if flags.get("environment_type") == "EXTERNAL" and local:
            endpoints.check_pool(flags)
        return replace(self, discovered=discovered, task_slots=task_slots)

    def _check_looked_at(self) -> None:
        """Raises a UsageError for an option that the runner does not look at.

        Whoever gives one thinks that the job runs elsewhere, or otherwise.
        """
        given = self._user_flags.keys()
        if not given or self.kind not in _RUNNERS:  # Beam takes a while to say what there is
            return
        for group, kinds in _LOOKED_AT.items():
            if self.kind in kinds:
                continue
            for name in (_names(group) & given) - _EVERYWHERE:
                others = " or ".join(f"{n}Runner" for n in _NAMES if f"{n.lower()}runner" in kinds)
                raise UsageError(
                    f"--{name}: --runner {self.runner} does not look at it, {others} would: leave "
                    "it out, or name that runner"
                )

    @property
    def kind(self) -> str:
        """The runner's class in lower case, however it was named: Flink, FlinkRunner, its path."""
        name = self.runner.lower().rpartition(".")[2]
        return name if name.endswith("runner") else f"{name}runner"

    @property
    def _known(self) -> RunnerKind:
        return _RUNNERS.get(self.kind, RunnerKind())

    @property
    def _direct(self) -> DirectOptions:
        return self.beam().view_as(DirectOptions)

    @property
    def _added(self) -> list[str]:
        """What the user left open, as words of a command line."""
        return [f"--{name}={v}" for name, v in self.flags.items() if name not in self._user_flags]

    @property
    def _name(self) -> str:
        return _FN_API_RUNNER if self.runner.lower() == "fnapirunner" else self.runner

    @property
    def _user_flags(self) -> dict[str, str]:
        words = [word.removeprefix("--").partition("=") for word in _joined(self.options.beam)]
        return {name: value if assigned else "true" for name, assigned, value in words}

    @property
    def _master(self) -> str:
        return self._user_flags.get(self._known.master or "", "")

    @property
    def _has_no_master(self) -> bool:
        return endpoints.LOCAL_MASTER.fullmatch(self._master) is not None

    @property
    def _in_process(self) -> bool:
        """Whether the runner starts its cluster in a process of the driver's."""
        is_cluster = self._known.master is not None and not self.job_endpoint
        return is_cluster and self._has_no_master


def _names(group: Any) -> set[str]:
    """What the options of a group are called, by all of their names."""
    return {name.removeprefix("--") for name in beam_parser([group])._option_string_actions}


def _other_runner(kind: str) -> str:
    """What to say of a runner that there is not, by its name in lower case."""
    names = {name.lower(): f"{name}Runner" for name in _NAMES}
    near = difflib.get_close_matches(kind.removesuffix("runner"), names, 1)
    if near:
        return f"no such runner: did you mean {names[near[0]]}?"
    return f"no such runner: there are {', '.join(names.values())}"


def _joined(words: Sequence[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    joined: list[str] = []
    for word in words:
        if word.startswith("--") or not joined:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined
