"""Beam's sampler of what a worker is at, made to wait less.

When a bundle ends, Beam joins a thread that sleeps between two samples, for up to 200 ms: an
iteration lasted a multiple of that. Beam has no option for it; the period is the default of an
argument.
"""

from apache_beam.runners.worker.statesampler import DEFAULT_SAMPLING_PERIOD_MS, StateSampler

PERIOD_MS = 4


def sample_often() -> bool:
    """Sets the period, for bundles that begin from now on.

    Returns:
        Whether Beam still has it where it was; otherwise nothing is changed.
    """
    known = StateSampler.__init__.__defaults__ in ((DEFAULT_SAMPLING_PERIOD_MS,), (PERIOD_MS,))
    if known:
        StateSampler.__init__.__defaults__ = (PERIOD_MS,)
    return known
