"""The job beside FAISS, scikit-learn and oneDAL: the same table, start and iterations."""

import statistics
from dataclasses import dataclass

import pyarrow.parquet as pq

from benchmarks.data import OUT, Case, make
from benchmarks.processes import Finished, run_module, table
from benchmarks.run_fit import run_fit
from pipeline.output.run_record import RUN, RunRecord

REPEATS = 3
SAME_COST, SAME_LABELS = 1e-6, 0.999
LIKE_COST, LIKE_LABELS = 5e-3, 0.99  # where FAISS fills an empty cluster in its own way
KMEANS_TF, IN_MEMORY = "kmeans-tf", "kmeans_tf.fit"
FAISS, SUPER, SCIKIT_LEARN, ONEDAL = "FAISS", "SuperKMeans", "scikit-learn", "oneDAL"
_LABELS = OUT / "labels.parquet"


@dataclass(frozen=True)
class Race:
    """A table, how many iterations are made of it, and who runs."""

    case: Case
    iterations: int
    others: tuple[str, ...]


RACES = (
    Race(Case(2_000_000, 16, 64, 4), 20, (IN_MEMORY, FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(500_000, 128, 256, 4), 20, (IN_MEMORY, FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(20_000_000, 16, 64, 8), 10, (FAISS, ONEDAL, SCIKIT_LEARN)),
    Race(Case(2_000_000, 128, 256, 8), 10, (FAISS, ONEDAL)),
    Race(Case(1_000_000, 64, 1024, 4), 10, (FAISS, SUPER, ONEDAL)),
    Race(Case(200_000, 512, 2048, 4), 10, (FAISS, SUPER)),
    Race(Case(200_000, 1536, 256, 8), 10, (FAISS,)),
)


def measure(races: tuple[Race, ...] = RACES, repeats: int = REPEATS) -> str:
    """Runs all in turn, checks that they agree, and returns a table of medians.

    Raises:
        RuntimeError: two have different answers.
    """
    header = ("table", "who", "s an iteration", "by kmeans-tf", "whole process, s", "by kmeans-tf")
    return table(header, [row for race in races for row in _rows(race, repeats)])


def _rows(race: Race, repeats: int) -> list[list[str]]:
    make(race.case)
    runs = [{who: _run(race, who) for who in (KMEANS_TF, *race.others)} for _ in range(repeats)]
    median = {
        who: {what: statistics.median(run[who][what] for run in runs) for what in runs[0][who]}
        for who in runs[0]
    }
    ours = median[KMEANS_TF]
    return [
        [
            race.case.name,
            who,
            f"{theirs['iteration']:.3f}",
            f"{theirs['iteration'] / ours['iteration']:.2f}",
            f"{theirs['whole']:.1f}",
            "" if who == IN_MEMORY else f"{theirs['whole'] / ours['whole']:.2f}",
        ]
        for who, theirs in median.items()
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
    equal, apart = float((mine == other).mean()), abs(finished.json["cost"] / ours - 1)
    filled = finished.json.get("splits", 0) > 0
    least, most = (LIKE_LABELS, LIKE_COST) if filled else (SAME_LABELS, SAME_COST)
    if equal < least or apart > most:
        raise RuntimeError(
            f"{race.case.name}, {who}: {equal:.6f} of the labels agree, costs {apart:.1e} apart"
        )
