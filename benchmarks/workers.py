"""Two worker processes of one thread each, beside one."""

import statistics

from benchmarks.data import OUT, Case
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit, steady_seconds

CASE = Case(20_000_000, 16, 64, 8)
ITERATIONS, REPEATS = 6, 3
_TWO = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
_BAR = 1.6


def measure() -> str:
    """Runs both in turn and returns a table of medians."""
    runs = [(_seconds(), _seconds(*_TWO)) for _ in range(REPEATS)]
    one, two = map(statistics.median, zip(*runs, strict=True))
    header = ("table", "s an iteration, one process", "two processes", "how much faster")
    row = (CASE.name, f"{one:.2f}", f"{two:.2f}", held(one / two, least=_BAR))
    return table(header, [row])


def _seconds(*options: str) -> float:
    run_fit(CASE, OUT / "job", ITERATIONS, "--threads=1", *options)
    return steady_seconds(OUT / "job")
