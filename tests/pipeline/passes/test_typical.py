"""The nearest rows: those of a full sort, however the rows are cut and in whatever order added."""

from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa

from pipeline.data.places import Places, Run
from pipeline.data.store import FileVersion
from pipeline.passes.typical import PROTOTYPES, ROWS, NearRow, TypicalRows, typical_rows

N = 5000
random = np.random.default_rng(0)
INDEX = random.integers(0, 4, N) * 100  # the last beyond those that are kept
DISTANCE = random.integers(0, 40, N) / 8.0  # with many ties


def found(start: int, end: int) -> TypicalRows:
    """Of some rows, of which each file has 1,000; the last file comes first."""
    runs = tuple(
        Run(FileVersion(f"{9 - file}.parquet", 0, 0), max(start, file * 1000) - file * 1000, rows)
        for file in range(5)
        if (rows := min(end, file * 1000 + 1000) - max(start, file * 1000)) > 0
    )
    keys = pa.table({"id": np.arange(start, end)})
    places = np.arange(end - start)
    return typical_rows(INDEX[start:end], DISTANCE[start:end], places, Places(runs), keys)


def test_they_are_those_of_a_full_sort_however_the_rows_are_cut():
    rows = [
        NearRow(float(DISTANCE[i]), f"{9 - i // 1000}.parquet", i % 1000, (str(i),))
        for i in range(N)
    ]
    expected = {
        prototype: tuple(sorted(rows[i] for i in np.flatnonzero(prototype == INDEX))[:ROWS])
        for prototype in (0, 100, 200)
    }
    assert PROTOTYPES <= 300
    assert found(0, N).rows == expected
    for size in (700, 1000, 1234):
        parts = [found(start, min(N, start + size)) for start in range(0, N, size)]
        assert reduce(add, parts, TypicalRows()).rows == expected
        assert reduce(add, parts[::-1]).rows == expected


def test_no_rows_have_none():
    nothing = np.empty(0, np.int64)
    keys = pa.table({"id": nothing})
    assert typical_rows(nothing, np.empty(0), nothing, Places(()), keys) == TypicalRows()
