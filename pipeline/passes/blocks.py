"""The blocks as workers get them: ranges of a table that lies in the work folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import apache_beam as beam

from pipeline.data.blocks import BlockRef, BlockTable
from pipeline.data.file_table import FileTable
from pipeline.data.streams import grouped
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.shared import Shared, fetch, share

MOST_RANGES = 1 << 12  # so that a graph stays small, and elements are many enough to be spread


@dataclass(frozen=True)
class BlockRange:
    """Some blocks of a table, one after the other.

    Attributes:
        table: where the table lies.
        number, count: which it is of how many ranges.
        start, stop: of the table's blocks.
    """

    table: Shared
    number: int
    count: int
    start: int
    stop: int


@dataclass(frozen=True)
class SharedBlocks:
    """A table of blocks that was written down.

    Attributes:
        table: the blocks.
        shared: where it lies.
    """

    table: BlockTable
    shared: Shared

    @classmethod
    def write(cls, work: WorkFolder, table: BlockTable) -> "SharedBlocks":
        """Writes the table down."""
        return cls(table, share(work.store, work.file("blocks"), table))

    def ranges(self) -> list[BlockRange]:
        """Each block by itself; where they are very many, as many as make `MOST_RANGES`."""
        count = min(len(self.table), MOST_RANGES)
        return self._ranges([len(self.table) * i // count for i in range(count + 1)])

    def ranges_of(self, rows: int) -> list[BlockRange]:
        """As many blocks after each other as have so many rows at most, or one that has more.

        More rows where there would be very many ranges. Of no block there is one, which has none.
        """
        rows = max(rows, int(self.table.rows.sum()) // MOST_RANGES)
        groups = grouped(enumerate(self.table.rows.tolist()), itemgetter(1), rows)
        starts = [group[0][0] for group in groups] or [0]
        return self._ranges([*starts, len(self.table)])

    def _ranges(self, bounds: Sequence[int]) -> list[BlockRange]:
        count = len(bounds) - 1
        ends = enumerate(pairwise(bounds))
        return [BlockRange(self.shared, n, count, *start_stop) for n, start_stop in ends]


def fetch_blocks(heartbeat: Heartbeat, blocks: BlockRange) -> Iterator[BlockRef]:
    """The blocks of a range, of each of which it is said that it begins and that it was read.

    Raises:
        RunError: the table is not here.
    """
    table = fetch(heartbeat.work.store, blocks.table, [BlockTable, FileTable])
    for place in range(blocks.start, blocks.stop):
        block = table[place]
        heartbeat.began(block)
        yield block
        heartbeat.read(block)


@dataclass
class Blocks(beam.PTransform):
    """A pipeline -> the ranges as a collection.

    Attributes:
        ranges: the ranges.
        spread: over the workers, which takes a shuffle; where they are one process it is for
            nothing.
    """

    ranges: Sequence[BlockRange]
    spread: bool = True

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        create = beam.Create(self.ranges, reshuffle=False).with_output_types(BlockRange)
        created = pipeline | create
        return created | beam.Reshuffle() if self.spread else created
