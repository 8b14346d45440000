"""How good the start is: the final cost beside the best of 20 scikit-learn runs, and the passes.

The tables are hard for a start in different ways. Every figure is of five seeds.
"""

from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image

import kmeans_tf

N = 300_000
SEEDS, SCIKIT_LEARN_SEEDS = range(5), range(20)


def _blobs(random: np.random.Generator, shares: np.ndarray, spread: float, noise: float, d: int):
    centres = random.normal(0, spread, (len(shares), d))
    return centres[random.choice(len(shares), N, p=shares)] + random.normal(0, noise, (N, d))


def _far(random: np.random.Generator) -> np.ndarray:
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])[random.integers(0, 3, N)]
    return np.r_[corners + random.normal(0, 1, (N, 2)), 10_000 + random.normal(0, 1, (8, 2))]


def _rare_half(random: np.random.Generator) -> np.ndarray:
    shares = np.r_[np.full(32, 0.999 / 32), np.full(32, 0.001 / 32)]
    return _blobs(random, shares, 20, 1, 8)


def _mass_in_one_value(random: np.random.Generator) -> np.ndarray:
    rows = random.lognormal(0, 1.5, (N, 6))
    rows[random.random(N) < 0.3] = 0
    return rows


def _one_hot(_: np.random.Generator) -> np.ndarray:
    place = np.arange(N)
    return np.c_[np.eye(20)[place % 20], np.eye(15)[place // 20 % 15]]


def _sizes(random: np.random.Generator) -> np.ndarray:
    sizes = np.geomspace(1, 1000, 32)
    return _blobs(random, sizes / sizes.sum(), 20, 1, 8)


def _photograph(_: np.random.Generator) -> np.ndarray:
    return load_sample_image("china.jpg").reshape(-1, 3).astype(float)


TABLES: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], int]] = {
    "eight rows far away": (_far, 4),
    "a thousandth of the rows in half of the groups": (_rare_half, 64),
    "30 % of the mass in one value": (_mass_in_one_value, 32),
    "Student's t of 2 degrees": (lambda random: random.standard_t(2, (N, 8)), 32),
    "balanced one-hot": (_one_hot, 16),
    "group sizes 1 to 1,000": (_sizes, 32),
    "overlapping blobs": (lambda random: _blobs(random, np.full(64, 1 / 64), 1, 0.7, 16), 64),
    "uniform": (lambda random: random.random((N, 8)), 32),
    "a photograph": (_photograph, 16),
}


def measure() -> str:
    """A Markdown table: costs over scikit-learn's best, full passes, trainings on the samples."""
    lines = [
        "| table, k | scikit-learn's 20 | this job's cost | full passes | trainings |",
        "|---|---|---|---|---|",
    ]
    for name, (make, k) in TABLES.items():
        rows = make(np.random.default_rng(7))
        runs = [KMeans(k, n_init=1, random_state=s).fit(rows).inertia_ for s in SCIKIT_LEARN_SEEDS]
        trials = [kmeans_tf.fit(rows, k, seed=seed)[1].trials[0] for seed in SEEDS]
        best = min(runs)
        cells = (
            f"{name}, {k}",
            f"1.000 to {max(runs) / best:.3f}",
            ", ".join(f"{trial.costs[-1] / best:.3f}" for trial in trials),
            ", ".join(f"{trial.iterations}" for trial in trials),
            ", ".join(f"{trial.proof.trainings}" if trial.proof else "-" for trial in trials),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
