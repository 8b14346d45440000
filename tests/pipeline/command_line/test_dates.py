"""Days in paths."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline.command_line.dates import names_a_day, on
from pipeline.command_line.parse import parse
from pipeline.errors import UsageError
from tests.pipeline.answer import Answer, with_options
from tests.tables import write_shards

FIT = ["fit", "--input=in", "--output=out"]
LEAP = date(2028, 3, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out/{date}", "out/2028-03-01"),
        ("out/{yesterday}", "out/2028-02-29"),
        ("out/{date-1}", "out/2028-02-29"),
        ("out/{date-7}/day={yesterday-1}", "out/2028-02-23/day=2028-02-28"),
        ("s3://b/{date:%Y/%m/%d}/x", "s3://b/2028/03/01/x"),
        ("{yesterday:%Y%m%d}", "20280229"),
        ("{date:%-d%%d}", "1%d"),
        ("out/{tomorrow}-{}-{dates}", "out/{tomorrow}-{}-{dates}"),
    ],
)
def test_days_in_paths(text, expected):
    assert on(LEAP, text) == expected
    assert names_a_day(text) == (text != expected)
    assert on(None, text) == text


@pytest.mark.parametrize("form", ["%Q", "%Y%%%q", "%%%N"])
def test_a_form_that_stands_for_no_day_is_refused(form):
    with pytest.raises(UsageError, match=f"{form[-2:]} stands for no part of a day"):
        on(LEAP, f"out/{{date:{form}}}")


def today():
    return datetime.now(UTC).date()


def test_the_day_is_todays_unless_said():
    dated = [*FIT[:2], "--output=out/{date}"]
    before = today()
    assert before <= parse(dated).day <= today()
    before = today() - timedelta(1)
    assert before <= parse([*dated, "--date=yesterday"]).day <= today() - timedelta(1)
    assert parse([*dated, "--date=2026-02-03"]).day == date(2026, 2, 3)
    assert parse(FIT).day is None


@pytest.mark.parametrize("given", ["2026-02-30", "03.02.2026", "tomorrow"])
def test_what_is_no_day(given):
    with pytest.raises(UsageError, match=f"--date: '{given}': expected YYYY-MM-DD, today or yest"):
        parse([*FIT[:2], "--output={date}", f"--date={given}"])


def test_a_day_that_stands_nowhere_is_refused():
    with pytest.raises(UsageError, match=r"--date 2026-02-03: no path has \{date\}"):
        parse([*FIT, "--date=2026-02-03"])


def test_every_path_of_both_commands_has_its_day(run, tmp_path):
    places = [f"--input={tmp_path}/in/{{date}}", f"--output={tmp_path}/{{date:%j}}/out"]
    write_shards(tmp_path / "in" / "2026-02-03", [[0.0], [1.0], [9.0]])
    ran = run("fit", *places, "--k=2", "--max_iterations=1", "--date=2026-02-03")
    assert ran.code == 0, ran.stderr
    assert ran.stderr.startswith("date: 2026-02-03\n")
    first = Answer(tmp_path / "034" / "out")
    write_shards(tmp_path / "in" / "2026-02-04", [[0.0], [1.0], [9.0]])
    args = with_options(places, f"--model={tmp_path}/{{yesterday:%j}}/out", "--date=2026-02-04")
    ran = run("label", *args)
    assert ran.code == 0, ran.stderr
    assert Answer(tmp_path / "035" / "out").labels.tolist() == first.labels.tolist()
