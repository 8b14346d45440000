"""Which files are read, and which of their columns: everything known before the first row is."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from pipeline.data.names import ColumnNames, split_list
from pipeline.data.store import HIDDEN, FileVersion, Store
from pipeline.errors import DataError, UsageError

LABEL_COLUMNS = ("label", "distance")
PLACE_COLUMNS = ("file", "row")
PROTOTYPE_COLUMNS = ("label", "rows", "weight", "cost")
_FOOTER_THREADS = 16
_BUFFER_BYTES = 1 << 20  # of a column: a row group is streamed, not read whole
_COUNTED_GROUPS = 256
_COUNTED_VALUES = 1 << 26
_COUNTED_ROWS = 1024  # at a time
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


def open_parquet(source: pa.NativeFile) -> pq.ParquetFile:
    """A file whose row groups are streamed and whose pages are checked where they say a sum."""
    return pq.ParquetFile(
        source, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
    )


def read_batches(
    parquet: pq.ParquetFile, path: str, group: int, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """A row group, at most `batch_rows` rows at a time; in the end it is all that the footer says.

    Arrow believes what stands in front of a page: where that says fewer rows than there are,
    the others would be gone without a word, and so would the last values of a list.

    Raises:
        DataError: it cannot be decoded, or there are fewer rows or values of a list than the
            footer says.
    """
    rows, values = 0, Counter[str]()
    try:
        for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns):
            rows += batch.num_rows
            lists = [field.name for field in batch.schema if _is_list(field.type)]
            values.update({name: _stored_values(batch.column(name)) for name in lists})
            yield batch
    except (pa.ArrowException, OSError) as error:
        _check_alone(parquet, path, group, columns, batch_rows)
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: row group {group} cannot be read: {reason}") from error
    if rows != _rows(parquet, group):
        _check_alone(parquet, path, group, columns, batch_rows)
        raise _damage(path, group, f"has {rows} rows", _rows(parquet, group))
    for name, count in values.items():
        expected = _footer_values(parquet, group, name)
        if expected and count < expected:
            what = f"column {name!r} has {count} values in its lists"
            raise _damage(path, group, what, expected)


def _check_alone(
    parquet: pq.ParquetFile, path: str, group: int, columns: Sequence[str], batch_rows: int
) -> None:
    """Raises a DataError for the first column that has fewer rows than the footer says."""
    for name in columns:
        try:
            batches = parquet.iter_batches(batch_rows, row_groups=[group], columns=[name])
            rows = sum(batch.num_rows for batch in batches)
        except (pa.ArrowException, OSError):
            continue  # the caller has the reason
        if rows != _rows(parquet, group):
            raise _damage(path, group, f"column {name!r} has {rows} rows", _rows(parquet, group))


def _damage(path: str, group: int, what: str, expected: int) -> DataError:
    return DataError(
        f"{path}: row group {group}: {what}, but the footer says {expected}: the file is damaged, "
        "write it again"
    )


def _rows(parquet: pq.ParquetFile, group: int) -> int:
    return parquet.metadata.row_group(group).num_rows


def _stored_values(array: pa.Array) -> int:
    """How many values Parquet stores for some lists: one for a list that is null or empty."""
    return pc.sum(pc.max_element_wise(array.value_lengths(), 1), min_count=0).as_py()


def _footer_values(parquet: pq.ParquetFile, group: int, name: str) -> int | None:
    """How many values the footer says a list column has; None if names leave open which it is."""
    meta = parquet.metadata
    leaves = [j for j in range(meta.num_columns) if _is_leaf(meta.schema.column(j).path, name)]
    return meta.row_group(group).column(leaves[0]).num_values if len(leaves) == 1 else None


def _is_leaf(path: str, name: str) -> bool:
    return path.startswith(f"{name}.")


def resolve_columns(
    store: Store, footers: Sequence[Footer], names: ColumnNames, dimension: int | None = None
) -> Columns:
    """Decides which columns are read and holds every file's schema against the first's.

    Args:
        dimension: how long the lists of a list column should be, where a model says so; by
            default as long as most of them are.

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
    d = _list_width(store, footers, features[0], dimension) if is_list else len(features)
    columns = Columns(features, d, is_list, names.keys, folders, names.weight)
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


def _list_width(store: Store, footers: Sequence[Footer], name: str, dimension: int | None) -> int:
    """d of a list column: that of its type, else `dimension`, else that of most lists."""
    kind = _field(footers[0], name).type
    if types.is_fixed_size_list(kind):
        return kind.list_size
    if dimension is not None:
        return dimension
    widths = count_widths(store, footers, name)
    if not widths:
        raise DataError(f"column {name!r}: every row of every file is null or empty")
    return max(widths, key=lambda width: (widths[width], -width))


def count_widths(store: Store, footers: Sequence[Footer], name: str) -> Counter[int]:
    """How many lists there are of each length but 0.

    Every row group is counted, or 256 of them spread evenly over the table. One whose first lists
    are of one length, while its footer has as many values as that makes, is taken to be of that
    length throughout; any other is read, and when 2^26 values are, the row groups stand for their
    remaining rows. Where all that was read is null or empty, everything is.
    """
    groups = [(f, g) for f in footers for g, rows in enumerate(f.row_groups) if rows]
    picked = min(len(groups), _COUNTED_GROUPS)
    spread = [groups[i * len(groups) // picked] for i in range(picked)]
    widths = _count_groups(store, spread, name, _COUNTED_VALUES // max(picked, 1))
    return widths or _count_groups(store, groups, name, None)


def _count_groups(
    store: Store, groups: Sequence[tuple[Footer, int]], name: str, limit: int | None
) -> Counter[int]:
    files = [list(of_file) for _, of_file in groupby(groups, lambda group: group[0].file)]
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        parts = pool.map(lambda of_file: _count_file(store, of_file, name, limit), files)
        return sum(parts, Counter())


def _count_file(
    store: Store, groups: Sequence[tuple[Footer, int]], name: str, limit: int | None
) -> Counter[int]:
    file = groups[0][0].file
    with store.open(file) as source:
        parquet = open_parquet(source)
        parts = [_count_group(parquet, file.path, group, name, limit) for _, group in groups]
        return sum(parts, Counter())


def _count_group(
    parquet: pq.ParquetFile, path: str, group: int, name: str, limit: int | None
) -> Counter[int]:
    """The lists of a row group by length, of which at least `limit` values are read."""
    total, in_footer = _rows(parquet, group), _footer_values(parquet, group, name)
    rows, values, widths = 0, 0, Counter[int]()
    for batch in read_batches(parquet, path, group, [name], _COUNTED_ROWS):
        lists = batch.column(0)
        rows += len(lists)
        values += _stored_values(lists)
        widths.update(lists.value_lengths().fill_null(0).to_pylist())
        if len(widths) == 1 and in_footer == max(widths) * total:
            return Counter({max(widths): total})
        if limit and values >= limit:
            break
    del widths[0]
    return Counter({width: count * total // rows for width, count in widths.items()})


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
