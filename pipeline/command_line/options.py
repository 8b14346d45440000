"""The options of each command: what may be asked for, and what is assumed where nothing is."""

from dataclasses import asdict, dataclass
from datetime import date

from pipeline.command_line.gates import Bound
from pipeline.command_line.moments import Deadline
from pipeline.data.addresses import masked
from pipeline.data.names import ColumnNames

DEFAULT_K = 8
DEFAULT_RUNNER = "FnApiRunner"
METRIC_NAMES = ("sqeuclidean", "cosine", "l1")
AUTO, ALWAYS, NEVER = "auto", "always", "never"
TEXT, JSON = "text", "json"


@dataclass(frozen=True)
class RunOptions:
    """How the job runs; nothing here changes the answer.

    Attributes:
        runner: Beam's name of a runner.
        stage: when points go to files in the work folder: auto, always or never.
        cache_mb: megabytes of decoded blocks kept in a worker process; None: by its memory.
        iterations_per_job: iterations unrolled in one Beam job; None: by runner.
        threads: chunks at once in a worker process; None: by runner.
        check: only check that the job could run.
        stall_timeout: seconds that a job may stand still; 0: for ever; None: by runner.
        log_format: of the lines on standard error: text or json.
        tensorboard: a folder for TensorBoard; None for none.
        mlflow: where MLflow is told of the answer; None: nowhere.
        beam: Beam's own options, as they were parsed.
    """

    runner: str = DEFAULT_RUNNER
    stage: str = AUTO
    cache_mb: int | None = None
    iterations_per_job: int | None = None
    threads: int | None = None
    check: bool = False
    stall_timeout: float | None = None
    log_format: str = TEXT
    tensorboard: str | None = None
    mlflow: str | None = None
    beam: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputOptions:
    """Where the answer goes, and what to do with what is there."""

    output: str
    overwrite: bool = False
    resume: str = "auto"


@dataclass(frozen=True)
class FitOptions:
    """The options of `fit`."""

    input: str
    names: ColumnNames
    k: tuple[int, ...] | None
    init: str
    optimizer: str
    learning_rate: float | None
    reduction: str
    metric: str
    scale: str
    precision: str
    on_bad_row: str
    max_iterations: int
    tolerance: float
    seed: int
    restarts: int
    choose: str
    output: OutputOptions
    run: RunOptions
    match: str | None = None
    gates: tuple[Bound, ...] = ()
    deadline: Deadline | None = None
    day: date | None = None  # that stands in paths

    def configuration(self) -> dict:
        """The options that the answer depends on, by name.

        Not the deadline: a resumed run may have another.
        """
        skipped = ("output", "run", "names", "gates", "deadline", "day")
        chosen = {name: value for name, value in asdict(self).items() if name not in skipped}
        match = masked(self.match) if self.match else None
        places = {"input": masked(self.input), "init": masked(self.init), "match": match}
        return chosen | places | asdict(self.names)


@dataclass(frozen=True)
class LabelOptions:
    """The options of `label`."""

    input: str
    model: str
    metric: str | None
    names: ColumnNames
    on_bad_row: str | None
    output: OutputOptions
    run: RunOptions
    day: date | None = None  # that stands in paths

    def configuration(self) -> dict:
        """The options that the answer depends on, by name."""
        places = {"input": masked(self.input), "model": masked(self.model)}
        return places | {"on_bad_row": self.on_bad_row} | asdict(self.names)


@dataclass(frozen=True)
class ReportOptions:
    """The options of `report`."""

    folder: str


@dataclass(frozen=True)
class DiffOptions:
    """The options of `diff`."""

    one: str
    other: str


Options = FitOptions | LabelOptions | ReportOptions | DiffOptions


def default_init(optimizer: str) -> str:
    """The start where none is asked for."""
    return AUTO if optimizer == "lloyd" else "k-means++"
