"""run.json: what a run read, did and found, written and read here alone."""

import hashlib
import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

RUN = "run.json"
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Schema:
    """The columns that were read; `keys` are their types by name."""

    features: list[str]
    layout: str
    keys: dict[str, str]
    weight: str | None


@dataclass(frozen=True)
class BadColumn:
    """How many rows, and of how many files, had a column bad for one reason."""

    column: str
    reason: str
    rows: int
    files: int


@dataclass(frozen=True)
class BadRows:
    """How many rows of a file had a column bad for one reason."""

    file: str
    column: str
    reason: str
    rows: int


@dataclass(frozen=True)
class Counts:
    """What was read; `weight` is of the rows that have a label.

    Of the files with bad rows, `bad` names the worst by column and reason.
    """

    files: int
    row_groups: int
    blocks: int
    rows: int
    bad_rows: int
    bad: list[BadRows]
    weight: float
    sample_rows: int
    bad_columns: list[BadColumn] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """A table whose log told which files are valid, at the snapshot that was read."""

    format: str
    folder: str
    snapshot: str


@dataclass(frozen=True)
class Input:
    """The files that were read: their identity as one digest, and their size."""

    fingerprint: str
    bytes: int
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """A start that was trained on a sample.

    `expected_cost` is what the sample says that all rows cost, `cost` what they do (null where no
    iteration has seen it); it was trained `trainings` times.
    """

    trainings: int
    expected_cost: float
    cost: float | None


@dataclass(frozen=True)
class Result:
    """What came out; `cost` is that of the labels, `precision` that of the points trained on.

    `explained` is the share of the rows' variance that is not within clusters, where it is known;
    `cost_unit` says what the cost of a row is.
    """

    k: int
    iterations: int
    status: str
    cost: float
    relocated: int
    precision: str | None = None
    start: Start | None = None
    explained: float | None = None
    cost_unit: str = ""


@dataclass(frozen=True)
class Digests:
    """By which answers are known to be the same to the bit.

    That of the labels is of the rows by key, or place, and label, in whatever order.
    """

    prototypes: str
    history: str
    labels: str


@dataclass(frozen=True)
class Gate:
    """A bound that was set on a figure; one whose `value` is not known, and null, passes."""

    text: str
    value: float | None
    passed: bool


@dataclass(frozen=True)
class Drift:
    """A cluster that an earlier output has too.

    `move` is how far its prototype went, in units of the cluster's spread; null without a spread.
    """

    label: int
    previous_rows: int
    rows: int
    move: float | None


@dataclass(frozen=True)
class Match:
    """How the clusters go on from those of an earlier output.

    Attributes:
        previous: the earlier output.
        labels: the clusters that both have.
        new: labels that the earlier output has not.
        gone: labels that it has, and that are never given again.
        moved_share: of the keys that both have, those whose label is another; null where unknown.
        previous_cost_per_weight: of the earlier output, in its own units.
    """

    previous: str
    labels: list[Drift]
    new: list[int]
    gone: list[int]
    moved_share: float | None
    previous_cost_per_weight: float


@dataclass(frozen=True)
class Scatter:
    """What the coordinates in scatter.parquet are."""

    x: str
    y: str


@dataclass(frozen=True)
class ClusterFigures:
    """A cluster: its rows, and its cost per unit of weight (null where it has none)."""

    label: int
    rows: int
    cost_per_weight: float | None


@dataclass(frozen=True)
class Compared:
    """The run that this one is held against: `what` it is, where, and its figures.

    `costs` are those of its iterations, per unit of weight like the others.
    """

    what: str
    path: str
    run_id: str
    rows: int
    bad_rows: int
    cost_per_weight: float | None
    seconds: float | None
    costs: list[float]
    clusters: list[ClusterFigures]


@dataclass(frozen=True)
class RunRecord:
    """A run, as run.json has it.

    Attributes:
        seconds: by stage, of the process from its start (`total`) and to the first stage
            (`start`); under `iterations` a list of each iteration's, and under `jobs` with which
            of them Beam jobs began.
        counters: what the workers counted, by name.
        workers: who answered before the first pass.
        gates: the bounds that were set, and whether they hold.
        match: how the clusters go on from an earlier output; null where there is none.
        previous_seconds: what that one took.
        highest_label: the highest number that was ever given to a cluster, by this run or those
            that it goes on from.
    """

    run_id: str
    command: list[str]
    configuration: dict[str, Any]
    schema: Schema
    counts: Counts
    versions: dict[str, str]
    input: Input
    seconds: dict[str, Any]
    counters: dict[str, Any]
    workers: list[dict[str, Any]]
    warnings: list[str]
    result: Result
    scatter: Scatter
    digests: Digests | None = None
    gates: list[Gate] = field(default_factory=list)
    match: Match | None = None
    previous_seconds: float | None = None
    compared: Compared | None = None
    highest_label: int | None = None

    @property
    def cost_per_weight(self) -> float | None:
        """The final cost per unit of weight."""
        return self.result.cost / self.counts.weight if self.counts.weight else None

    def to_json(self) -> bytes:
        """The content of run.json, with its checksum; a number that JSON has not is null."""
        told = _finite(asdict(self))
        return json.dumps(told | {_CHECKSUM: _checksum(told)}, indent=1, allow_nan=False).encode()

    @classmethod
    def parse(cls, text: bytes | str) -> "RunRecord":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is not JSON, a field is not there, or the checksum is of something else.
        """
        told = json.loads(text)
        written = told.pop(_CHECKSUM, None) if isinstance(told, dict) else None
        if written is not None and written != _checksum(told):
            raise ValueError("it is not what was written there, by its checksum")
        return _built(cls, told, "it")


def _checksum(told: dict[str, Any]) -> str:
    """Of what a record tells, however it is spaced; earlier versions wrote none."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _finite(value: Any) -> Any:
    """A value of JSON's kinds, in which no number is infinite or NaN."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _built(kind: Any, value: Any, place: str) -> Any:
    """A dataclass of what JSON has for it; anything else as it is."""
    if get_origin(kind) is UnionType:  # a dataclass or null
        return None if value is None else _built(get_args(kind)[0], value, place)
    if get_origin(kind) is list and is_dataclass(get_args(kind)[0]):
        return [_built(get_args(kind)[0], entry, place) for entry in value]
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{place} is no object")
    required = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{place} has no {missing[0]!r}")
    types = get_type_hints(kind)
    return kind(
        **{name: _built(types[name], value[name], repr(name)) for name in types if name in value}
    )
