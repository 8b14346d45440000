"""Where each of some rows comes from, held against a list of them all."""

from collections import Counter

import hypothesis
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from pipeline.data.places import Places, Run
from pipeline.data.store import FileVersion

FILES = [FileVersion(name, 1, 1) for name in "abc"]
RUNS = st.builds(Run, st.sampled_from(FILES), st.integers(0, 2**40), st.integers(0, 5))


def listed(runs) -> list[tuple[str, int]]:
    return [(run.file.path, run.first_row + i) for run in runs for i in range(run.rows)]


@hypothesis.given(st.lists(RUNS, max_size=6), st.data())
def test_places_are_those_of_the_rows_one_by_one(runs, data):
    places, expected = Places(tuple(runs)), listed(runs)
    assert [places.of(i) for i in range(len(expected))] == expected
    assert places.rows().tolist() == [row for _, row in expected]
    paths = places.spread(pa.array([run.file.path for run in runs], pa.string()))
    assert paths.to_pylist() == [path for path, _ in expected]
    n = len(expected)
    mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    marked = (path for (path, _), marked in zip(expected, mask, strict=True) if marked)
    assert places.count(np.array(mask, bool)) == Counter(marked)


@hypothesis.given(st.lists(st.lists(RUNS, max_size=4), max_size=4))
def test_joined_places_are_those_of_one_behind_the_other(parts):
    joined = Places.joined(Places(tuple(runs)) for runs in parts)
    assert listed(joined.runs) == [place for runs in parts for place in listed(runs)]


def test_rows_that_follow_in_a_file_are_one_run():
    a, b = FILES[:2]
    runs = (Run(a, 0, 3), Run(a, 3, 2), Run(a, 6, 1), Run(b, 7, 1), Run(a, 8, 1))
    joined = Places.joined([Places(runs[:2]), Places(runs[2:])])
    assert joined.runs == (Run(a, 0, 5), *runs[2:])
