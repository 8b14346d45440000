"""Which files are read, and which of their columns: everything known before the first row is."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from pipeline.data.names import ColumnNames, split_list
from pipeline.data.store import HIDDEN, FileVersion, Store
from pipeline.errors import DataError, UsageError

LABEL_COLUMNS = ("label", "distance")
PLACE_COLUMNS = ("file", "row")
PROTOTYPE_COLUMNS = ("label", "rows", "weight", "cost")
_FOOTER_THREADS = 16
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Columns:
    """The columns that the job reads.

    Attributes:
        features: the scalar columns, or the one list column.
        dimension: d.
        is_list: whether the features are one list column.
        keys: the columns copied to the labels, in order; empty: the row's own place.
        partitions: of the keys, those that come from the folders' names, with their types.
        weight: the column of row weights.
    """

    features: tuple[str, ...]
    dimension: int
    is_list: bool
    keys: tuple[str, ...] = ()
    partitions: tuple[tuple[str, pa.DataType], ...] = ()
    weight: str | None = None

    @property
    def trained(self) -> list[str]:
        """The columns that a training pass reads."""
        return [*self.features, *([self.weight] if self.weight else [])]

    @property
    def stored_keys(self) -> list[str]:
        """The keys that are columns of the files."""
        folders = dict(self.partitions)
        return [key for key in self.keys if key not in folders]


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    file: FileVersion
    schema: pa.Schema
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


def find_files(store: Store, spec: str) -> list[FileVersion]:
    """The files of a comma-separated list of files, globs and folders, each file once.

    A comma in a name is written as `\\,`. A folder stands for the `*.parquet` files below it,
    names that begin with `_` or `.` left out.

    Raises:
        UsageError: nothing is named.
        DataError: a part matches nothing.
    """
    parts = split_list(spec)
    if not parts:
        raise UsageError(f"--input {spec!r} names no file, glob or folder")
    by_place: dict[tuple[str, str], FileVersion] = {}
    for part in parts:
        for file in _expand(store, store.plain(part)):
            by_place.setdefault(store.place(file.path), file)
    return list(by_place.values())


def _expand(store: Store, part: str) -> list[FileVersion]:
    file = store.version(part)
    if file:
        return [file]
    if store.is_folder(part):
        below = [f for f in store.files(part, recursive=True) if _is_table(f.below)]
        if not below:
            raise DataError(f"--input {part}: no *.parquet file in or below this folder")
        return below
    matches = store.glob(part) if set("*?[") & set(part) else []
    if not matches:
        raise DataError(f"--input {part}: no file matches")
    return matches


def _is_table(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].endswith(".parquet") and not any(p.startswith(HIDDEN) for p in parts)


def read_footers(store: Store, files: Sequence[FileVersion]) -> list[Footer]:
    """The footers of all files.

    Raises:
        DataError: a file is not a complete Parquet file.
    """
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        return list(pool.map(lambda file: _read_footer(store, file), files))


def _read_footer(store: Store, file: FileVersion) -> Footer:
    try:
        with store.open(file) as source:
            parquet = pq.ParquetFile(source)
            meta = parquet.metadata
            groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
            return Footer(file, parquet.schema_arrow.remove_metadata(), groups)
    except (pa.ArrowException, OSError) as error:  # Arrow's name for a garbled footer is OSError
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.path} is not a complete Parquet file: {reason}") from error


def resolve_columns(store: Store, footers: Sequence[Footer], names: ColumnNames) -> Columns:
    """Decides which columns are read and holds every file's schema against the first's.

    Raises:
        UsageError: a name appears twice, or is one that the outputs use.
        DataError: a column is missing, appears twice in a file, is of the wrong type, or not of
            the same type in every file.
    """
    first = footers[0]
    partitions = _partition_types([f.file.below for f in footers])
    features = names.features or _numeric_columns(first.schema, names, partitions)
    if not features:
        raise DataError(f"{first.file.path} has no numeric column to cluster by: name --features")
    _check_names(features, names)
    folders = tuple((k, partitions[k]) for k in names.keys if _from_folder(k, first, partitions))
    for name in (*features, *names.keys, *([names.weight] if names.weight else [])):
        if name not in dict(folders):
            _field(first, name)
    is_list = _feature_layout(first, features)
    if names.weight and not _is_numeric(_field(first, names.weight).type):
        _refuse_type(first, names.weight, "a numeric column of weights")
    dimension = _list_length(store, footers, features[0]) if is_list else len(features)
    columns = Columns(features, dimension, is_list, names.keys, folders, names.weight)
    for footer in footers[1:]:
        _check_schema(first, footer, columns, every_numeric=not names.features, names=names)
    return columns


def _check_names(features: Sequence[str], names: ColumnNames) -> None:
    for option, listed in (("--features", features), ("--keys", names.keys)):
        twice = [name for name, count in Counter(listed).items() if count > 1]
        if twice:
            raise UsageError(f"{option} names {twice[0]!r} more than once")
    for key in names.keys:
        if key in LABEL_COLUMNS:
            raise UsageError(f"--keys {key}: the labels have a column of this name already")
    for feature in features:
        if feature in (*LABEL_COLUMNS, *PROTOTYPE_COLUMNS):
            raise UsageError(
                f"feature {feature!r}: the outputs have a column of this name already; choose "
                "others with --features, or rename it"
            )
    if names.weight in features:
        raise UsageError(f"--weight {names.weight} is also among --features")


def _numeric_columns(
    schema: pa.Schema, names: ColumnNames, partitions: dict[str, pa.DataType]
) -> tuple[str, ...]:
    used = {*names.keys, *partitions, names.weight}
    numeric = (f.name for f in schema if f.name not in used and _is_numeric(f.type))
    return tuple(dict.fromkeys(numeric))


def _is_numeric(kind: pa.DataType) -> bool:
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests) and _is_numeric(kind.value_type)


def _field(footer: Footer, name: str) -> pa.Field:
    places = footer.schema.get_all_field_indices(name)
    if len(places) == 1:
        return footer.schema.field(places[0])
    path = footer.file.path
    if places:
        raise DataError(f"{path}: column {name!r} appears {len(places)} times")
    raise DataError(f"{path}: no column {name!r}; it has {', '.join(footer.schema.names)}")


def _refuse_type(footer: Footer, name: str, wanted: str) -> None:
    kind = _field(footer, name).type
    raise DataError(f"{footer.file.path}: column {name!r} is {kind}, expected {wanted}")


def _feature_layout(footer: Footer, features: Sequence[str]) -> bool:
    """Whether the features are one list column."""
    if len(features) == 1 and _is_list(_field(footer, features[0]).type):
        return True
    for name in features:
        if not _is_numeric(_field(footer, name).type):
            _refuse_type(footer, name, "a numeric column, or one list column of numbers")
    return False


def _list_length(store: Store, footers: Sequence[Footer], name: str) -> int:
    """d of a list column: of the first row that has a list."""
    kind = _field(footers[0], name).type
    if types.is_fixed_size_list(kind):
        return kind.list_size
    for footer in footers:
        with store.open(footer.file) as source:
            for batch in pq.ParquetFile(source).iter_batches(batch_size=1024, columns=[name]):
                for length in batch.column(0).value_lengths().drop_null():
                    if length.as_py():
                        return length.as_py()
    raise DataError(f"column {name!r}: every row of every file is null or empty")


def _check_schema(
    first: Footer, footer: Footer, columns: Columns, *, every_numeric: bool, names: ColumnNames
) -> None:
    for name in [*columns.trained, *columns.stored_keys]:
        expected, actual = _field(first, name).type, _field(footer, name).type
        if expected != actual:
            raise DataError(
                f"{footer.file.path}: column {name!r} is {actual}, but {expected} in "
                f"{first.file.path}: all files must have the same schema"
            )
    if every_numeric:
        extra = set(_numeric_columns(footer.schema, names, dict.fromkeys(_folder_names(footer))))
        for name in sorted(extra - set(columns.features)):
            raise DataError(
                f"{footer.file.path}: numeric column {name!r} is not in {first.file.path}: "
                "name --features, or make the schemas equal"
            )


def _folder_names(footer: Footer) -> list[str]:
    return [name for name, _ in partition_values(footer.file.below)]


def partition_values(path: str) -> list[tuple[str, str | None]]:
    """The `name=value` folders of a path below the input; None where Hive wrote a null."""
    parts = [part.partition("=") for part in posixpath.dirname(path).split("/")]
    pairs = [(name, unquote(value)) for name, equals, value in parts if name and equals]
    return [(name, None if value == _HIVE_NULL else value) for name, value in pairs]


def _partition_types(paths: Sequence[str]) -> dict[str, pa.DataType]:
    """int64 for a partition column whose values are all whole numbers, else string."""
    values: dict[str, set[str | None]] = {}
    for path in paths:
        for name, value in partition_values(path):
            values.setdefault(name, set()).add(value)
    whole = re.compile(r"-?\d{1,18}")
    return {
        name: pa.int64() if all(v is None or whole.fullmatch(v) for v in texts) else pa.string()
        for name, texts in values.items()
    }


def _from_folder(key: str, footer: Footer, partitions: dict[str, pa.DataType]) -> bool:
    return key in partitions and key not in footer.schema.names
