"""Rows of few features taken several at a time: NumPy is slow along axes that are short."""

import numpy as np

_NUMBERS = 1 << 10  # of a row whose end takes no time beside it


def side_by_side(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) as (m, r d), where r of them make one that is long enough, and what is left.

    Returns:
        the long rows, and the last of the given ones, less than r. Of rows that lie in memory
        column by column, which NumPy is quick with, r is 1.
    """
    if not rows.flags.c_contiguous:
        return rows, rows[:0]
    together = max(1, _NUMBERS // rows.shape[1])
    whole = len(rows) // together * together
    return rows[:whole].reshape(-1, together * rows.shape[1]), rows[whole:]
