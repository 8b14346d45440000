"""The columns that the user names; free of pyarrow, so that the command line starts at once."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnNames:
    """What the user asked for; an empty `features` stands for every numeric column."""

    features: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    weight: str | None = None


def split_list(spec: str) -> list[str]:
    """Splits at commas that no backslash escapes; blanks around a name are dropped."""
    parts = re.split(r"(?<!\\),", spec)
    return [part.strip().replace("\\,", ",") for part in parts if part.strip()]
