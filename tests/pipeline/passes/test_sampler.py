"""Beam's period of sampling, which a new version of Beam may have elsewhere."""

import pytest
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory

from pipeline.passes.sampler import PERIOD_MS, sample_often


@pytest.fixture(autouse=True)
def as_it_was():
    init = StateSampler.__init__
    before = init.__defaults__
    yield
    init.__defaults__ = before


def test_this_version_of_beam_has_it_where_it_is_set():
    StateSampler.__init__.__defaults__ = (200,)
    assert StateSampler("stage", CounterFactory()).sampling_period_ms == 200
    assert sample_often()
    assert StateSampler("stage", CounterFactory()).sampling_period_ms == PERIOD_MS < 10
    assert sample_often()  # again, in a process of several pools


def test_a_beam_that_has_it_elsewhere_is_left_alone(monkeypatch):
    def moved(self, prefix, counter_factory, period=200, another=None):
        raise AssertionError

    monkeypatch.setattr(StateSampler, "__init__", moved)
    assert not sample_often()
    assert moved.__defaults__ == (200, None)
