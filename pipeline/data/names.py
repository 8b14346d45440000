"""The columns that the user names; free of pyarrow, so that the command line starts at once."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class ColumnNames:
    """What the user asked for.

    Attributes:
        features: empty for every numeric column.
        keys: empty for a row's own place.
        weight: None for none.
        partition_types: the types of partition columns that are not to be text.
    """

    features: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    weight: str | None = None
    partition_types: tuple[tuple[str, str], ...] = ()


def split_list(spec: str) -> list[str]:
    """Splits at commas that no backslash escapes; blanks around a name are dropped."""
    parts = re.split(r"(?<!\\),", spec)
    return [part.strip().replace("\\,", ",") for part in parts if part.strip()]


def listed(names: Collection[str]) -> str:
    """Names for a message: quoted, for one may begin with a blank, and a few of many."""
    shown = ", ".join(map(repr, islice(names, _SHOWN)))
    more = len(names) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
