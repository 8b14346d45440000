"""The formula of an iteration, beside values that were worked out by hand."""

from dataclasses import fields, replace
from itertools import pairwise

import pytest

from benchmarks.scale_model import (
    Costs,
    Job,
    Runner,
    Workers,
    blocks,
    first_iteration,
    iteration,
    kept,
    mean_iteration,
    share,
)

FREE = Costs(**dict.fromkeys((field.name for field in fields(Costs)), 0.0) | {"crowded": 1.0})
COSTS = Costs(
    read_file=1e-3,
    read_row=1e-8,
    read_value=1e-8,
    encode=1e-8,
    product=3e-11,
    score=3e-10,
    add=5e-9,
    keep=5e-8,
    update=7e-8,
    write=1.5e-9,
    fetch=1e-9,
    join=1e-9,
    crowded=1.2,
)
NO_RUNNER = Runner(launch=0.0, iteration=0.0, worker=0.0, carry=0.0)
NARROW = Job(rows=1 << 30, d=16, k=64, files=1000)
WIDE = Job(rows=1 << 24, d=512, k=8192, files=1000)  # sums of 33.7 MB, in 4 slices


def cluster(count, **more):
    return Workers(count, threads=1, cores=count, **more)


def test_a_step_compares_every_row_with_every_prototype():
    costs = replace(FREE, product=2.0**-40, score=2.0**-30, keep=2.0**-20)
    seconds = iteration(NARROW, cluster(4, cache=1 << 60), costs, NO_RUNNER)
    assert seconds.step == (2**28) * (16 * 64 * 2.0**-40 + 64 * 2.0**-30 + 2.0**-20)
    assert seconds.total == seconds.step
    assert seconds.largest == "step"


def test_what_a_cache_holds_is_neither_read_nor_compared_again():
    costs = replace(FREE, read_value=2.0**-30, product=2.0**-40, keep=2.0**-20)
    bytes_a_row = 4 * 17 + 4 * 17 // 8 + 12
    job, half = replace(NARROW, compared=0.0), bytes_a_row * (1 << 30) // 2
    assert kept(job, cluster(1, cache=half)) == pytest.approx(0.5)
    seconds = iteration(job, Workers(1, 1, 1, half), costs, NO_RUNNER)
    step = (1 << 29) * 16 * 64 * 2.0**-40 + (1 << 30) * 2.0**-20
    assert seconds.step == pytest.approx(step)
    assert seconds.read == pytest.approx((1 << 29) * 16 * 2.0**-30)


def test_reading_is_hidden_behind_a_longer_step_where_there_is_a_core_for_it():
    costs = replace(FREE, read_value=2.0**-30, keep=2.0**-20)
    step = (1 << 30) * 2.0**-20
    alone, beside = (
        iteration(NARROW, Workers(1, 1, cores, cache=0), costs, NO_RUNNER) for cores in (1, 2)
    )
    assert (alone.read, alone.step) == (16, step)
    assert (beside.read, beside.step) == (0, step)


def test_processes_share_cores_and_crowd_them():
    costs = replace(FREE, keep=2.0**-20, crowded=1.5)
    times = [
        iteration(NARROW, Workers(count, 1, 2, 1 << 60), costs, NO_RUNNER).step
        for count in (1, 2, 4)
    ]
    assert times == [1024, 768, 768]


def test_small_sums_travel_to_one_worker():
    runner = replace(NO_RUNNER, carry=1.0)
    seconds = iteration(NARROW, cluster(10), FREE, runner)
    assert seconds.sums == 10 * 8 * 64 * 18


def test_large_sums_are_written_and_added_a_slice_at_a_time():
    costs = replace(FREE, write=1.0, join=100.0)
    size = 8 * 8192 * 514
    one, four, eight = (
        iteration(WIDE, cluster(count), costs, NO_RUNNER).sums / size for count in (1, 4, 8)
    )
    assert one == 1 + 100
    assert four == pytest.approx(1 + (4 * 100 + 1) / 4 + 100)
    assert eight == pytest.approx(1 + (8 * 100 + 1) / 4 + 100)


def test_a_state_is_written_once_and_read_by_all_others_at_once():
    costs = replace(FREE, update=3.0, write=1 / 8, fetch=1.0)
    one, many = (iteration(NARROW, cluster(n), costs, NO_RUNNER).state for n in (1, 50))
    assert one == 16 * 64 * (3 + 1)
    assert many == one + 16 * 64 * 8


@pytest.mark.parametrize("compared", [0.0, 1.0])
def test_more_workers_are_never_slower_while_beam_costs_nothing_for_each(compared):
    job = replace(NARROW, compared=compared)
    times = [iteration(job, cluster(n), COSTS, NO_RUNNER).total for n in range(2, 2000)]
    assert all(more <= fewer for fewer, more in pairwise(times))


def test_more_workers_than_blocks_find_nothing_to_do():
    job = replace(NARROW, rows=10 << 16)
    assert blocks(job) == 10
    assert [share(job, cluster(n)) for n in (1, 3, 10, 50)] == [1.0, 0.4, 0.1, 0.1]


def test_a_share_that_is_known_is_taken():
    assert share(NARROW, replace(cluster(4), busiest=0.75)) == 0.75


def test_a_row_group_beyond_a_chunk_is_one_block():
    assert blocks(replace(NARROW, rows=1 << 20, group_rows=1 << 18)) == 4


def test_what_beam_takes_for_each_worker_ends_the_gain():
    runner = Runner(launch=0.0, iteration=0.1, worker=0.01, carry=0.0)
    times = {n: iteration(NARROW, cluster(n), COSTS, runner).total for n in (1, 100, 1000)}
    assert times[100] < min(times[1], times[1000])
    assert iteration(NARROW, cluster(1000), COSTS, runner).largest == "runner"


def test_a_first_iteration_launches_and_where_processes_are_new_reads():
    warm = Runner(launch=5.0, iteration=0.0, worker=0.0, carry=0.0)
    cold = replace(warm, restarts=True)
    workers = cluster(1, cache=1 << 60)
    middle = iteration(NARROW, workers, COSTS, warm)
    assert first_iteration(NARROW, workers, COSTS, warm).total == pytest.approx(middle.total + 5)
    assert middle.read == 0
    assert first_iteration(NARROW, workers, COSTS, cold).read > 0


def test_a_mean_iteration_has_its_share_of_the_launch():
    runner = Runner(launch=5.0, iteration=1.0, worker=0.0, carry=0.0)
    seconds = mean_iteration(NARROW, cluster(10, cache=1 << 60), COSTS, runner, per_job=10)
    middle = iteration(NARROW, cluster(10, cache=1 << 60), COSTS, runner)
    assert seconds.launch == 0.5
    assert seconds.total == pytest.approx(middle.total + 0.5)
