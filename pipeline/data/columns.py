"""Which columns are read: what the user names, held against every file's schema."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import types

from pipeline.data.files import Footer, Footers
from pipeline.data.kinds import is_numeric, is_numeric_list
from pipeline.data.names import ColumnNames
from pipeline.data.partitions import partition_types, partition_values
from pipeline.data.store import Store
from pipeline.data.widths import count_widths
from pipeline.errors import DataError, UsageError

LABEL_COLUMNS = ("label", "distance")
PLACE_COLUMNS = ("file", "row")
PROTOTYPE_COLUMNS = ("label", "rows", "weight", "cost")


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

    def feature(self, place: int) -> str:
        """The name of a feature; in a list column it is told by its place."""
        return f"{self.features[0]}[{place}]" if self.is_list else self.features[place]

    @property
    def stored_keys(self) -> list[str]:
        """The keys that are columns of the files."""
        folders = dict(self.partitions)
        return [key for key in self.keys if key not in folders]


def resolve_columns(
    store: Store, footers: Footers, names: ColumnNames, dimension: int | None = None
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
    partitions = partition_types(footers.files.folders)
    features = names.features or _numeric_columns(first.schema, names, partitions)
    if not features:
        raise DataError(f"{first.file.path} has no numeric column to cluster by: name --features")
    _check_names(features, names)
    folders = tuple((k, partitions[k]) for k in names.keys if _from_folder(k, first, partitions))
    for name in (*features, *names.keys, *([names.weight] if names.weight else [])):
        if name not in dict(folders):
            _field(first, name)
    is_list = _feature_layout(first, features)
    if names.weight and not is_numeric(_field(first, names.weight).type):
        _refuse_type(first, names.weight, "a numeric column of weights")
    d = _list_width(store, footers, features[0], dimension) if is_list else len(features)
    columns = Columns(features, d, is_list, names.keys, folders, names.weight)
    for footer in _others(footers):
        _check_schema(first, footer, columns, every_numeric=not names.features, names=names)
    return columns


def _others(footers: Footers) -> list[Footer]:
    """Behind the first the first of each schema, for every folder of those in which files lie."""
    files = footers.files
    kinds = footers.schema.astype(np.int64) * len(files.folders) + files.folder
    _, places = np.unique(kinds[1:], return_index=True)
    return [footers[place + 1] for place in sorted(places.tolist())]


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
    numeric = (f.name for f in schema if f.name not in used and is_numeric(f.type))
    return tuple(dict.fromkeys(numeric))


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
    if len(features) == 1 and is_numeric_list(_field(footer, features[0]).type):
        return True
    for name in features:
        if not is_numeric(_field(footer, name).type):
            _refuse_type(footer, name, "a numeric column, or one list column of numbers")
    return False


def _list_width(store: Store, footers: Footers, name: str, dimension: int | None) -> int:
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
