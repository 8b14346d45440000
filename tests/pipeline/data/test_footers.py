"""Footers are read once while they are kept, and what is kept is bounded."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from pipeline.data import footers
from pipeline.data.files import read_footers
from pipeline.data.footers import FooterMemo, open_parquet
from pipeline.data.store import Store
from pipeline.errors import DataError

LIMIT = 10


@dataclass(frozen=True)
class Sized:
    """Stands for a footer."""

    serialized_size: int


@hypothesis.given(st.lists(st.tuples(st.integers(0, 6)), max_size=40))
def test_the_most_recently_used_are_kept_as_far_as_they_fit(keys):
    """Held against a list of all uses. A key is as large as its number says, and one too large."""
    sizes = {(i,): Sized(i + 1 if i < 6 else LIMIT + 5) for i in range(7)}
    memo, used, kept = FooterMemo(LIMIT), [], set()
    for key in keys:
        read = []
        footer = memo.get(key, lambda key=key, read=read: read.append(key) or sizes[key])
        assert footer is sizes[key]
        assert bool(read) == (key not in kept)
        used.append(key)
        if read:
            recent = list(dict.fromkeys(reversed(used)))
            kept.add(key)
            while len(kept) > 1 and sum(sizes[k].serialized_size for k in kept) > LIMIT:
                kept.remove(next(k for k in reversed(recent) if k in kept))


def test_one_thread_reads_while_the_others_wait_for_it():
    memo, reads, go = FooterMemo(LIMIT), [], threading.Event()

    def read():
        reads.append(go.wait(60))
        return Sized(1)

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(memo.get, "a", read) for _ in range(4)]
        go.set()
        assert len({future.result() for future in waiting}) == 1
    assert reads == [True]


def test_a_footer_that_could_not_be_read_is_read_again():
    memo = FooterMemo(LIMIT)

    def fail():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        memo.get("a", fail)
    assert memo.get("a", lambda: Sized(2)) == Sized(2)


def write(path, rows=200_000):
    pq.write_table(pa.table({"x": np.random.default_rng(0).standard_normal(rows)}), path)
    return Store().version(str(path))


@pytest.fixture
def reads(monkeypatch):
    """A memo of this test's own: the footers that are read."""
    seen = []
    read_metadata = pq.read_metadata

    def read(source):
        seen.append(source)
        return read_metadata(source)

    monkeypatch.setattr(footers, "_FOOTERS", FooterMemo(1 << 20))
    monkeypatch.setattr(pq, "read_metadata", read)
    return seen


def test_the_footer_of_a_large_file_is_read_once_by_the_driver_and_all_passes(tmp_path, reads):
    file = write(tmp_path / "f.parquet")
    assert file.size > footers.SMALL_FILE
    (footer,) = read_footers(Store(), [file])
    for buffer_bytes in (0, 1 << 20):
        with open_parquet(Store(), file, buffer_bytes) as parquet:
            assert parquet.read_row_group(0).num_rows == sum(footer.row_groups) == 200_000
    assert len(reads) == 1


def test_a_file_that_was_rewritten_ends_the_job_whatever_is_known_of_it(tmp_path, reads):
    file = write(tmp_path / "f.parquet")
    read_footers(Store(), [file])
    again = write(tmp_path / "f.parquet", 300_000)
    with (
        pytest.raises(DataError, match="was rewritten while the job ran"),
        open_parquet(Store(), file),
    ):
        pass
    (footer,) = read_footers(Store(), [again])
    assert sum(footer.row_groups) == 300_000


def test_a_small_file_is_read_in_one_request(tmp_path, reads, monkeypatch):
    file = write(tmp_path / "f.parquet", 100)
    with open_parquet(Store(), file) as parquet:
        (tmp_path / "f.parquet").write_bytes(b"")
        assert parquet.read_row_group(0).num_rows == 100
    assert not reads
