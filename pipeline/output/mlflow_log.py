"""A published answer as a run of MLflow: an extra, loaded when it is asked for."""

import contextlib
import importlib.util
import io
import json
import logging
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from kmeans_tf import __version__
from pipeline.data.addresses import masked
from pipeline.data.store import Store
from pipeline.errors import UsageError
from pipeline.output.run_record import RUN, RunRecord
from pipeline.output.tables import Tables

EXPERIMENT = "kmeans-tf"
_LONGEST = 500  # letters of a parameter, which MLflow has always taken
_MOST_METRICS = 1000  # in a request
_LOADER = "pipeline.output.mlflow_model"
_PACKAGES = ("mlflow", "pandas")
_SETTINGS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder was named
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is down holds nobody up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def check_mlflow() -> None:
    """Raises a UsageError where MLflow is not installed."""
    try:
        found = all(map(importlib.util.find_spec, _PACKAGES))
    except ValueError:  # somebody has put something else in its place
        found = False
    if not found:
        raise UsageError("--mlflow needs MLflow: pip install 'kmeans-tf[mlflow]'")


def log_to_mlflow(uri: str, store: Store, folder: str) -> str:
    """Logs an output as a run of its own, under the name of its `run_id`.

    Args:
        uri: of the tracking server, or a folder.
        store: where the output lies.
        folder: the output.

    Returns:
        MLflow's id of the run.

    Raises:
        Exception: whatever MLflow, or the server, has to say.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    run = RunRecord.parse(store.read(f"{folder}/{RUN}"))
    tables = Tables.read(store, folder)
    with _quietly(), store.local_copy(folder) as copy:
        import mlflow
        from mlflow.entities import Metric

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=run.run_id) as active:
            mlflow.log_params(parameters(run))
            for name in (RUN, "report.html"):
                mlflow.log_artifact(f"{copy}/{name}")
            if store.version(f"{folder}/model/saved_model.pb"):
                mlflow.pyfunc.log_model(
                    name="model",
                    loader_module=_LOADER,
                    data_path=f"{copy}/model",
                    pip_requirements=[f"kmeans-tf=={__version__}"],
                )
            # Last: a model that is logged after metrics logs them anew.
            now, told = time.time_ns() // 1_000_000, figures(run, tables).items()
            metrics = [Metric(name, value, now, 0) for name, value in told]
            metrics += [Metric("iteration_cost", c, now, i) for i, c in enumerate(_costs(tables))]
            for start in range(0, len(metrics), _MOST_METRICS):
                some = metrics[start : start + _MOST_METRICS]
                mlflow.MlflowClient().log_batch(active.info.run_id, some)
            return active.info.run_id


def parameters(run: RunRecord) -> dict[str, str]:
    """The configuration, as texts that MLflow takes."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in run.configuration.items()
        if value not in (None, "", [])
    }
    return {name: masked(text)[:_LONGEST] for name, text in texts.items()}


def figures(run: RunRecord, tables: Tables) -> dict[str, float]:
    """What came out, where it is known."""
    known: dict[str, Any] = {
        "cost": run.result.cost,
        "cost_per_weight": run.cost_per_weight,
        "explained": run.result.explained,
        "k": run.result.k,
        "iterations": run.result.iterations,
        "rows": run.counts.rows,
        "bad_rows": run.counts.bad_rows,
        "moved_share": run.match.moved_share if run.match else None,
        "seconds": run.seconds.get("total"),
    }
    if tables.trials is not None:
        [chosen] = tables.trials.filter(tables.trials["chosen"]).to_pylist()
        known |= {name: chosen[name] for name in ("silhouette", "davies_bouldin")}
    return {name: float(n) for name, n in known.items() if n is not None and math.isfinite(n)}


def _costs(tables: Tables) -> list[float]:
    """By iteration, of the trial that was chosen."""
    history, trials = tables.history, tables.trials
    if trials is None:
        return history["cost"].to_pylist()
    [number] = trials.filter(trials["chosen"])["trial"].to_pylist()
    return history.filter(pc.equal(history["trial"], number))["cost"].to_pylist()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps MLflow's own lines from the terminal."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logger.setLevel(level)
