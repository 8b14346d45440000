"""Values of any length come in pieces of bounded size, however large a row group is."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import pieces
from pipeline.data.names import ColumnNames
from pipeline.data.pieces import read_pieces
from pipeline.data.plan import make_plan
from pipeline.data.store import Store

LIMIT = 1 << 20
ROWS = 3000


@pytest.fixture
def table(tmp_path):
    """Keys of up to 6 kB: 9 MB of them, in one row group or in ten."""
    rng = np.random.default_rng(0)
    keys = [rng.bytes(int(length)) for length in rng.integers(0, 6000, ROWS)]
    return pa.table({"key": keys, "x": rng.normal(size=ROWS)})


@pytest.mark.parametrize("group", [ROWS, ROWS // 10])
@pytest.mark.parametrize("keys_alone", [True, False])
def test_long_keys_come_in_pieces_of_bounded_size(tmp_path, monkeypatch, table, group, keys_alone):
    monkeypatch.setattr(pieces, "PIECE_BYTES", LIMIT)
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=group)
    assert path.stat().st_size > 8 * LIMIT, "the premise"
    plan = make_plan(str(path), ColumnNames(("x",), ("key",)), store=Store())
    columns = plan.columns.stored_keys if keys_alone else plan.columns.wanted(keys=True)
    spans = [span for block in plan.blocks for span in block.spans]
    read = list(read_pieces(plan.store, spans, columns, 1 << 20))
    assert max(piece.table.nbytes for piece in read) < 1.5 * LIMIT
    assert len(read) > 6
    whole = pa.concat_tables([piece.table for piece in read])
    assert whole["key"].to_pylist() == table["key"].to_pylist()
    places = [places for piece in read for places in piece.places.rows().tolist()]
    assert places == list(range(ROWS))


def test_numbers_alone_come_as_many_rows_as_are_asked_for(tmp_path, monkeypatch, table):
    monkeypatch.setattr(pieces, "PIECE_BYTES", LIMIT)
    pq.write_table(table, tmp_path / "a.parquet")
    plan = make_plan(str(tmp_path), ColumnNames(("x",), ("key",)), store=Store())
    spans = [span for block in plan.blocks for span in block.spans]
    (piece,) = read_pieces(plan.store, spans, plan.columns.wanted(keys=False), 1 << 20)
    assert piece.table.num_rows == ROWS
