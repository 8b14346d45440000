"""The job beside FAISS, scikit-learn and oneDAL: the same table, start and iterations.

Writes the medians to docs/speed.json, which `speed_picture` draws.
"""

import json
import statistics
from dataclasses import asdict, dataclass

import pyarrow.parquet as pq

from benchmarks import speed_picture
from benchmarks.data import OUT, Case, make
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
SAME_COST, SAME_LABELS = 1e-5, 0.999  # FAISS adds up float32 distances
LIKE_COST, LIKE_LABELS = 0.05, 0.5  # where FAISS filled empty clusters, in its own way
_LABELS = OUT / "labels.parquet"


@dataclass(frozen=True)
class Race:
    """A table, how many iterations are made of it, who runs, and how many labels must agree."""

    case: Case
    iterations: int
    others: tuple[str, ...]
    same_labels: float = SAME_LABELS


RACES = (
    Race(Case(2_000_000, 16, 64, 4), 20, (IN_MEMORY, FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(500_000, 128, 256, 4), 20, (IN_MEMORY, FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(20_000_000, 16, 64, 8), 20, (FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(20_000_000, 16, 64, 8), 10, (FAISS, SCIKIT_LEARN)),
    # After as many iterations FAISS's float32 sums have moved 0.16 % of these to other clusters.
    Race(Case(2_000_000, 128, 256, 8), 20, (FAISS, ONEDAL), same_labels=0.998),
    Race(Case(1_000_000, 64, 1024, 4), 20, (FAISS, SUPER, ONEDAL)),
    Race(Case(200_000, 512, 2048, 4), 20, (FAISS, SUPER)),
    Race(Case(200_000, 1536, 256, 8), 10, (FAISS,)),
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
    if who in (FAISS, SCIKIT_LEARN, ONEDAL):
        _check(race, who, finished)
    told = finished.json
    return {"iteration": told["fit"] / told["iterations"], "whole": finished.seconds}


def _other(race: Race, who: str) -> Finished:
    case, iterations = race.case, race.iterations
    folder = make(case)
    if who == IN_MEMORY:
        return run_module("benchmarks.in_memory", folder, case.start, iterations)
    if who in (FAISS, SUPER):
        how = (case.start, "Kmeans") if who == FAISS else ("1", SUPER)
        return run_module("benchmarks.faiss_kmeans", folder, _LABELS, case.k, iterations, *how)
    patch = who if who == ONEDAL else "none"
    return run_module("benchmarks.scikit_learn", folder, _LABELS, case.start, iterations, patch)


def _check(race: Race, who: str, finished: Finished) -> None:
    """Raises a RuntimeError if another's answer from the same start is not the job's."""
    ours = RunRecord.parse((OUT / "job" / RUN).read_bytes()).result.cost
    mine, other = (
        pq.read_table(path, columns=["label"])["label"].to_numpy()
        for path in (OUT / "job" / "labels", _LABELS)
    )
    equal, apart = float((mine == other).mean()), 0.0
    if who == FAISS:  # scikit-learn adds up float32 numbers: 0.6 % are gone of 20,000,000
        apart = abs(finished.json["cost"] / ours - 1)
    filled = finished.json.get("splits", 0) > 0
    least, most = (LIKE_LABELS, LIKE_COST) if filled else (race.same_labels, SAME_COST)
    if equal < least or apart > most:
        raise RuntimeError(
            f"{race.case.name}, {who}: {equal:.6f} of the labels agree, costs {apart:.1e} apart"
        )
