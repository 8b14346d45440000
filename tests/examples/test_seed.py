"""The run that the project began from: the job and the post's own expression give its figures."""

import numpy as np
import pytest

from examples import seed
from examples.literal import literal_costs

pytestmark = pytest.mark.xdist_group("seed")  # for the fixtures of this module

FLOAT64 = {0: 21533.68954, 10: 950.78372, 20: 940.45337, 100: 940.45032}


@pytest.fixture(scope="module")
def points():
    return seed.seed_points()


@pytest.fixture(scope="module")
def literal(points):
    start = points[seed.START_ROWS]
    return literal_costs(points, start, seed.LEARNING_RATE, seed.ITERATIONS)


@pytest.fixture(scope="module")
def run(points, tmp_path_factory, commands_run_here):
    folder = tmp_path_factory.mktemp("seed")
    history = seed.run_job(points, folder)
    return folder, history


def test_the_posts_expression_gives_its_table_to_seven_digits(literal):
    # By the last float32 digit it may differ: TensorFlow's sums have changed their order since.
    for iteration, printed in seed.PRINTED.items():
        assert literal[iteration] == pytest.approx(printed, rel=1e-7)


def test_the_job_gives_the_float64_figures(run):
    job = seed.job_costs(run[1])
    assert len(job) == seed.ITERATIONS
    for iteration, expected in FLOAT64.items():
        assert job[iteration] == pytest.approx(expected, abs=1e-5)


def test_history_holds_the_cost_before_an_update(run, points):
    distances = points[:, None].astype(np.float64) - points[seed.START_ROWS].astype(np.float64)
    before = (distances**2).sum(2).min(1).sum()
    assert run[1][0] == pytest.approx(before, rel=1e-9)


def test_the_last_cost_holds_once_the_job_is_done():
    job = seed.job_costs(np.array([9.0, 5.0, 4.0]))
    assert job[:2].tolist() == [5.0, 4.0]
    assert set(job[2:]) == {4.0}


def test_the_table_has_the_three_side_by_side(literal, run):
    head, *lines = seed.format_table(literal, seed.job_costs(run[1])).splitlines()
    assert head.split("  ")[0] == "iteration"
    assert [int(line.split()[0]) for line in lines] == list(range(0, 101, 10))
    for line in lines:
        printed, now, job = map(float, line.split()[1:])
        assert now == pytest.approx(printed, rel=2e-7)
        assert job == pytest.approx(printed, rel=2e-7)


def test_the_picture_is_drawn(run, points):
    folder, _ = run
    seed.draw(points, folder)
    assert (folder / "seed.png").stat().st_size > 10_000
