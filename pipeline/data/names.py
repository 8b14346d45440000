"""The columns that the user names; free of pyarrow, so that the command line starts at once."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

LABEL_COLUMNS = ("label", "distance")
FIGURES = ("label", "rows", "weight", "cost")
_APART = "cluster_"
_SHOWN = 8  # names in a message
_NEAR = 3


@dataclass(frozen=True)
class ColumnNames:
    """What the user asked for.

    Attributes:
        features: of the input, as they were written, blanks and all; empty for every numeric
            column.
        keys: written likewise; empty for a row's own place.
        weight: written likewise; None for none.
        partition_types: the types of partition columns that are not to be text.
        label_column, distance_column: what the labels call the label and its distance.
    """

    features: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    weight: str | None = None
    partition_types: tuple[tuple[str, str], ...] = ()
    label_column: str = LABEL_COLUMNS[0]
    distance_column: str = LABEL_COLUMNS[1]

    @property
    def read(self) -> tuple[str, ...]:
        """All that are named of the input."""
        return *self.features, *self.keys, *([self.weight] if self.weight else [])

    @property
    def answer(self) -> tuple[str, str]:
        """The columns of the labels beside the keys."""
        return self.label_column, self.distance_column

    def among(self, known: Collection[str]) -> "ColumnNames":
        """The same with each name as a table has it."""
        return replace(
            self,
            features=meant(self.features, known),
            keys=meant(self.keys, known),
            weight=None if self.weight is None else meant([self.weight], known)[0],
        )


def split_list(spec: str) -> list[str]:
    """Splits at commas that no backslash escapes; blanks around a name are dropped."""
    return [part.strip() for part in split_names(spec)]


def split_names(spec: str) -> list[str]:
    """Splits at commas that no backslash escapes; blanks may be part of a name."""
    parts = re.split(r"(?<!\\),", spec)
    return [part.replace("\\,", ",") for part in parts if part.strip()]


def meant(names: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Names as they are known; blanks around one are dropped where that is how none is known."""
    return tuple(name if name in known else name.strip() for name in names)


def figure_names(features: Sequence[str]) -> dict[str, str]:
    """What prototypes.parquet calls its own figures beside columns of these names."""
    names = {}
    for figure in FIGURES:
        name = figure
        while name in features:
            name = _APART + name
        names[figure] = name
    return names


def figures_among(columns: Collection[str]) -> set[str]:
    """Which columns of a prototypes.parquet are figures, where its features are not known."""
    figures = set()
    for figure in FIGURES:
        name = figure
        while _APART + name in columns:
            name = _APART + name
        figures.add(name)
    return figures


def listed(names: Collection[str]) -> str:
    """Names for a message: quoted, for one may begin with a blank, and a few of many."""
    shown = ", ".join(map(repr, islice(names, _SHOWN)))
    more = len(names) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def instead_of(name: str, known: Collection[str]) -> str:
    """What there is in place of a name that is not known: all names, or of many the nearest."""
    if len(known) <= _SHOWN:
        return f"it has {listed(known)}"
    folded: dict[str, list[str]] = {}
    for other in known:
        folded.setdefault(other.strip().casefold(), []).append(other)
    near = difflib.get_close_matches(name.strip().casefold(), folded, _NEAR)
    if not near:
        return f"it has {listed(known)}"
    matches = [other for fold in near for other in folded[fold]]
    return f"it has {len(known):,} columns, the nearest are {listed(matches)}"
