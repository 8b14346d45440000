"""Which columns are read: what the user names, held against every file's schema."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
from pyarrow import types

from pipeline.data.files import Footer
from pipeline.data.kinds import is_numeric, is_numeric_list
from pipeline.data.names import LABEL_COLUMNS, ColumnNames, instead_of, listed
from pipeline.data.partitions import partition_types, partition_values
from pipeline.data.store import Store
from pipeline.data.widths import count_widths
from pipeline.errors import DataError, UsageError

PLACE_COLUMNS = ("file", "row")


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
        answer: what the labels call the label and its distance.
    """

    features: tuple[str, ...]
    dimension: int
    is_list: bool
    keys: tuple[str, ...] = ()
    partitions: tuple[tuple[str, pa.DataType], ...] = ()
    weight: str | None = None
    answer: tuple[str, str] = LABEL_COLUMNS

    @property
    def trained(self) -> list[str]:
        """The columns that a training pass reads."""
        return [*self.features, *([self.weight] if self.weight else [])]

    def feature(self, place: int) -> str:
        """The name of a feature; in a list column it is told by its place."""
        return f"{self.features[0]}[{place}]" if self.is_list else self.features[place]

    @property
    def stored_keys(self) -> list[str]:
        """The keys that are columns of the files."""
        folders = dict(self.partitions)
        return [key for key in self.keys if key not in folders]


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
    partitions = partition_types(list(dict.fromkeys(f.file.below for f in footers)))
    names = names.among({*first.schema.names, *partitions})
    features = names.features or _default_features(first, names, partitions)
    _check_names(features, names)
    folders = tuple((k, partitions[k]) for k in names.keys if _from_folder(k, first, partitions))
    for name in (*features, *names.keys, *([names.weight] if names.weight else [])):
        if name not in dict(folders):
            _field(first, name, partitions)
    is_list = _feature_layout(first, features)
    if names.weight and not is_numeric(_field(first, names.weight).type):
        _refuse_type(first, names.weight, "a numeric column of weights")
    d = _list_width(store, footers, features[0], dimension) if is_list else len(features)
    columns = Columns(features, d, is_list, names.keys, folders, names.weight, names.answer)
    for footer in _kinds(islice(footers, 1, None)):
        _check_schema(first, footer, columns, every_numeric=not names.features, names=names)
    return columns


def _kinds(footers: Iterable[Footer]) -> list[Footer]:
    """The first footer of each schema, for every folder of those in which files lie."""
    kinds: dict[tuple[int, str], Footer] = {}
    for footer in footers:
        kinds.setdefault((id(footer.schema), posixpath.dirname(footer.file.below)), footer)
    return list(kinds.values())


def _check_names(features: Sequence[str], names: ColumnNames) -> None:
    for option, given in (("--features", features), ("--keys", names.keys)):
        twice = [name for name, count in Counter(given).items() if count > 1]
        if twice:
            raise UsageError(f"{option} names {twice[0]!r} more than once")
    _check_answer(names)
    if names.weight in features:
        raise UsageError(f"--weight {names.weight} is also among --features")


def _check_answer(names: ColumnNames) -> None:
    """The labels' own columns are beside the keys, or the row's place, and beside each other."""
    for option, name in zip(("--label_column", "--distance_column"), names.answer, strict=True):
        if name in names.keys:
            raise UsageError(
                f"--keys {name}: the labels have a column of this name already: give {option} "
                "another"
            )
        if not names.keys and name in PLACE_COLUMNS:
            raise UsageError(
                f"{option} {name}: without --keys the labels name the row's place by "
                f"{listed(PLACE_COLUMNS)}"
            )
    if names.answer[0] == names.answer[1]:
        raise UsageError(f"--label_column and --distance_column are both {names.answer[0]!r}")


def _default_features(
    first: Footer, names: ColumnNames, partitions: dict[str, pa.DataType]
) -> tuple[str, ...]:
    """Every numeric column; where there is none, the one column of lists of numbers."""
    numeric = _numeric_columns(first.schema, names, partitions)
    if numeric:
        return numeric
    used = {*names.keys, names.weight}
    lists = [f.name for f in first.schema if f.name not in used and is_numeric_list(f.type)]
    if len(lists) == 1:
        return (lists[0],)
    which = f"one of the columns of lists, {listed(lists)}, as " if lists else ""
    raise DataError(
        f"{first.file.path} has no numeric column to cluster by: name {which}--features"
    )


def _numeric_columns(
    schema: pa.Schema, names: ColumnNames, partitions: dict[str, pa.DataType]
) -> tuple[str, ...]:
    used = {*names.keys, *partitions, names.weight}
    numeric = (f.name for f in schema if f.name not in used and is_numeric(f.type))
    return tuple(dict.fromkeys(numeric))


def _field(footer: Footer, name: str, folders: Iterable[str] = ()) -> pa.Field:
    places = footer.schema.get_all_field_indices(name)
    if len(places) == 1:
        return footer.schema.field(places[0])
    path = footer.file.path
    if places:
        raise DataError(f"{path}: column {name!r} appears {len(places)} times")
    known = dict.fromkeys([*footer.schema.names, *folders])
    raise DataError(f"{path}: no column {name!r}; {instead_of(name, known)}")


def _refuse_type(footer: Footer, name: str, wanted: str) -> None:
    kind = _field(footer, name).type
    raise DataError(f"{footer.file.path}: column {name!r} is {kind}, expected {wanted}")


def _feature_layout(footer: Footer, features: Sequence[str]) -> bool:
    """Whether the features are one list column."""
    if len(features) == 1 and is_numeric_list(_field(footer, features[0]).type):
        return True
    for name in features:
        if not is_numeric(_field(footer, name).type):
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


def _from_folder(key: str, footer: Footer, partitions: dict[str, pa.DataType]) -> bool:
    return key in partitions and key not in footer.schema.names
