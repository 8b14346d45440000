"""The same rows cut, ordered, read, cached and interrupted in many ways: one answer.

The ways are a pairwise design: every value of a factor meets every value of each other one.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.driver.fit import Fit
from tests.pipeline.answer import Answer
from tests.tables import write_shards

N, D, K = 2500, 16, 200  # so many that rows are compared by scores, where they are together
OPTIONS = (
    f"--features={','.join(f'f{j}' for j in range(D))}",
    *("--keys=id", "--weight=weight", f"--k={K}", "--init=k-means++"),
    *("--tolerance=0", "--max_iterations=5"),
)
WAYS: dict[str, Sequence] = {
    "files": (1, 3, 40, 2000),
    "row group": (None, 7),
    "shuffled": (False, True),
    "interrupted": (False, True),
    "cache": ("auto", "0"),
    "stage": ("auto", "never", "always"),
}


def pairwise(factors: Mapping[str, Sequence]) -> list[dict[str, Any]]:
    """Few choices of a value for each factor, in which every two values of two factors meet."""
    names = list(factors)
    left = {
        ((a, i), (b, j))
        for a, b in combinations(names, 2)
        for i in range(len(factors[a]))
        for j in range(len(factors[b]))
    }

    def met(row: dict[str, int]) -> set:
        return set(combinations(((n, row[n]) for n in names if n in row), 2)) & left

    rows = []
    while left:
        row = dict(min(left))
        for name in names:
            if name not in row:
                row[name] = max(range(len(factors[name])), key=lambda i: len(met({**row, name: i})))
        left -= met(row)
        rows.append({name: factors[name][row[name]] for name in names})
    return rows


def named(way: Mapping[str, Any]) -> str:
    """A choice as the name of a test."""
    return ", ".join(f"{name} {value}" for name, value in way.items())


def table() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Rows, of which some repeat, keys, and weights that are no whole numbers."""
    random = np.random.default_rng(12)
    points = random.normal(size=(N, D))
    points[::5] = points[0]
    return points, {"id": np.arange(N)}, random.lognormal(0, 2, N)


def answer_of(fit, run, folder: Path, way: Mapping[str, Any], *runner: str) -> Answer:
    """The answer to the table, as it is cut and read in a way."""
    points, keys, weights = table()
    write_shards(
        folder / "in",
        points,
        shards=way["files"],
        keys=keys,
        weights=weights,
        shuffle_seed=4 if way["shuffled"] else None,
        row_group_size=way["row group"],
    )
    a_job = 3 if way["interrupted"] else 5  # of the iterations: less is slower
    args = (*OPTIONS, f"--iterations_per_job={a_job}", *runner)
    args += (f"--stage={way['stage']}", f"--cache_mb={way['cache']}")
    if way["interrupted"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fit, "_round", _first_only(Fit._round))
            ran = run("fit", f"--input={folder / 'in'}", f"--output={folder / 'out'}", *args)
        assert ran.code == 5, ran.stderr
        args = (*args, "--resume=require")
    return fit(folder / "in", folder / "out", *args)


def _first_only(run_round):
    rounds = []

    def fails_the_second_time(*args):
        if rounds:
            raise OSError(5, "Input/output error")
        rounds.append(1)
        return run_round(*args)

    return fails_the_second_time
