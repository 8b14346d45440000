"""Which columns are read: what the user names, held against every file's schema."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import types

from pipeline.data.common import common_type, with_plain_lists
from pipeline.data.files import Footer, Footers
from pipeline.data.kinds import fixed_width, is_empty_list, is_numeric, is_numeric_list
from pipeline.data.names import LABEL_COLUMNS, ColumnNames, instead_of, listed
from pipeline.data.partitions import partition_types, partition_values
from pipeline.data.snapshot import Snapshot
from pipeline.data.store import Store
from pipeline.data.table_logs import is_below
from pipeline.data.wanted import Wanted, find_type, paths
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
        key_types: of the keys that are columns of the files, the type of each that holds the
            values of all files.
        partitions: of the keys, those that come from the folders' names, with their types.
        weight: the column of row weights.
        answer: what the labels call the label and its distance.
    """

    features: tuple[str, ...]
    dimension: int
    is_list: bool
    keys: tuple[str, ...] = ()
    key_types: tuple[tuple[str, pa.DataType], ...] = ()
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
    def key_fields(self) -> list[pa.Field]:
        """The keys as the labels have them."""
        kinds = dict(self.key_types) | dict(self.partitions)
        return [pa.field(key, kinds[key]) for key in self.keys]

    @property
    def stored_keys(self) -> list[Wanted]:
        """The keys that are columns of the files."""
        return [Wanted(*key) for key in self.key_types]

    def wanted(self, *, keys: bool) -> list[Wanted]:
        """What is read of the files; with keys, these too."""
        read = {name: Wanted(name) for name in self.trained}
        return list((read | {key.name: key for key in self.stored_keys if keys}).values())


def resolve_columns(
    store: Store, footers: Footers, names: ColumnNames, dimension: int | None = None
) -> Columns:
    """Decides which columns are read, and of what types, by the schemas of all files with rows.

    Args:
        dimension: how long the lists of a list column should be, where a model says so; by
            default as long as most of them are.

    Raises:
        UsageError: a name appears twice, or is one that the outputs use.
        DataError: a column is missing, appears twice in a file, is of the wrong type, or not of
            one type in all files.
    """
    shards = _shards(footers)
    partitions = partition_types(footers.files.folders, names.partition_types)
    names = names.among({*partitions}.union(*(shard.schema.names for shard in shards)))
    features = names.features or _default_features(shards, names)
    _check_names(features, names)
    for name in (*features, *([names.weight] if names.weight else [])):
        if name in partitions and not _is_stored(name, shards):
            raise UsageError(
                f"{name!r} is a partition column, which the files have not: it may be a key, but "
                "neither a feature nor the weight"
            )
    stored = [key for key in names.keys if key not in partitions or _is_stored(key, shards)]
    key_types = tuple((key, _key_type(key, shards)) for key in stored)
    folders = tuple((key, partitions[key]) for key in names.keys if key not in stored)
    is_list = _check_features(features, shards)
    if names.weight:
        _check_types(names.weight, shards, is_numeric, "a numeric column of weights")
    d = _list_width(store, footers, features[0], shards, dimension) if is_list else len(features)
    return Columns(features, d, is_list, names.keys, key_types, folders, names.weight, names.answer)


def check_named(first: Footers, folders: Sequence[str], names: ColumnNames) -> None:
    """Raises a DataError for a column that the first file lacks, as `resolve_columns` would.

    Args:
        first: its footer; without rows it need have no column.
        folders: those of all files.
    """
    if not first.rows.any():
        return
    shard = first[0]
    partitions = _partitions(folders)
    names = names.among({*partitions, *shard.schema.names})
    for name in names.read:
        if name not in partitions:
            _type(shard, name)


def check_older(
    tables: Sequence[Snapshot], footers: Footers, folders: Sequence[str], names: ColumnNames
) -> None:
    """Raises a DataError for a column that a table has and a file neither has nor has as null.

    Args:
        folders: those of all files.
    """
    tables = [table for table in tables if table.schema]
    if not (tables and footers.rows.any()):
        return
    partitions = _partitions(folders)
    asked = [name for name in names.read if name not in partitions]
    for shard in _shards(footers):
        path = shard.file.path
        around = (table for table in tables if is_below(path, table.folder))
        for table, name in itertools.product(around, asked):
            if find_type(table.schema, name) and not find_type(shard.schema, name):
                raise DataError(
                    f"{path}: no column {name!r}, though the {table} has it, and what stands for "
                    "it here is not known: rewrite the older files of the table, or leave it out"
                )


def _shards(footers: Footers) -> list[Footer]:
    """The first file with rows of each schema, for every folder of those in which files lie."""
    files = footers.files
    used = np.flatnonzero(footers.rows)
    used = used if len(used) else np.arange(len(footers))
    kinds = footers.schema[used].astype(np.int64) * len(files.folders) + files.folder[used]
    _, places = np.unique(kinds, return_index=True)
    return [footers[place] for place in used[np.sort(places)].tolist()]


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


def _default_features(shards: Sequence[Footer], names: ColumnNames) -> tuple[str, ...]:
    """Every numeric column; where there is none, the one column of lists of numbers."""
    numeric = _measures(shards, names)
    if numeric:
        return numeric
    used = {*names.keys, names.weight}
    fields = (field for shard in shards for field in shard.schema)
    found = dict.fromkeys(field.name for field in fields if is_numeric_list(field.type))
    lists = [name for name in found if name not in used]
    if len(lists) == 1:
        return (lists[0],)
    which = f"one of the columns of lists, {listed(lists)}, as " if lists else ""
    raise DataError(
        f"{shards[0].file.path} has no numeric column to cluster by: name {which}--features"
    )


def _measures(shards: Sequence[Footer], names: ColumnNames) -> tuple[str, ...]:
    """Every numeric column that is not named otherwise and measures something.

    Raises:
        DataError: a file lacks one.
    """
    other = {*names.keys, names.weight}.union(*(shard.no_measures for shard in shards))
    found: dict[str, Footer] = {}
    for shard in shards:
        left_out = other.union(_folder_names(shard))
        numeric = (field.name for field in shard.schema if is_numeric(field.type))
        found = {name: shard for name in numeric if name not in left_out} | found
    for shard in shards:
        have = set(shard.schema.names).difference(_folder_names(shard))
        for name in sorted(found.keys() - have):
            raise DataError(
                f"{found[name].file.path}: numeric column {name!r} is not in {shard.file.path}: "
                "name --features, or make the schemas equal"
            )
    order = dict.fromkeys(name for shard in shards for name in shard.schema.names)
    return tuple(name for name in order if name in found)


def _is_stored(key: str, shards: Iterable[Footer]) -> bool:
    """Whether a key that is a partition of folders is a column of a file all the same."""
    return any(find_type(shard.schema, key) is not None for shard in shards)


def _key_type(key: str, shards: Sequence[Footer]) -> pa.DataType:
    """The type that holds a key of all files."""
    common, first = _type(shards[0], key), shards[0]
    for shard in shards[1:]:
        kind = _type(shard, key)
        wider = common_type(common, kind)
        if wider is None:
            raise DataError(
                f"{shard.file.path}: column {key!r} is {kind}, but {common} in "
                f"{first.file.path}, and no type holds all values of both: write it again as "
                "one of them, or leave it out of --keys"
            )
        if wider != common:
            common, first = wider, shard
    return with_plain_lists(common)


def _type(footer: Footer, name: str) -> pa.DataType:
    """The type of a column, which has to be there once."""
    kind, path = find_type(footer.schema, name), footer.file.path
    count = len(footer.schema.get_all_field_indices(name))
    if count > 1:
        raise DataError(f"{path}: column {name!r} appears {count} times: name them apart")
    if kind is None and name in _folder_names(footer):
        raise DataError(f"{path}: {name!r} stands in its folder, but is a column of other files")
    if kind is None:
        stored = paths(footer.schema) if "." in name else footer.schema.names
        known = dict.fromkeys([*stored, *_folder_names(footer)])
        raise DataError(f"{path}: no column {name!r}; {instead_of(name, known)}")
    return kind


def _check_features(features: Sequence[str], shards: Sequence[Footer]) -> bool:
    """Whether the features are one list column."""
    wanted = "a numeric column, or one list column of numbers"
    if len(features) == 1 and any(is_numeric_list(_type(shard, features[0])) for shard in shards):
        _check_types(features[0], shards, is_numeric_list, wanted)
        return True
    for name in features:
        _check_types(name, shards, is_numeric, wanted)
    return False


def _check_types(
    name: str, shards: Sequence[Footer], fits: Callable[[pa.DataType], bool], wanted: str
) -> None:
    """Raises a DataError for a column of another type; one of nulls fits beside others."""
    kinds = [_type(shard, name) for shard in shards]
    right = next((place for place, kind in enumerate(kinds) if fits(kind)), None)
    for shard, kind in zip(shards, kinds, strict=True):
        path = shard.file.path
        if right is None:
            raise DataError(f"{path}: column {name!r} is {kind}, expected {wanted}")
        is_empty = is_empty_list(kind) and is_numeric_list(kinds[right])
        if not (fits(kind) or types.is_null(kind) or is_empty):
            raise DataError(
                f"{path}: column {name!r} is {kind}, but {kinds[right]} in "
                f"{shards[right].file.path}: expected {wanted} in all files"
            )


def _list_width(
    store: Store, footers: Footers, name: str, shards: Sequence[Footer], dimension: int | None
) -> int:
    """d of a list column: that of its type, else `dimension`, else that of most lists."""
    first, *others = {fixed_width(_type(shard, name)) for shard in shards}
    if first is not None and not others:
        return first
    if dimension is not None:
        return dimension
    widths = count_widths(store, footers, name)
    if not widths:
        raise DataError(f"column {name!r}: every row of every file is null or empty")
    return max(widths, key=lambda width: (widths[width], -width))


def _partitions(folders: Iterable[str]) -> set[str]:
    return {name for below in folders for name, _ in partition_values(below)}


def _folder_names(footer: Footer) -> list[str]:
    return [name for name, _ in partition_values(footer.file.below)]
