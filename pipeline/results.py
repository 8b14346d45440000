"""The files of the output folder, beside the labels."""

import json
import posixpath
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf.exact import to_float
from kmeans_tf.model import Model
from kmeans_tf.state import Trial
from pipeline.attempt import Attempt
from pipeline.checkpoint import LabelTotals, WorkFolder
from pipeline.counters import by_name
from pipeline.errors import UsageError
from pipeline.inputs import Columns
from pipeline.label import label_schema
from pipeline.plan import Plan
from pipeline.report import render_report
from pipeline.store import Store

SCATTER_POINTS = 2000
_PACKAGES = ("kmeans-tf", "tensorflow", "numpy", "apache-beam", "pyarrow")


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        plan: what was read.
        model: the prototypes.
        trial: how they were trained; None where they were given.
        totals: what the label pass counted.
        sample: (m, d) float64 rows for the scatter.
    """

    plan: Plan
    model: Model
    trial: Trial | None
    totals: LabelTotals
    sample: np.ndarray

    @property
    def cluster_costs(self) -> np.ndarray:
        """(k,) float64 costs in the (scaled) input's units, from the labels themselves."""
        unit = self.model.frame.unit
        return np.array([to_float(cost) / unit / unit for cost in self.totals.cost])

    @property
    def cost(self) -> float:
        unit = self.model.frame.unit
        return to_float(sum(self.totals.cost)) / unit / unit

    @property
    def status(self) -> str:
        return "given" if self.trial is None or not self.trial.costs else self.trial.status


def write_results(
    store: Store, work: WorkFolder, results: Results, run: dict, *, with_model: bool
) -> dict[str, str]:
    """Writes everything but the labels below the work folder.

    Returns:
        The path of every file of the output, the labels too, by the name it is to have.
    """
    history = history_table(results.trial)
    prototypes = prototypes_table(results)
    run = run | {"result": _result(results), "scatter": _scatter(results)}
    files = {
        "prototypes.parquet": _parquet(prototypes),
        "history.parquet": _parquet(history),
        "run.json": json.dumps(run, indent=1).encode(),
        "report.html": render_report(run, history, prototypes).encode(),
    }
    for name, data in files.items():
        store.write(work.file(name), data)
    names = list(files)
    if with_model:
        names += _write_model(store, work, results.model)
    labels = {posixpath.join("labels", n): path for n, path in sorted(results.totals.parts.items())}
    return labels | {name: work.file(name) for name in names}


def history_table(trial: Trial | None) -> pa.Table:
    """trial, iteration, cost and how many empty clusters were given another row."""
    costs, relocated = (trial.costs, trial.relocated) if trial else ((), ())
    return pa.table(
        {
            "trial": pa.array(np.zeros(len(costs), np.int32)),
            "iteration": pa.array(np.arange(len(costs), dtype=np.int32)),
            "cost": pa.array(costs, pa.float64()),
            "relocated": pa.array(relocated, pa.int32()),
        }
    )


def prototypes_table(results: Results) -> pa.Table:
    """label, rows, weight, cost, and the prototypes in the input's units."""
    totals, columns = results.totals, results.plan.columns
    table = {
        "label": pa.array(results.model.labels),
        "rows": pa.array(totals.rows),
        "weight": pa.array([to_float(weight) for weight in totals.weight], pa.float64()),
        "cost": pa.array(results.cluster_costs),
    }
    return pa.table(table | _feature_columns(columns, results.model.prototype_rows))


def _feature_columns(columns: Columns, rows: np.ndarray) -> dict[str, pa.Array]:
    if columns.is_list:
        values = pa.array(rows.ravel())
        return {columns.features[0]: pa.FixedSizeListArray.from_arrays(values, rows.shape[1])}
    return {name: pa.array(rows[:, j]) for j, name in enumerate(columns.features)}


def describe_run(attempt: Attempt, totals: LabelTotals, warnings: Sequence[str] = ()) -> dict:
    """run.json, less what the results add to it."""
    plan, columns = attempt.plan, attempt.plan.columns
    types = {
        key: str(label_schema(columns, plan.footers[0]).field(key).type) for key in columns.keys
    }
    stages = dict.fromkeys(("scan", "seed", "train", "label"), 0.0) | attempt.clock.seconds
    now = datetime.now(timezone.utc)
    return {
        "run_id": f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        "command": ["kmeans-tf", *sys.argv[1:]],
        "configuration": attempt.configuration | attempt.runner.settings.used,
        "schema": {
            "features": list(columns.features),
            "layout": "list" if columns.is_list else "scalars",
            "keys": types,
            "weight": columns.weight,
        },
        "counts": {
            "files": len(plan.footers),
            "row_groups": plan.row_groups,
            "blocks": len(plan.blocks),
            "rows": totals.all_rows,
            "bad_rows": totals.bad_rows,
            "bad": [
                {"file": file, "column": column, "reason": reason, "rows": rows}
                for (file, column, reason), rows in sorted(totals.bad.items())
            ],
            "weight": to_float(sum(totals.weight)),
            "sample_rows": 0,
        },
        "versions": {"python": sys.version.split()[0]} | versions(),
        "input": {"fingerprint": plan.fingerprint(), "bytes": plan.nbytes},
        "seconds": stages | {"iterations": []},
        "counters": by_name(attempt.counters),
        "workers": [asdict(worker) for worker in attempt.workers],
        "warnings": list(warnings),
    }


def versions() -> dict[str, str]:
    """The versions of what the job runs on."""
    return {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def draw_report(store: Store, folder: str) -> None:
    """Writes report.html again from what a run left.

    Raises:
        UsageError: the folder is not an output of the job.
    """
    paths = [
        posixpath.join(folder, n) for n in ("run.json", "history.parquet", "prototypes.parquet")
    ]
    missing = [path for path in paths if not store.version(path)]
    if missing:
        raise UsageError(f"report {folder}: not an output of this job: {missing[0]} is not there")
    run, history, prototypes = (store.read(path) for path in paths)
    tables = [pq.read_table(pa.BufferReader(data)) for data in (history, prototypes)]
    html = render_report(json.loads(run), *tables)
    store.write(posixpath.join(folder, "report.html"), html.encode())


def _result(results: Results) -> dict:
    trial = results.trial
    return {
        "k": len(results.model.prototypes),
        "iterations": trial.iterations if trial else 0,
        "status": results.status,
        "cost": results.cost,
        "relocated": sum(trial.relocated) if trial else 0,
    }


def _scatter(results: Results) -> dict:
    """Two coordinates of some rows and of the prototypes: features, or principal components."""
    columns, model = results.plan.columns, results.model
    rows = results.sample[:SCATTER_POINTS]
    prototypes = model.prototype_rows
    names = list(columns.features)
    if not len(rows):
        return {"x": "", "y": "", "points": [], "prototypes": []}
    axes = np.eye(columns.dimension)[:, :2]
    if columns.dimension > 2:
        names = ["principal component 1", "principal component 2"]
        mean = rows.mean(0)
        axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:2].T
        rows, prototypes = rows - mean, prototypes - mean
    elif columns.dimension == 1:
        names, axes = [*names, ""], np.array([[1.0, 0.0]])
    elif columns.is_list:
        names = [f"{names[0]}[0]", f"{names[0]}[1]"]
    labels, _ = model.label(results.sample[:SCATTER_POINTS])
    return {
        "x": names[0],
        "y": names[1],
        "points": _placed(rows @ axes, labels),
        "prototypes": _placed(prototypes @ axes, model.labels),
    }


def _placed(places: np.ndarray, labels: np.ndarray) -> list[list]:
    pairs = zip(places.tolist(), labels.tolist(), strict=True)
    return [[*place, label] for place, label in pairs]


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _write_model(store: Store, work: WorkFolder, model: Model) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        store.delete(work.file("model"))
        store.upload(Path(folder), work.file("model"))
        files = (p for p in Path(folder).rglob("*") if p.is_file())
        return sorted(f"model/{p.relative_to(folder).as_posix()}" for p in files)
