"""SplitMix64's step and finaliser (Steele, Lea and Flood 2014), over arrays of whole numbers."""

import numpy as np

# As arrays, which NumPy need not make of them at every call.
STEP, FIRST, SECOND = (
    np.array(number, np.uint64)
    for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_SHIFTS = np.array([30, 27, 31], np.uint64)[:, None]


def mix(numbers: np.ndarray, scratch: np.ndarray | None = None) -> np.ndarray:
    """Makes (n,) uint64 in place into others of which half of the bits change with any one bit.

    Args:
        scratch: (n,) uint64 that is written to; spares making one.

    Returns:
        the numbers.
    """
    shifted, (one, two, three) = np.empty_like(numbers) if scratch is None else scratch, _SHIFTS
    numbers ^= np.right_shift(numbers, one, out=shifted)
    numbers *= FIRST
    numbers ^= np.right_shift(numbers, two, out=shifted)
    numbers *= SECOND
    numbers ^= np.right_shift(numbers, three, out=shifted)
    return numbers
