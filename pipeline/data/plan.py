"""What the job will read, decided before it reads a row."""

from collections.abc import Callable
from dataclasses import dataclass

from kmeans_tf.points import chunk_rows
from pipeline.data.blocks import BlockTable, plan_blocks
from pipeline.data.columns import Columns, check_named, check_older, resolve_columns
from pipeline.data.file_table import FileTable
from pipeline.data.files import FILE_THREADS, Footers, Tell, find_input, read_footers, silent
from pipeline.data.names import ColumnNames, split_list
from pipeline.data.snapshot import Snapshot
from pipeline.data.store import Store
from pipeline.errors import DataError


@dataclass(frozen=True)
class Plan:
    """The input, its columns and its blocks, and the store that it is read from.

    Attributes:
        snapshots: of the tables whose logs told which files are valid.
    """

    footers: Footers
    columns: Columns
    blocks: BlockTable
    store: Store
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def files(self) -> FileTable:
        return self.footers.files

    @property
    def rows(self) -> int:
        return int(self.footers.row_groups.sum())

    @property
    def nbytes(self) -> int:
        return int(self.files.sizes.sum())

    @property
    def row_groups(self) -> int:
        return len(self.footers.row_groups)


def make_plan(
    spec: str,
    names: ColumnNames,
    *,
    store: Store | None = None,
    block_rows: int | None = None,
    dimension: int | None = None,
    read: Callable[[Store, FileTable], Footers] = read_footers,
    tell: Tell = silent,
) -> Plan:
    """Finds the files and columns and plans the blocks.

    Args:
        spec: files, globs and folders, separated by commas.
        names: which columns to read.
        store: where they are; by default what the paths themselves say.
        block_rows: how many rows a block may have; by default as many as make a chunk.
        dimension: how long lists should be, where a model says so; see `resolve_columns`.
        read: reads the footers of files.
        tell: takes a line for the user where something is left out, or a table's log was read.

    Raises:
        UsageError, DataError: see `find_input`, `read_footers` and `resolve_columns`.
        DataError: there is no row, and no model whose answer for none would be an answer.
    """
    store = store or Store.reaching(split_list(spec))
    found = find_input(store, spec, tell)
    if len(found.files) > FILE_THREADS:  # all take a while, one none
        first = found.completed(read_footers(store, found.files[:1]))
        check_older(found.snapshots, first, found.files.folders, names)
        check_named(first, found.files.folders, names)
    footers = found.completed(read(store, found.files))
    if dimension is None and not footers.row_groups.any():
        raise DataError(f"--input {spec}: no row in {len(footers)} file(s)")
    shards = footers if len(footers) else found.columns
    check_older(found.snapshots, shards, found.files.folders, names)
    columns = resolve_columns(store, shards, names, dimension)
    rows = block_rows or chunk_rows(columns.dimension)
    return Plan(footers, columns, plan_blocks(footers, rows), store, found.snapshots)
