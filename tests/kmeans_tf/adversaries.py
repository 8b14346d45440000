"""Points and prototypes that are hard to tell apart, or to compare in floating point."""

import numpy as np

N = 200
SIZES = [
    (1, 2), (2, 1), (3, 2), (5, 7), (16, 16), (16, 1), (17, 2), (64, 16), (64, 32), (100, 7),
    (257, 2), (257, 16), (1000, 1), (1000, 32),
]  # fmt: skip


def lattice(rng, k, d):
    """Whole numbers: many exact ties."""
    return rng.integers(-2, 3, (N, d)), rng.integers(-2, 3, (k, d))


def halves(rng, k, d):
    """Points half way between two prototypes, and one float32 to either side."""
    prototypes = rng.standard_normal((k, d)).astype(np.float32).astype(np.float64)
    one, other = rng.integers(0, k, (2, N))
    points = ((prototypes[one] + prototypes[other]) / 2).astype(np.float32)
    points[::3] = np.nextafter(points[::3], np.float32(9))
    points[1::3] = np.nextafter(points[1::3], np.float32(-9))
    return points, prototypes


def duplicated(rng, k, d):
    """Every prototype twice or more, one bit apart at times."""
    prototypes = rng.standard_normal((k, d))[np.arange(k) // 2]
    prototypes[::4] = np.nextafter(prototypes[::4], 9)
    return rng.standard_normal((N, d)), prototypes


def coinciding(rng, k, d):
    """Every point is a prototype, among others."""
    prototypes = rng.standard_normal((k, d)).astype(np.float32)
    return prototypes[rng.integers(0, k, N)], prototypes


def close_together(rng, k, d):
    """Prototypes that differ in their last bits of float32, far from the origin."""
    centre = np.full(d, 100.0)
    noise = rng.standard_normal((k, d)) * 1e-5
    return centre + rng.standard_normal((N, d)), centre + noise


def off_centre(rng, k, d):
    """Unit blobs at 1000: squares cancel."""
    return 1000 + rng.standard_normal((N, d)), 1000 + rng.standard_normal((k, d))


def tiny(rng, k, d):
    """Squares near the end of float32."""
    return rng.standard_normal((N, d)) * 1e-20, rng.standard_normal((k, d)) * 1e-20


def subnormal(rng, k, d):
    """Points and prototypes that float32 can hardly tell apart."""
    return rng.integers(-9, 9, (N, d)) * 2.0**-149, rng.integers(-9, 9, (k, d)) * 2.0**-149


def huge(rng, k, d):
    """Squares beyond float32."""
    return rng.standard_normal((N, d)) * 1e20, rng.standard_normal((k, d)) * 1e20


def of_all_sizes(rng, k, d):
    """Rows and prototypes over forty orders of magnitude."""
    points = rng.standard_normal((N, d)) * 10.0 ** rng.integers(-30, 10, (N, 1))
    return points, rng.standard_normal((k, d)) * 10.0 ** rng.integers(-30, 10, (k, 1))


def at_the_floor(rng, k, d):
    """Points that are prototypes, of such a size that rounding makes their scores nearly zero."""
    prototypes = (rng.uniform(2.0**-32, 2.0**-28, (k, d)) / np.sqrt(d)).astype(np.float32)
    return prototypes[rng.integers(0, k, N)], prototypes


def constant(rng, k, d):
    """All rows are one; prototypes around it at nearly one distance."""
    prototypes = rng.standard_normal((k, d))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    return np.full((N, d), 0.5), 0.5 + prototypes


def far_prototype(rng, k, d):
    """One prototype at 1e6 beside unit blobs."""
    prototypes = rng.standard_normal((k, d))
    prototypes[k // 2] = 1e6
    return rng.standard_normal((N, d)), prototypes


def runaway_prototype(rng, k, d):
    """One prototype beyond float32."""
    prototypes = rng.standard_normal((k, d))
    prototypes[-1] = 1e300
    return rng.standard_normal((N, d)), prototypes


ADVERSARIES = [
    lattice, halves, duplicated, coinciding, close_together, off_centre, tiny, subnormal, huge,
    of_all_sizes, at_the_floor, constant, far_prototype, runaway_prototype,
]  # fmt: skip


def case_of(make, k, d):
    points, prototypes = make(np.random.default_rng([k, d]), k, d)
    return np.asarray(points, np.float32), np.asarray(prototypes, np.float64)
