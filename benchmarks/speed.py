"""The job beside FAISS, scikit-learn and oneDAL: the same table, start and iterations.

Writes the medians to docs/speed.json, which `speed_picture` draws.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow.parquet as pq

from benchmarks import speed_picture
from benchmarks.data import OUT, Case, make, rows_of
from benchmarks.processes import Finished, machine, run_module
from benchmarks.run_fit import run_fit
from benchmarks.speed_picture import (
    FAISS,
    IN_MEMORY,
    KMEANS_TF,
    ONEDAL,
    SCIKIT_LEARN,
    SUPER,
    Seen,
)
from pipeline.output.run_record import RUN, RunRecord

REPEATS = 3
SAME_COST, SAME_LABELS = 1e-5, 0.999  # float32 sums leave others' prototypes elsewhere
LIKE_COST, LIKE_LABELS = 0.05, 0.5  # where FAISS filled empty clusters, in its own way
_LABELS = OUT / "labels.parquet"
_PROTOTYPES = OUT / "prototypes.npy"
_COSTED_ROWS = 1 << 18  # at a time

Bars = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Race:
    """A table, how many iterations are made of it, who runs, and how many labels must agree.

    Attributes:
        others: who runs beside the job, with bars; see `Seen`.
    """

    case: Case
    iterations: int
    others: Mapping[str, Bars]
    same_labels: float = SAME_LABELS


_NONE: Bars = (None, None, None)
RACES = (
    Race(
        Case(2_000_000, 16, 64, 4),
        20,
        {
            IN_MEMORY: _NONE,
            FAISS: (0.7, 0.4, 1.0),
            ONEDAL: _NONE,
            SCIKIT_LEARN: (None, None, 2.0),
        },
    ),
    Race(
        Case(500_000, 128, 256, 4),
        20,
        {
            IN_MEMORY: _NONE,
            FAISS: (None, 0.9, 1.0),
            ONEDAL: _NONE,
            SCIKIT_LEARN: (None, None, 2.0),
        },
    ),
    Race(
        Case(20_000_000, 16, 64, 8),
        20,
        {FAISS: (1.0, None, None), ONEDAL: (1.0, None, None), SCIKIT_LEARN: _NONE},
    ),
    Race(
        Case(20_000_000, 16, 64, 8),
        10,
        {FAISS: (None, 0.8, None), SCIKIT_LEARN: (None, 1.1, None)},
    ),
    # After as many iterations FAISS's float32 sums have moved 0.16 % of these to other clusters.
    Race(
        Case(2_000_000, 128, 256, 8),
        20,
        {FAISS: (2.0, None, None), ONEDAL: (2.0, None, None)},
        same_labels=0.998,
    ),
    Race(
        Case(1_000_000, 64, 1024, 4),
        20,
        dict.fromkeys((FAISS, SUPER, ONEDAL), (1.5, None, None)),
    ),
    Race(Case(200_000, 512, 2048, 4), 20, dict.fromkeys((FAISS, SUPER), (1.2, None, None))),
    Race(Case(200_000, 1536, 256, 8), 10, {FAISS: (None, 0.7, None)}),
)


def measure(races: tuple[Race, ...] = RACES, repeats: int = REPEATS) -> str:
    """Runs all in turn, checks that they agree, and returns a table of medians.

    Raises:
        RuntimeError: two have different answers.
    """
    where = machine()
    seen = [one for race in races for one in _medians(race, repeats)]
    found = {"machine": where, "seen": [asdict(one) for one in seen]}
    speed_picture.FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    return speed_picture.measure()


def _medians(race: Race, repeats: int) -> list[Seen]:
    make(race.case)
    runs = [{who: _run(race, who) for who in (KMEANS_TF, *race.others)} for _ in range(repeats)]
    return [
        Seen(
            race.case.name,
            who,
            race.iterations,
            round(statistics.median(run[who]["iteration"] for run in runs), 3),
            round(statistics.median(run[who]["whole"] for run in runs), 1),
            race.others.get(who, _NONE),
        )
        for who in runs[0]
    ]


def _run(race: Race, who: str) -> dict[str, float]:
    """Seconds of an iteration, the mean with all that goes with them, and of the process."""
    if who == KMEANS_TF:
        finished = run_fit(race.case, OUT / "job", race.iterations)
        run = RunRecord.parse((OUT / "job" / RUN).read_bytes())
        return {
            "iteration": run.seconds["train"] / run.result.iterations,
            "whole": finished.seconds,
        }
    finished = _other(race, who)
    if who == IN_MEMORY:
        _check_same(race)
    elif who in (FAISS, SCIKIT_LEARN, ONEDAL):
        _check(race, who, finished)
    told = finished.json
    return {"iteration": told["fit"] / told["iterations"], "whole": finished.seconds}


def _other(race: Race, who: str) -> Finished:
    case, iterations = race.case, race.iterations
    folder = make(case)
    if who == IN_MEMORY:
        return run_module("benchmarks.in_memory", folder, _PROTOTYPES, case.start, iterations)
    output = (_LABELS, _PROTOTYPES)
    if who in (FAISS, SUPER):
        start, kind = (case.start, "Kmeans") if who == FAISS else (1, SUPER)
        how = (case.k, iterations, start, kind)
        return run_module("benchmarks.faiss_kmeans", folder, *output, *how)
    patch = who if who == ONEDAL else "none"
    return run_module("benchmarks.scikit_learn", folder, *output, case.start, iterations, patch)


def _check_same(race: Race) -> None:
    """Raises a RuntimeError if the library's answer is not the job's, to the bit."""
    features = pq.read_table(OUT / "job" / "prototypes.parquet")
    names = [f"f{j:03d}" for j in range(race.case.d)]
    ours = np.stack([features[name].to_numpy() for name in names], 1)
    if not np.array_equal(ours, np.load(_PROTOTYPES)):
        raise RuntimeError(f"{race.case.name}, {IN_MEMORY}: other prototypes than the job's")


def _check(race: Race, who: str, finished: Finished) -> None:
    """Raises a RuntimeError if another's answer from the same start is not the job's."""
    ours = RunRecord.parse((OUT / "job" / RUN).read_bytes()).result.cost
    mine, other = (
        pq.read_table(path, columns=["label"])["label"].to_numpy()
        for path in (OUT / "job" / "labels", _LABELS)
    )
    equal = float((mine == other).mean())
    apart = abs(_cost(race.case, np.load(_PROTOTYPES), other) / ours - 1)
    filled = finished.json.get("splits", 0) > 0
    least, most = (LIKE_LABELS, LIKE_COST) if filled else (race.same_labels, SAME_COST)
    told = f"{race.case.name}, {who}: {equal:.6f} of the labels agree, costs {apart:.1e} apart"
    if equal < least or apart > most:
        raise RuntimeError(told)
    print(told, file=sys.stderr)


def _cost(case: Case, prototypes: np.ndarray, labels: np.ndarray) -> float:
    """What rows cost with some labels: others add up float32 numbers, and some round their sum."""
    rows, total = rows_of(pq.read_table(make(case))), 0.0
    for start in range(0, len(rows), _COSTED_ROWS):
        some = slice(start, start + _COSTED_ROWS)
        away = rows[some] - prototypes[labels[some]].astype(np.float64)
        total += float(np.einsum("ij,ij->", away, away))
    return total
