"""What sets each cluster apart: standardised differences of its prototype from all rows' mean."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.output.words import number, signed

MAX_CLUSTERS, MAX_FEATURES = 50, 16  # that a page shows
_TOLD = 3  # features in a cluster's sentence
_NOTABLE = 0.25  # standard deviations, below which a feature tells nothing
_LEVELS = (0.25, 0.75, 1.5)  # standard deviations at which the heat map's shade changes


@dataclass(frozen=True)
class Values:
    """A table of prototypes: labels (k,), rows (k,), names of d features, values (k, d)."""

    labels: list[int]
    rows: list[int]
    names: list[str]
    values: np.ndarray

    @classmethod
    def of(cls, prototypes: pa.Table) -> "Values":
        # By place, because a feature may well be called "weight" or "cost".
        columns, names = prototypes.columns[4:], list(prototypes.column_names[4:])
        if columns and hasattr(columns[0].type, "value_type"):
            flat = np.array(columns[0].to_pylist(), np.float64)
            values = flat.reshape(prototypes.num_rows, -1)
            names = [f"{names[0]}[{i}]" for i in range(values.shape[1])]
        else:
            rows = [column.to_numpy() for column in columns]
            values = np.stack(rows, 1) if rows else np.empty((prototypes.num_rows, 0))
        return cls(
            prototypes.column(0).to_pylist(), prototypes.column(1).to_pylist(), names, values
        )


@dataclass(frozen=True)
class Cell:
    """A difference in standard deviations, as text and as a shade from -3 to 3."""

    text: str
    shade: int


@dataclass(frozen=True)
class Line:
    """A cluster in the heat map, and its sentence."""

    label: int
    share: float
    cells: list[Cell]
    sentence: str


@dataclass(frozen=True)
class Profile:
    """The heat map: the features that set clusters apart most, and the first clusters."""

    names: list[str]
    lines: list[Line]
    features: int
    clusters: int


def profile(prototypes: Values, features: pa.Table | None) -> Profile | None:
    """The profile of the prototypes; None where nothing is known of all rows."""
    if features is None or not prototypes.labels or not prototypes.names:
        return None
    mean, deviation = (features[n].to_numpy() for n in ("mean", "standard_deviation"))
    if len(mean) != len(prototypes.names) or not np.isfinite(mean).all():
        return None
    away = np.zeros_like(prototypes.values)
    np.divide(prototypes.values - mean, deviation, out=away, where=deviation > 0)
    shares = np.array(prototypes.rows, np.float64)
    shares /= shares.sum() or 1.0
    telling = np.argsort(-(shares @ away**2), kind="stable")[:MAX_FEATURES]
    return Profile(
        names=[prototypes.names[j] for j in telling],
        lines=[
            Line(
                prototypes.labels[i],
                float(shares[i]),
                [_cell(away[i, j]) for j in telling],
                _sentence(prototypes, i, away[i]),
            )
            for i in range(min(len(shares), MAX_CLUSTERS))
        ],
        features=len(prototypes.names),
        clusters=len(prototypes.labels),
    )


def _cell(away: float) -> Cell:
    level = sum(abs(away) >= bound for bound in _LEVELS)
    return Cell(signed(away), int(np.copysign(level, away)))


def _sentence(prototypes: Values, i: int, away: np.ndarray) -> str:
    """Of the features that tell most: basket 91 (+0.3 sd)."""
    order = np.argsort(-np.abs(away), kind="stable")[:_TOLD]
    told = [
        f"{prototypes.names[j]} {number(prototypes.values[i, j], 3)} ({signed(away[j])} sd)"
        for j in order
        if abs(away[j]) >= _NOTABLE
    ]
    return ", ".join(told) or "near the mean in every feature"
