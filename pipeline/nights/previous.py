"""What an earlier run has left: prototypes to start from, a model, the files of a report."""

import hashlib
import io
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
from pyarrow import types

from kmeans_tf import Model
from kmeans_tf.definition import LARGEST_LABEL
from kmeans_tf.saved_model import SETTINGS, read_settings
from pipeline.command_line.options import DEFAULT_K, FitOptions
from pipeline.console import say
from pipeline.data.columns import Columns
from pipeline.data.floats import as_numbers, to_float64
from pipeline.data.kinds import is_list, is_numeric, plain
from pipeline.data.names import figure_names, figures_among, instead_of, listed, meant
from pipeline.data.page_sums import whole_table
from pipeline.data.store import Store
from pipeline.errors import UsageError
from pipeline.output.publish import is_half_published
from pipeline.output.run_record import RUN, RunRecord
from pipeline.output.tables import REQUIRED, Tables

_NAMED = 5  # columns in a message


@dataclass(frozen=True)
class InitialPrototypes:
    """Prototypes to start from.

    Attributes:
        rows: (k, d) float64, in the input's units.
        labels: (k,) int32.
    """

    rows: np.ndarray
    labels: np.ndarray

    @property
    def digest(self) -> str:
        """Another for all others."""
        return hashlib.sha256(self.rows.tobytes() + self.labels.tobytes()).hexdigest()[:16]


def read_prototypes(
    store: Store, path: str, columns: Columns, option: str = "--init"
) -> InitialPrototypes:
    """Reads what `--init` names: a Parquet or npy file of prototypes, or an earlier output folder.

    A Parquet file's columns are taken by the features' names; where it has none of them but as
    many numeric columns, or one list column, they are taken as they stand, and a line says so.

    Args:
        option: which names it.

    Raises:
        UsageError: there are none, they are not finite, or not of the features' names or width;
            or a label is no whole number from 0 to 2**31 - 1, or appears twice.
    """
    file = posixpath.join(path, "prototypes.parquet") if store.is_folder(path) else path
    if not store.version(file):
        raise UsageError(f"{option} {path}: no such file, nor k-means++ or random")
    data, told = store.read(file), f"{option} {file}"
    try:
        if file.endswith(".npy"):
            rows, labels = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64), None
        else:
            rows, labels = _from_table(told, whole_table(data), columns)
    except (pa.ArrowException, KeyError, ValueError, OSError, EOFError) as error:
        raise UsageError(f"{told}: not prototypes: {str(error).splitlines()[0]}") from error
    if rows.ndim != 2 or rows.shape[1] != columns.dimension:
        raise UsageError(
            f"{told}: prototypes of shape {rows.shape}, expected (k, {columns.dimension})"
        )
    if not (len(rows) and np.isfinite(rows).all()):
        raise UsageError(f"{told}: prototypes must be finite numbers, at least one row")
    return InitialPrototypes(
        rows, np.arange(len(rows), dtype=np.int32) if labels is None else labels
    )


def _from_table(
    told: str, table: pa.Table, columns: Columns
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows (k, d) float64 and labels (k,) int32, None without a column of them."""
    names = _prototype_columns(told, table.schema, columns)
    label = figure_names(names)["label"]
    labels = _label_column(told, table.column(label)) if label in table.column_names else None
    taken = [as_numbers(table.column(name).combine_chunks()) for name in names]
    if len(taken) == 1 and is_list(taken[0].type):
        return np.array(taken[0].to_pylist(), np.float64), labels
    return np.stack([to_float64(column) for column in taken], 1), labels


def _prototype_columns(told: str, schema: pa.Schema, columns: Columns) -> Sequence[str]:
    """The columns of a file of prototypes that are the features, in the features' order."""
    wanted, there = columns.features, {*schema.names}
    missing = [name for name in wanted if name not in there]
    if not missing:
        return wanted
    figures = figures_among(schema.names)
    others = [field for field in schema if field.name not in figures]
    numeric = [field.name for field in others if _is_coordinate(field.type)]
    lists = [field.name for field in others if is_list(plain(field.type))]
    counted = ((numeric, columns.dimension), (lists, 1))
    in_order = [names for names, count in counted if len(names) == count]
    if not in_order or len(missing) < len(wanted):
        raise UsageError(
            f"{told}: no column {listed(missing)}; {instead_of(missing[0], schema.names)}"
        )
    say(f"{told}: {listed(in_order[0])} taken for {listed(wanted)}, in this order")
    return in_order[0]


def _is_coordinate(kind: pa.DataType) -> bool:
    """Whether a column may be taken for a feature without its name."""
    return is_numeric(kind) and not types.is_boolean(kind)


def _label_column(told: str, column: pa.ChunkedArray) -> np.ndarray:
    """Labels (k,) int32."""
    numbers = column.to_pylist()
    for number in numbers:
        if not _is_label(number):
            raise UsageError(
                f"{told}: column 'label' holds {number!r}, expected whole numbers "
                f"from 0 to {LARGEST_LABEL}"
            )
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"{told}: two prototypes have the same label")
    return np.array([int(number) for number in numbers], np.int32)


def _is_label(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        return False
    return 0 <= number <= LARGEST_LABEL and number == int(number)


def resolve_ks(options: FitOptions, initial: InitialPrototypes | None) -> tuple[int, ...]:
    """Each k: as asked for, as many as there are to start from, or the default.

    Raises:
        UsageError: there are more prototypes to start from than k, or as many for several trials.
    """
    if initial is None:
        return options.k or (DEFAULT_K,)
    count = len(initial.rows)
    ks = options.k or (count,)
    if count > ks[0]:
        raise UsageError(f"--init {options.init}: {count} prototypes, more than --k {ks[0]}")
    if count == ks[0] and options.restarts > 1:
        raise UsageError(
            f"--restarts {options.restarts}: --init {options.init} gives all {count} prototypes of "
            f"--k {count}: every trial would be the same"
        )
    return ks


def find_model(store: Store, path: str, option: str = "--model") -> str:
    """The folder of a model: the path itself, or the `model` folder of an output.

    Raises:
        UsageError: there is none.
    """
    folder = path.rstrip("/")
    for place in (folder, f"{folder}/model"):
        if store.version(f"{place}/saved_model.pb"):
            return place
    raise UsageError(f"{option} {folder}: no saved_model.pb there or in its model folder")


def metric_of(store: Store, folder: str) -> str | None:
    """The metric of the model in a folder; None where that is not there."""
    try:
        return read_settings(store.read(posixpath.join(folder, SETTINGS)))["metric"]
    except (OSError, ValueError):
        return None


def load_model(store: Store, folder: str, option: str = "--model") -> Model:
    """The model in a folder.

    Raises:
        UsageError: it is none of this job's.
    """
    with store.local_copy(folder) as copy:
        try:
            return Model.load(copy)
        except ValueError as error:
            reason = str(error).splitlines()[0].replace(copy, folder)
            raise UsageError(f"{option} {reason}") from error


def model_features(path: str, model: Model, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that a model labels, in its order; `asked` is what `--features` names, if any.

    A model knows its columns by name. Only where it knows none of those asked for are they taken
    in the place of its own, and a line says so.

    Raises:
        UsageError: it knows some of them and not others.
    """
    known = model.features
    asked = meant(asked, known)
    if not asked or Counter(asked) == Counter(known):
        return known
    if not known or set(asked) == set(known):  # the plan refuses a name that appears twice
        return asked
    names = listed(known)
    if set(asked) & set(known):
        wrong = [f"{name!r} is missing" for name in known if name not in asked]
        wrong += [f"{name!r} is none of them" for name in asked if name not in known]
        more = f" and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        raise UsageError(
            f"--features: --model {path} takes {names}: {', '.join(wrong[:_NAMED])}{more}: name "
            "these in any order, or leave --features out"
        )
    say(f"--features: {listed(asked)} taken for the model's {names}, in this order")
    return asked


def read_run(store: Store, folder: str, command: str) -> tuple[RunRecord, Tables]:
    """run.json and the tables of an output.

    Args:
        command: which wants them, for the message.

    Raises:
        UsageError: the folder is not an output of the job, or damaged.
    """
    names = (RUN, *(f"{name}.parquet" for name in REQUIRED))
    paths = [posixpath.join(folder, name) for name in names]
    missing = [path for path in paths if not store.version(path)]
    if missing:
        raise UsageError(
            f"{command} {folder}: not an output of this job: {missing[0]} is not there"
        )
    if is_half_published(store, folder):
        raise UsageError(
            f"{command} {folder}: its job was killed while it published: run that again first"
        )
    try:
        record = RunRecord.parse(store.read(paths[0]))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{command} {folder}: {paths[0]} cannot be read: {error}") from error
    try:
        return record, Tables.read(store, folder)
    except ValueError as error:
        raise UsageError(f"{command} {folder}: {error}") from error
