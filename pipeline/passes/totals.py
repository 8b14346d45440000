"""What the label pass adds up."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from pipeline.data.digests import joined
from pipeline.passes.typical import NearRow, TypicalRows


@dataclass(frozen=True)
class LabelTotals:
    """What the label pass counted and wrote.

    Attributes:
        rows: (k,) int64 rows by prototype.
        weight: (k,) exact sums of row weights (see `kmeans_tf.exact`).
        cost: (k,) exact sums of weighted costs, in the (scaled) input's units.
        all_rows: rows read, bad ones included.
        bad_rows: rows with a bad feature.
        bad: how many by (file, column, reason).
        parts: the path of each part that was written, by the name it is to have.
        digest: of the rows by key, or place, and label; see `pipeline.data.digests`.
        typical: the rows nearest to each prototype.
    """

    rows: np.ndarray
    weight: tuple[int, ...]
    cost: tuple[int, ...]
    all_rows: int
    bad_rows: int
    bad: Counter
    parts: dict[str, str]
    digest: int = 0
    typical: TypicalRows = field(default_factory=TypicalRows)

    @classmethod
    def zero(cls, prototypes: int, parts: dict[str, str]) -> "LabelTotals":
        nothing = (0,) * prototypes
        return cls(np.zeros(prototypes, np.int64), nothing, nothing, 0, 0, Counter(), parts)

    def __add__(self, other: "LabelTotals") -> "LabelTotals":
        bad = self.bad.copy()  # adding would look at every count of both
        bad.update(other.bad)
        return LabelTotals(
            self.rows + other.rows,
            tuple(a + b for a, b in zip(self.weight, other.weight, strict=True)),
            tuple(a + b for a, b in zip(self.cost, other.cost, strict=True)),
            self.all_rows + other.all_rows,
            self.bad_rows + other.bad_rows,
            bad,
            self.parts | other.parts,
            joined(self.digest, other.digest),
            self.typical + other.typical,
        )


LABEL_TOTALS = (LabelTotals, TypicalRows, NearRow)  # the classes that are in them
