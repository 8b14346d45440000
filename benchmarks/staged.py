"""Points of which the cache holds half, the others in mapped files, beside all of them cached."""

import statistics

from benchmarks.data import OUT, Case
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit, steady_seconds

CASE = Case(20_000_000, 16, 64, 8)
ITERATIONS, REPEATS = 6, 3
POINTS_MB = (CASE.n * (CASE.d + 1) * 4) >> 20
_BAR = 2.0


def measure() -> str:
    """Runs both in turn and returns a table of medians."""
    halves = f"--cache_mb={POINTS_MB // 2}"
    runs = [(_cached(), _staged(halves)) for _ in range(REPEATS)]
    cached, staged = map(statistics.median, zip(*runs, strict=True))
    header = ("table", "s an iteration, cached", f"staged, {halves}", "by cached")
    row = (CASE.name, f"{cached:.2f}", f"{staged:.2f}", held(staged / cached, most=_BAR))
    return table(header, [row])


def _cached() -> float:
    run_fit(CASE, OUT / "job", ITERATIONS, "--stage=never")
    return steady_seconds(OUT / "job", cached=True)


def _staged(cache: str) -> float:
    run_fit(CASE, OUT / "job", ITERATIONS, cache, "--stage=auto")
    return steady_seconds(OUT / "job")
