"""The columns that the user names; free of pyarrow, so that the command line starts at once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LISTED = 12


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


def listed(names: Sequence[str]) -> str:
    """Names for a line of text; of very many, the first."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED:,} more"
