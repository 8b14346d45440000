"""The files of the output folder, beside the labels."""

import hashlib
import posixpath
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pyarrow as pa

from kmeans_tf.exact import to_float
from kmeans_tf.figures import FIGURES, Figures, Trials
from kmeans_tf.model import Model
from kmeans_tf.runtime import load
from kmeans_tf.state import RUNNING, Proof, Trial
from pipeline.data.columns import Columns
from pipeline.data.names import figure_names
from pipeline.data.plan import Plan
from pipeline.output.earlier import Earlier
from pipeline.output.run_record import (
    RUN,
    BadColumn,
    BadRows,
    Digests,
    Result,
    RunRecord,
    Start,
)
from pipeline.output.scatter import scatter_table
from pipeline.output.tables import Tables
from pipeline.output.tensorboard import write_tensorboard
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.loading import loading
from pipeline.passes.totals import LabelTotals

_WORST = 3  # files with bad rows that run.json names, by column and reason


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        plan: what was read.
        model: the prototypes.
        trials: how they were trained; None where the model is an earlier run's.
        totals: what the label pass counted.
        sample: (m, d) float64 rows for the scatter.
        precision: of the points that were trained on; None where none were.
        features: see `feature_table`; None where no row was summarised.
    """

    plan: Plan
    model: Model
    trials: Trials | None
    totals: LabelTotals
    sample: np.ndarray
    precision: str | None = None
    features: pa.Table | None = None

    @property
    def trial(self) -> Trial | None:
        """The one that was chosen."""
        return self.trials.best if self.trials else None

    @property
    def cluster_costs(self) -> np.ndarray:
        """(k,) float64 costs in the (scaled) input's units, from the labels themselves."""
        return np.array([to_float(cost) for cost in self.totals.cost])

    @property
    def cost(self) -> float:
        return to_float(sum(self.totals.cost))

    @property
    def weight(self) -> float:
        return to_float(sum(self.totals.weight))

    @property
    def result(self) -> Result:
        """The figures of run.json."""
        trial = self.trial
        return Result(
            k=len(self.model.prototypes),
            iterations=trial.iterations if trial else 0,
            status=_status(trial),
            cost=self.cost,
            relocated=sum(trial.relocated) if trial else 0,
            precision=self.precision,
            start=_start(trial.proof) if trial and trial.proof else None,
            explained=self.explained,
            cost_unit=_cost_unit(self.model),
        )

    @property
    def digests(self) -> Digests:
        """Of what the run found."""
        model, trials = self.model, self.trials.trials if self.trials else ()
        history = [column for trial in trials for column in (trial.costs, trial.relocated)]
        return Digests(
            prototypes=_sha256(model.labels.tobytes(), model.prototypes.tobytes()),
            history=_sha256(*(np.asarray(column, np.float64).tobytes() for column in history)),
            labels=f"{self.totals.digest:032x}",
        )

    @property
    def explained(self) -> float | None:
        """The share of the variance that is between clusters; None where it is not known."""
        if self.features is None or self.model.metric != "sqeuclidean":
            return None
        variance = np.sum((self.features["standard_deviation"].to_numpy() * self.model.scale) ** 2)
        total = float(variance) * self.weight
        return 1 - self.cost / total if total > 0 else None


def _cost_unit(model: Model) -> str:
    if model.metric == "sqeuclidean":
        scaled = (model.scale != 1).any()
        return (
            f"squared distance in {'standard deviations' if scaled else 'the units of the input'}"
        )
    return "cosine distance" if model.metric == "cosine" else f"{model.metric} of a row"


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _status(trial: Trial | None) -> str:
    """How the training ended; 'given' where there was none."""
    return trial.status if trial and trial.status != RUNNING else "given"


def _start(proof: Proof) -> Start:
    return Start(proof.trainings, proof.expected_cost, proof.cost)


def write_results(
    work: WorkFolder, results: Results, run: RunRecord, tensorboard: str | None = None
) -> dict[str, str]:
    """Writes everything but the labels and the model below the work folder.

    Args:
        tensorboard: a folder for TensorBoard, if it is wanted.

    Returns:
        The path of every file of the output but the model's, the labels too, by the name it is to
        have.
    """
    earlier = Earlier.find(work.store, run)
    scatter, places = scatter_table(
        results.plan.columns,
        results.model,
        results.sample,
        earlier.tables.prototypes if earlier and run.match else None,
    )
    run = replace(run, scatter=scatter, compared=earlier.compared(run) if earlier else None)
    tables = Tables(
        history_table(results.trials),
        prototypes_table(results),
        results.features if results.trial or not earlier else earlier.tables.features,
        places,
        typical_table(results),
        trials_table(results.trials, results.cost) if results.trials else None,
        bad_rows_table(results.totals) if results.totals.bad else None,
    )
    if tensorboard:
        write_tensorboard(tensorboard, tables)
    page = _drawing().render_report(run, tables)
    files = dict(tables.files()) | {RUN: run.to_json(), "report.html": page.encode()}
    for name, data in files.items():
        work.store.write(work.file(name), data)
    labels = {posixpath.join("labels", n): path for n, path in sorted(results.totals.parts.items())}
    return labels | {name: work.file(name) for name in files}


def save_model(work: WorkFolder, model: Model) -> dict[str, str]:
    """Saves a model below the work folder.

    Returns:
        The path of every file of it by the name it is to have in the output.
    """
    place = work.file("model")
    work.store.delete(place)
    with work.store.local_folder(place) as folder:
        model.save(folder)
    names = [f"model/{file.below}" for file in work.store.files(place, recursive=True)]
    return {name: work.file(name) for name in names}


def load_drawing_ahead() -> None:
    """Loads what draws the report, in a thread, once TensorFlow is loaded."""

    def begin() -> None:
        load()
        _drawing()

    threading.Thread(target=begin, name="load_drawing").start()


def _drawing() -> ModuleType:
    """The report's module, with which matplotlib is loaded."""
    with loading():
        from pipeline.output import report
    return report


def history_table(trials: Trials | None) -> pa.Table:
    """trial, iteration, cost and how many empty clusters were given another row.

    The schema's metadata has the trials' statuses, one after the other.
    """
    tried = trials.trials if trials else ()
    rows = [
        (number, iteration, cost, relocated)
        for number, trial in enumerate(tried)
        for iteration, (cost, relocated) in enumerate(
            zip(trial.costs, trial.relocated, strict=True)
        )
    ]
    kinds = {
        "trial": pa.int32(),
        "iteration": pa.int32(),
        "cost": pa.float64(),
        "relocated": pa.int32(),
    }
    statuses = {"status": " ".join(map(_status, tried))}
    return _table(kinds, rows).replace_schema_metadata(statuses)


def trials_table(trials: Trials, cost: float) -> pa.Table:
    """What was tried, and its figures (see `kmeans_tf.figures`); of a single one its cost alone."""
    rows = []
    for number, trial in enumerate(trials.trials):
        k, restart = len(trial.prototypes), number % trials.restarts
        figures = trials.figures[number] if trials.figures else Figures(cost)
        told = [getattr(figures, name) for name in FIGURES]
        chosen = number == trials.chosen
        rows.append((number, k, restart, trial.iterations, trial.status, *told, chosen))
    kinds = {
        "trial": pa.int32(),
        "k": pa.int32(),
        "restart": pa.int32(),
        "iterations": pa.int32(),
        "status": pa.string(),
        **dict.fromkeys(FIGURES, pa.float64()),
        "chosen": pa.bool_(),
    }
    return _table(kinds, rows)


def _table(kinds: dict[str, pa.DataType], rows: Sequence[tuple]) -> pa.Table:
    """A table of some rows."""
    columns = zip(*rows, strict=True) if rows else [()] * len(kinds)
    values = zip(kinds.items(), columns, strict=True)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in values})


def prototypes_table(results: Results) -> pa.Table:
    """label, rows, weight, cost, and the prototypes in the input's units.

    A figure of which a feature has the name has another, see `figure_names`.
    """
    totals, columns = results.totals, results.plan.columns
    figures = {
        "label": pa.array(results.model.labels),
        "rows": pa.array(totals.rows),
        "weight": pa.array([to_float(weight) for weight in totals.weight], pa.float64()),
        "cost": pa.array(results.cluster_costs),
    }
    names = figure_names(columns.features)
    table = {names[figure]: values for figure, values in figures.items()}
    return pa.table(table | _feature_columns(columns, results.model.prototypes))


def typical_table(results: Results) -> pa.Table:
    """label, distance, file, row, keys (as text) of the rows nearest to each prototype."""
    rows = [
        (int(results.model.labels[prototype]), row.distance, row.file, row.row, list(row.keys))
        for prototype, near in sorted(results.totals.typical.rows.items())
        for row in near
    ]
    kinds = {
        "label": pa.int32(),
        "distance": pa.float64(),
        "file": pa.string(),
        "row": pa.int64(),
        "keys": pa.list_(pa.string()),
    }
    return _table(kinds, rows)


def _feature_columns(columns: Columns, rows: np.ndarray) -> dict[str, pa.Array]:
    if columns.is_list:
        values = pa.array(rows.ravel())
        return {columns.features[0]: pa.FixedSizeListArray.from_arrays(values, rows.shape[1])}
    return {name: pa.array(rows[:, j]) for j, name in enumerate(columns.features)}


def key_types(plan: Plan) -> dict[str, str]:
    """The types of the keys by name."""
    return {field.name: str(field.type) for field in plan.columns.key_fields}


def bad_rows_table(totals: LabelTotals) -> pa.Table:
    """file, column, reason, rows: the bad rows wherever they are."""
    counted = [(*place, rows) for place, rows in sorted(totals.bad.items())]
    columns = [pa.array(column) for column in zip(*counted, strict=True)]
    return pa.table(columns, names=["file", "column", "reason", "rows"])


def bad_rows(totals: LabelTotals) -> tuple[list[BadColumn], list[BadRows]]:
    """The bad rows by column and reason, and the files with most of each."""
    of_column: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for (file, column, reason), rows in totals.bad.items():
        of_column[column, reason].append((-rows, file))
    columns, worst = [], []
    for (column, reason), files in sorted(of_column.items()):
        rows = -sum(negative for negative, _ in files)
        columns.append(BadColumn(column, reason, rows, len(files)))
        worst += [BadRows(f, column, reason, -n) for n, f in sorted(files)[:_WORST]]
    return columns, sorted(worst, key=lambda bad: (bad.file, bad.column, bad.reason))
