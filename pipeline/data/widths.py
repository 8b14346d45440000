"""How long the lists of a column are, found out without reading all of them."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter

import numpy as np

from pipeline.data.batches import BUFFER_BYTES, RowGroups, stored_values
from pipeline.data.files import FILE_THREADS, Footers
from pipeline.data.floats import as_lists
from pipeline.data.footers import open_parquet
from pipeline.data.store import FileVersion, Store
from pipeline.data.wanted import Wanted

COUNTED_GROUPS = 256
COUNTED_VALUES = 1 << 26
_COUNTED_ROWS = 1024  # at a time


def count_widths(store: Store, footers: Footers, name: str) -> Counter[int]:
    """How many lists there are of each length but 0.

    Every row group is counted, or 256 of them spread evenly over the table. One whose first lists
    are of one length, while its footer has as many values as that makes, is taken to be of that
    length throughout; any other is read, and when 2^26 values are, the row groups stand for their
    remaining rows. Where all that was read is null or empty, everything is.
    """
    groups = np.flatnonzero(footers.row_groups)
    picked = min(len(groups), COUNTED_GROUPS)
    spread = groups[np.arange(picked) * len(groups) // max(picked, 1)]
    widths = _count_groups(store, footers, spread, name, COUNTED_VALUES // max(picked, 1))
    return widths or _count_groups(store, footers, groups, name, None)


def _count_groups(
    store: Store, footers: Footers, groups: np.ndarray, name: str, limit: int | None
) -> Counter[int]:
    """The lists of some row groups (g,), by their places among those of all files."""
    files = np.searchsorted(footers.ends, groups, side="right")
    numbers = groups - np.append(0, footers.ends)[files]
    of_files = groupby(zip(files.tolist(), numbers.tolist(), strict=True), itemgetter(0))
    tasks = [(footers.files[place], [n for _, n in pairs]) for place, pairs in of_files]
    with ThreadPoolExecutor(FILE_THREADS) as pool:
        parts = pool.map(lambda task: _count_file(store, task[0], task[1], name, limit), tasks)
        return sum(parts, Counter())


def _count_file(
    store: Store, file: FileVersion, groups: Sequence[int], name: str, limit: int | None
) -> Counter[int]:
    with open_parquet(store, file, BUFFER_BYTES) as parquet:
        of_file = RowGroups(parquet, file.path, [Wanted(name)])
        return sum((_count_group(of_file, group, name, limit) for group in groups), Counter())


def _count_group(of_file: RowGroups, group: int, name: str, limit: int | None) -> Counter[int]:
    """The lists of a row group by length, of which at least `limit` values are read."""
    total, in_footer = of_file.rows(group), of_file.values(group, name)
    rows, values, widths = 0, 0, Counter[int]()
    for table in of_file.batches(group, _COUNTED_ROWS):
        lists = as_lists(table.column(name))
        rows += len(lists)
        values += stored_values(lists)
        for chunk in lists.chunks:
            widths.update(chunk.value_lengths().fill_null(0).to_pylist())
        if len(widths) == 1 and in_footer == max(widths) * total:
            return Counter({max(widths): total})
        if limit and values >= limit:
            break
    del widths[0]
    return Counter({width: count * total // rows for width, count in widths.items()})
