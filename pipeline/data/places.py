"""Where rows come from: consecutive rows, perhaps of several files."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa

from pipeline.data.store import FileVersion


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that follow one another in a file: which, the place of the first, and how many."""

    file: FileVersion
    first_row: int
    rows: int


@dataclass(frozen=True)
class Places:
    """The places of n rows, as m runs in their order."""

    runs: tuple[Run, ...]

    @classmethod
    def joined(cls, parts: "Iterable[Places]") -> "Places":
        """Those of some rows behind those of others; runs that meet in a file are one."""
        runs: list[Run] = []
        for run in chain.from_iterable(part.runs for part in parts):
            last = runs[-1] if runs else None
            if last and last.file == run.file and last.first_row + last.rows == run.first_row:
                runs[-1] = Run(last.file, last.first_row, last.rows + run.rows)
            else:
                runs.append(run)
        return cls(tuple(runs))

    def __len__(self) -> int:
        return sum(run.rows for run in self.runs)

    def of(self, row: int) -> tuple[str, int]:
        """The path of a row's file, and the row's place in it."""
        run = int(np.searchsorted(self._starts, row, "right")) - 1
        return self.runs[run].file.path, self.runs[run].first_row + row - int(self._starts[run])

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The run (m,) and the place in its file (m,) of each of some rows (m,)."""
        run = np.searchsorted(self._starts, rows, "right") - 1
        first = np.array([each.first_row for each in self.runs], np.int64)
        return run, (first - self._starts)[run] + rows

    def rows(self) -> np.ndarray:
        """(n,) int64, the place of each row in its file."""
        shifts = np.array([run.first_row for run in self.runs], np.int64) - self._starts
        return np.arange(self._rows.sum()) + np.repeat(shifts, self._rows)

    def spread(self, values: pa.Array) -> pa.DictionaryArray:
        """(n,) from (m,): the value of its run for each row, once for all rows of the run."""
        runs = np.repeat(np.arange(len(self.runs), dtype=np.int32), self._rows)
        return pa.DictionaryArray.from_arrays(runs, values)

    def count(self, mask: np.ndarray) -> Counter[str]:
        """How many rows of a mask (n,) bool are set, by the path of their file."""
        before = np.concatenate([[0], np.cumsum(mask)])
        of_runs = before[self._starts + self._rows] - before[self._starts]
        counts: Counter[str] = Counter()
        for run in np.flatnonzero(of_runs):
            counts[self.runs[run].file.path] += int(of_runs[run])
        return counts

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.array([run.rows for run in self.runs], np.int64)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self._rows) - self._rows
