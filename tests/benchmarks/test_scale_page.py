"""docs/scale.md says what the model says of the constants beside it."""

import pytest

from benchmarks.scale_picture import DOCS, ROWS, SHAPES, on_cluster, stops, tables

PAGE = (DOCS / "scale.md").read_text()


def cells(text):
    """Lines of tables, however they are padded."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.split("|")] for line in lines if set(line) - set("|- ")]


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.splitlines()[0][:30])
def test_the_page_has_the_tables(table):
    rows = cells(table)
    assert rows
    assert [row for row in rows if row not in cells(PAGE)] == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ROWS)
def test_beyond_where_it_stops_twice_as_many_workers_gain_little(rows, shape):
    count = stops(rows, shape)
    now, twice, half = (on_cluster(rows, shape, c).total for c in (count, 2 * count, count // 2))
    assert now < 1.2 * twice
    assert half >= 1.2 * now
