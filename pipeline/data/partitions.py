"""Columns that stand in the names of folders: `day=1/place=Rome`."""

import posixpath
from collections.abc import Sequence
from itertools import takewhile
from urllib.parse import unquote

import pyarrow as pa

from pipeline.data.store import FileVersion
from pipeline.errors import DataError, UsageError

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_values(path: str) -> list[tuple[str, str | None]]:
    """The `name=value` folders of a path below the input; None where Hive wrote a null."""
    parts = [part.partition("=") for part in posixpath.dirname(path).split("/")]
    pairs = [(unquote(name), unquote(value)) for name, equals, value in parts if name and equals]
    return [(name, None if value == HIVE_NULL else value) for name, value in pairs]


def folders_of(file: FileVersion) -> str:
    """The folders of a file below the input, and right above it those that are partitions."""
    root = file.path[: len(file.path) - len(file.below)].rstrip("/").split("/")
    above = takewhile(lambda name: name.find("=") > 0, reversed(root))
    return "/".join([*reversed([*above]), *file.below.split("/")[:-1], ""]).lstrip("/")


def partition_types(
    paths: Sequence[str], asked: Sequence[tuple[str, str]]
) -> dict[str, pa.DataType]:
    """The types of the partition columns of some folders: text, unless another is asked for.

    Raises:
        UsageError: there is no such partition column, or no such type.
        DataError: a folder's value is none of its type.
    """
    values: dict[str, dict[str | None, str]] = {}
    for path in paths:
        for name, value in partition_values(path):
            values.setdefault(name, {})[value] = path
    kinds: dict[str, pa.DataType] = dict.fromkeys(values, pa.string())
    for name, kind in asked:
        if name not in values:
            have = (
                f"the folders have {', '.join(values)}" if values else "no folder has a name=value"
            )
            raise UsageError(f"--partition_types {name}:{kind}: no partition {name!r}; {have}")
        kinds[name] = _type(name, kind)
        _check_values(name, kinds[name], values[name])
    return kinds


def _type(name: str, kind: str) -> pa.DataType:
    try:
        found = pa.type_for_alias(kind)
        pa.array([], pa.string()).cast(found)
    except (ValueError, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"--partition_types {name}:{kind}: no such type; expected int64, float64, date32, "
            "timestamp[us], bool, string or the like"
        ) from error
    return found


def _check_values(name: str, kind: pa.DataType, folders: dict[str | None, str]) -> None:
    for value, path in folders.items():
        try:
            pa.array([value], pa.string()).cast(kind)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"folder {path}: {name!r} is {value!r}, which is no {kind}: "
                f"give --partition_types another type for it, or none"
            ) from error
