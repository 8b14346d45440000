"""Sums are the same whatever is added to what first."""

import pickle
from typing import ClassVar

import apache_beam as beam
import hypothesis
import numpy as np
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.runners import common
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.userstate import BagStateSpec, get_dofn_specs
from hypothesis import strategies as st

from kmeans_tf.stats import ClusterStats, IterationStats
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.parcels import Parcel
from pipeline.passes.sums import ONLY, PlainDoFn, Sum, SumBlocks

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def combined(groups):
    """The combiner fed as a runner does: groups apart, accumulators shipped, then merged."""
    sums = Sum()
    accumulators = []
    for group in groups:
        total = sums.create_accumulator()
        for value in group:
            total = sums.add_input(total, value)
        accumulators.append(pickle.loads(pickle.dumps(total)))
    return sums.extract_output(sums.merge_accumulators(iter(accumulators)))


@hypothesis.given(st.lists(st.lists(st.integers(-(10**15), 10**15))))
def test_any_grouping_gives_the_sum(groups):
    values = [value for group in groups for value in group]
    assert combined(groups) == (sum(values) if values else None)


def stats(seed: int) -> IterationStats:
    rng = np.random.default_rng(seed)
    rows, sums = rng.integers(0, 9, 3), rng.integers(-(2**60), 2**60, (3, 2)) // 64
    return IterationStats({0: ClusterStats(rows, rows * 2, sums, seed**40)}, seed**50)


def bits(total: IterationStats) -> tuple:
    (stats,) = total.clusters.values()
    arrays = (stats.rows, stats.weight, stats.sums)
    return (*(array.tobytes() for array in arrays), stats.cost, total.squares)


@hypothesis.given(st.permutations(range(8)), st.integers(0, 8))
def test_statistics_add_up_in_any_order(order, cut):
    parts = [stats(seed) for seed in order]
    total = combined([parts[:cut], parts[cut:]])
    assert bits(total) == bits(sum(map(stats, range(8)), IterationStats.zero()))


def test_the_sum_of_nothing_is_none():
    sums = Sum()
    assert sums.extract_output(sums.create_accumulator()) is None
    assert combined([[], []]) is None
    assert sums.merge_accumulators(iter([None, 3, None, 4])) == 7


class Squares(SumBlocks):
    """Numbers -> the sum of the squares of what is below them; negative ones fail."""

    def tasks(self, block):
        for i in range(abs(block)):
            yield lambda total, i=i: (total or 0) + i * i // (block > 0)


def squares_below(folder):
    return Squares(Heartbeat("squares", WorkFolder(str(folder))), threads=2)


def test_tasks_add_up_over_bundles(tmp_path):
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        sums = pipeline | beam.Create([3, 0, 50]) | beam.ParDo(squares_below(tmp_path))
        total = sums | beam.CombinePerKey(Sum())
        squares = sum(i * i for i in range(3)) + sum(i * i for i in range(50))
        assert_that(total, equal_to([(ONLY, Parcel(squares))]))


def test_without_tasks_there_is_no_sum(tmp_path):
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        sums = pipeline | beam.Create([0, 0]) | beam.ParDo(squares_below(tmp_path))
        assert_that(sums, equal_to([]))


def test_a_task_that_fails_fails_the_pipeline(tmp_path):
    pipeline = beam.Pipeline(runner=IN_PROCESS)
    _ = pipeline | beam.Create([-2]) | beam.ParDo(squares_below(tmp_path))
    with pytest.raises(ZeroDivisionError):
        pipeline.run()


SEEN = beam.DoFn.StateParam(BagStateSpec("seen", VarIntCoder()))


class Listed(PlainDoFn):
    calls: ClassVar[list[str]] = []

    def start_bundle(self):
        self.calls.append("start")

    def process(self, element, state=SEEN):
        self.calls.append("process")
        return []

    def finish_bundle(self):
        self.calls.append("finish")

    def other(self):
        """What Beam would look at too."""


def test_beam_looks_at_no_more_of_a_plain_dofn_than_it_calls(monkeypatch):
    looked = []
    wrapper = common.MethodWrapper
    monkeypatch.setattr(
        common, "MethodWrapper", lambda fn, name: looked.append(name) or wrapper(fn, name)
    )
    states, timers = get_dofn_specs(Listed())
    assert sorted(looked) == ["finish_bundle", "process", "start_bundle"]
    assert ([spec.name for spec in states], timers) == (["seen"], set()), "it still finds them"


def test_a_plain_dofn_is_called_as_any_other():
    Listed.calls.clear()
    with beam.Pipeline(runner=IN_PROCESS) as pipeline:
        _ = pipeline | beam.Create([(0, 1)], reshuffle=False) | beam.ParDo(Listed())
    assert Listed.calls == ["start", "process", "finish"]


def test_a_bundle_leaves_no_total_behind(tmp_path):
    """Beam keeps the DoFns of all iterations of a job, for each is a stage of its own."""
    squares = squares_below(tmp_path)
    squares.start_bundle()
    squares.process(5)
    assert [each.value[1].value for each in squares.finish_bundle()] == [30]
    assert not squares._totals
