"""What an earlier run has left: prototypes to start from, a model, the files of a report."""

import io
import posixpath
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmeans_tf import Model
from pipeline.data.inputs import Columns
from pipeline.data.rows import to_float64
from pipeline.data.store import Store
from pipeline.errors import UsageError
from pipeline.output.run_record import RunRecord


@dataclass(frozen=True)
class InitialPrototypes:
    """Prototypes to start from.

    Attributes:
        rows: (k, d) float64, in the input's units.
        labels: (k,) int32.
    """

    rows: np.ndarray
    labels: np.ndarray


def read_prototypes(store: Store, path: str, columns: Columns) -> InitialPrototypes:
    """Reads `--init PATH`: a Parquet or npy file of prototypes, or an earlier output folder.

    Raises:
        UsageError: there are none, they are not finite, or not of the features' width.
    """
    file = posixpath.join(path, "prototypes.parquet") if store.is_folder(path) else path
    if not store.version(file):
        raise UsageError(f"--init {path}: no such file, nor k-means++ or random")
    try:
        rows, labels = _read_prototypes(store.read(file), columns, npy=file.endswith(".npy"))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UsageError(f"--init {file}: not prototypes: {str(error).splitlines()[0]}") from error
    if rows.ndim != 2 or rows.shape[1] != columns.dimension:
        raise UsageError(
            f"--init {file}: prototypes of shape {rows.shape}, expected (k, {columns.dimension})"
        )
    if not (len(rows) and np.isfinite(rows).all()):
        raise UsageError(f"--init {file}: prototypes must be finite numbers, at least one row")
    if len(set(labels.tolist())) < len(labels):
        raise UsageError(f"--init {file}: two prototypes have the same label")
    return InitialPrototypes(rows, labels)


def _read_prototypes(data: bytes, columns: Columns, *, npy: bool) -> tuple[np.ndarray, np.ndarray]:
    if npy:
        rows = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
        return rows, np.arange(len(rows), dtype=np.int32)
    table = pq.read_table(pa.BufferReader(data))
    labels = np.arange(len(table), dtype=np.int32)
    if "label" in table.column_names:
        labels = table.column("label").to_numpy().astype(np.int32)
    named = [table.column(name).combine_chunks() for name in columns.features]
    if columns.is_list:
        return np.array(named[0].to_pylist(), np.float64), labels
    return np.stack([to_float64(column) for column in named], 1), labels


def load_model(store: Store, path: str) -> Model:
    """The model in a folder, or in the `model` folder of an output.

    Raises:
        UsageError: there is none.
    """
    folder = path.rstrip("/")
    candidates = [folder, f"{folder}/model"]
    saved = [place for place in candidates if store.version(f"{place}/saved_model.pb")]
    if not saved:
        raise UsageError(f"--model {folder}: no saved_model.pb there or in its model folder")
    with tempfile.TemporaryDirectory() as copy:
        store.download(saved[0], Path(copy))
        try:
            return Model.load(copy)
        except ValueError as error:
            reason = str(error).splitlines()[0].replace(copy, saved[0])
            raise UsageError(f"--model {reason}") from error


def read_run(store: Store, folder: str) -> tuple[RunRecord, pa.Table, pa.Table]:
    """run.json, the history and the prototypes of an output.

    Raises:
        UsageError: the folder is not an output of the job.
    """
    names = ("run.json", "history.parquet", "prototypes.parquet")
    paths = [posixpath.join(folder, name) for name in names]
    missing = [path for path in paths if not store.version(path)]
    if missing:
        raise UsageError(f"report {folder}: not an output of this job: {missing[0]} is not there")
    run, history, prototypes = (store.read(path) for path in paths)
    try:
        record = RunRecord.parse(run)
    except ValueError as error:
        raise UsageError(f"report {folder}: {paths[0]} cannot be read: {error}") from error
    history_table, prototypes_table = (
        pq.read_table(pa.BufferReader(data)) for data in (history, prototypes)
    )
    return record, history_table, prototypes_table
