"""How long the lists of a column are, found out without reading all of them."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from pipeline.data.batches import BUFFER_BYTES, RowGroups, stored_values
from pipeline.data.files import FILE_THREADS, Footer
from pipeline.data.footers import open_parquet
from pipeline.data.store import Store

COUNTED_GROUPS = 256
COUNTED_VALUES = 1 << 26
_COUNTED_ROWS = 1024  # at a time


def count_widths(store: Store, footers: Sequence[Footer], name: str) -> Counter[int]:
    """How many lists there are of each length but 0.

    Every row group is counted, or 256 of them spread evenly over the table. One whose first lists
    are of one length, while its footer has as many values as that makes, is taken to be of that
    length throughout; any other is read, and when 2^26 values are, the row groups stand for their
    remaining rows. Where all that was read is null or empty, everything is.
    """
    groups = [(f, g) for f in footers for g, rows in enumerate(f.row_groups) if rows]
    picked = min(len(groups), COUNTED_GROUPS)
    spread = [groups[i * len(groups) // picked] for i in range(picked)]
    widths = _count_groups(store, spread, name, COUNTED_VALUES // max(picked, 1))
    return widths or _count_groups(store, groups, name, None)


def _count_groups(
    store: Store, groups: Sequence[tuple[Footer, int]], name: str, limit: int | None
) -> Counter[int]:
    files = [list(of_file) for _, of_file in groupby(groups, lambda group: group[0].file)]
    with ThreadPoolExecutor(FILE_THREADS) as pool:
        parts = pool.map(lambda of_file: _count_file(store, of_file, name, limit), files)
        return sum(parts, Counter())


def _count_file(
    store: Store, groups: Sequence[tuple[Footer, int]], name: str, limit: int | None
) -> Counter[int]:
    file = groups[0][0].file
    with open_parquet(store, file, BUFFER_BYTES) as parquet:
        of_file = RowGroups(parquet, file.path, [name])
        return sum((_count_group(of_file, group, name, limit) for _, group in groups), Counter())


def _count_group(of_file: RowGroups, group: int, name: str, limit: int | None) -> Counter[int]:
    """The lists of a row group by length, of which at least `limit` values are read."""
    total, in_footer = of_file.rows(group), of_file.values(group, name)
    rows, values, widths = 0, 0, Counter[int]()
    for batch in of_file.batches(group, _COUNTED_ROWS):
        lists = batch.column(name)
        rows += len(lists)
        values += stored_values(lists)
        widths.update(lists.value_lengths().fill_null(0).to_pylist())
        if len(widths) == 1 and in_footer == max(widths) * total:
            return Counter({max(widths): total})
        if limit and values >= limit:
            break
    del widths[0]
    return Counter({width: count * total // rows for width, count in widths.items()})
