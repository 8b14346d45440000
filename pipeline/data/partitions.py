"""Columns that stand in the names of folders: `day=1/place=Rome`."""

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_values(path: str) -> list[tuple[str, str | None]]:
    """The `name=value` folders of a path below the input; None where Hive wrote a null."""
    parts = [part.partition("=") for part in posixpath.dirname(path).split("/")]
    pairs = [(name, unquote(value)) for name, equals, value in parts if name and equals]
    return [(name, None if value == _HIVE_NULL else value) for name, value in pairs]


def partition_types(paths: Sequence[str]) -> dict[str, pa.DataType]:
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
