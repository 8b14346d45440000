"""What the job will read, decided before it reads a row."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kmeans_tf.points import chunk_rows
from pipeline.data.blocks import BlockTable, plan_blocks
from pipeline.data.columns import Columns, resolve_columns
from pipeline.data.files import Footer, find_files, read_footers
from pipeline.data.names import ColumnNames, split_list
from pipeline.data.store import Store
from pipeline.errors import DataError


@dataclass(frozen=True)
class Plan:
    """The input, its columns and its blocks, and the store that it is read from."""

    footers: Sequence[Footer]
    columns: Columns
    blocks: BlockTable
    store: Store

    @property
    def rows(self) -> int:
        return sum(footer.rows for footer in self.footers)

    @property
    def nbytes(self) -> int:
        return sum(footer.file.size for footer in self.footers)

    @property
    def row_groups(self) -> int:
        return sum(len(footer.row_groups) for footer in self.footers)

    def fingerprint(self) -> str:
        """Changes when a file is added, removed or rewritten."""
        digest = hashlib.sha256()
        for footer in self.footers:
            file = footer.file
            digest.update(f"{file.path}\0{file.size}\0{file.modified}\n".encode())
        return digest.hexdigest()


def make_plan(
    spec: str,
    names: ColumnNames,
    *,
    store: Store | None = None,
    block_rows: int | None = None,
    dimension: int | None = None,
) -> Plan:
    """Finds the files and columns and plans the blocks.

    Args:
        spec: files, globs and folders, separated by commas.
        names: which columns to read.
        store: where they are; by default what the paths themselves say.
        block_rows: how many rows a block may have; by default as many as make a chunk.
        dimension: how long lists should be, where a model says so; see `resolve_columns`.

    Raises:
        UsageError, DataError: see `find_files`, `read_footers` and `resolve_columns`.
        DataError: there is no row, and no model whose answer for none would be an answer.
    """
    store = store or Store.reaching(split_list(spec))
    footers = read_footers(store, find_files(store, spec))
    if dimension is None and not any(footer.rows for footer in footers):
        raise DataError(f"--input {spec}: no row in {len(footers)} file(s)")
    columns = resolve_columns(store, footers, names, dimension)
    rows = block_rows or chunk_rows(columns.dimension)
    return Plan(footers, columns, plan_blocks(footers, rows), store)
