"""Planning covers every row once, in order, in few and bounded blocks."""

import itertools
import pickle

import hypothesis
import pyarrow as pa
from hypothesis import strategies as st

from pipeline.data.blocks import BlockRef, plan_blocks
from pipeline.data.files import Footer, Footers
from pipeline.data.store import FileVersion

LIMIT = 100
row_groups = st.lists(st.lists(st.integers(0, 2 * LIMIT), max_size=6), max_size=12)


def footers(groups) -> Footers:
    schema = pa.schema([])
    return Footers(
        Footer(FileVersion(f"{i:05d}", 1, 1), schema, tuple(rows)) for i, rows in enumerate(groups)
    )


def rows_of(blocks) -> list[tuple[str, int]]:
    spans = [span for block in blocks for span in block.spans]
    return [(s.file.path, row) for s in spans for row in range(s.first_row, s.first_row + s.rows)]


@hypothesis.given(row_groups)
def test_every_row_is_in_once_and_in_order(groups):
    blocks = plan_blocks(footers(groups), LIMIT)
    expected = [(f"{i:05d}", row) for i, rows in enumerate(groups) for row in range(sum(rows))]
    assert rows_of(blocks) == expected
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert all(span.rows for block in blocks for span in block.spans)


@hypothesis.given(row_groups)
def test_a_block_is_one_row_group_or_bounded_and_none_could_be_joined_to_the_next(groups):
    blocks = plan_blocks(footers(groups), LIMIT)
    assert all(block.rows <= LIMIT or len(block.spans) == 1 for block in blocks)
    for one, following in itertools.pairwise(blocks):
        assert one.rows + following.spans[0].rows > LIMIT


@hypothesis.given(row_groups)
def test_a_span_names_its_row_group(groups):
    for block in plan_blocks(footers(groups), LIMIT):
        for span in block.spans:
            rows = groups[int(span.file.path)]
            assert rows[span.row_group] == span.rows
            assert sum(rows[: span.row_group]) == span.first_row


def test_ten_thousand_files_of_100_rows_make_few_blocks():
    blocks = plan_blocks(footers([[100]] * 10_000), 1 << 16)
    assert len(blocks) == 16
    assert sum(block.rows for block in blocks) == 1_000_000


def test_one_giant_row_group_is_one_block():
    assert [block.rows for block in plan_blocks(footers([[400_000]]), 1 << 16)] == [400_000]


def test_a_block_is_a_small_value():
    (block,) = plan_blocks(footers([[100]]), LIMIT)
    assert isinstance(block, BlockRef)
    assert pickle.loads(pickle.dumps(block)) == block
    assert len(pickle.dumps(block)) < 500
    assert hash(block) == hash(plan_blocks(footers([[100]]), LIMIT)[0])
