"""How an iteration grows with the rows, all of them cached."""

from benchmarks.data import OUT, Case, make
from benchmarks.processes import held, table
from benchmarks.run_fit import run_fit, steady_seconds

CASE = Case(40_000_000, 16, 64, 16)
FILES = (2, 4, 8, 16)
ITERATIONS = 5
_AWAY = 0.15


def measure() -> str:
    """One run of each size; returns a table of seconds, and of each row's by the first size's."""
    make(CASE)
    runs = [(files * CASE.n // CASE.files, _seconds(files)) for files in FILES]
    first = runs[0][1] / runs[0][0]
    rows = [
        (
            f"{n:,}",
            f"{seconds:.2f}",
            f"{seconds / n * 1e9:.1f}",
            held(seconds / n / first, least=1 - _AWAY, most=1 + _AWAY),
        )
        for n, seconds in runs
    ]
    return table(("rows", "s an iteration", "ns a row", "by the first's"), rows)


def _seconds(files: int) -> float:
    """An iteration over the table's first files."""
    few = OUT / "growth"
    few.mkdir(exist_ok=True)
    for link in few.iterdir():
        link.unlink()
    for path in sorted(make(CASE).iterdir())[:files]:
        (few / path.name).symlink_to(path.absolute())
    run_fit(CASE, OUT / "job", ITERATIONS, "--stage=never", folder=few)
    return steady_seconds(OUT / "job", cached=True)
