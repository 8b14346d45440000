"""docs/speed.md says what was measured."""

from benchmarks.speed_picture import DOCS, KMEANS_TF, figures, in_words


def test_the_page_has_the_table():
    _, seen = figures()
    assert in_words(seen) in (DOCS / "speed.md").read_text()


def test_ratios_are_of_the_others_seconds():
    machine, seen = figures()
    assert "cores" in machine
    rows = [line.split(" | ") for line in in_words(seen).splitlines()[2:]]
    for one, row in zip(seen, rows, strict=True):
        ours = next(each for each in seen if (each.table, each.who) == (one.table, KMEANS_TF))
        by_ours = float(row[4].split()[0])
        assert abs(by_ours * ours.iteration - one.iteration) <= 0.006 * ours.iteration
