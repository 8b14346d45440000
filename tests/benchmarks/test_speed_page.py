"""docs/speed.md says what was measured."""

from benchmarks.processes import held
from benchmarks.speed_picture import DOCS, KMEANS_TF, figures, in_words


def test_the_page_has_the_table():
    _, seen = figures()
    assert in_words(seen) in (DOCS / "speed.md").read_text()


def test_a_figure_is_held_to_its_bar():
    assert [held(1.234), held(1.234, least=1.2), held(0.996, least=1)] == [
        "1.23",
        "1.23 (bar 1.2: met)",
        "0.996 (bar 1: missed)",
    ]
    both = [held(ratio, least=0.85, most=1.15) for ratio in (0.8, 1.0, 1.2)]
    assert both == [
        "0.80 (bar 0.85 to 1.15: missed)",
        "1.00 (bar 0.85 to 1.15: met)",
        "1.20 (bar 0.85 to 1.15: missed)",
    ]


def test_ratios_are_of_the_others_seconds():
    machine, seen = figures()
    assert "cores" in machine
    rows = [line.split(" | ") for line in in_words(seen).splitlines()[2:]]
    for one, row in zip(seen, rows, strict=True):
        ours = next(each for each in seen if (each.race, each.who) == (one.race, KMEANS_TF))
        by_ours = float(row[4].split()[0])
        assert abs(by_ours * ours.iteration - one.iteration) <= 0.006 * ours.iteration
