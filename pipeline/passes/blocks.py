"""The blocks as workers get them: ranges of a table that lies in the work folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import apache_beam as beam

from pipeline.data.blocks import BlockRef, BlockTable
from pipeline.passes.checkpoint import WorkFolder
from pipeline.passes.shared import Shared, fetch, share

MOST_RANGES = 1 << 12  # so that a graph stays small, and elements are many enough to be spread


@dataclass(frozen=True)
class BlockRange:
    """Some blocks of a table, one after the other.

    Attributes:
        table: where the table lies.
        start, stop: of its blocks.
    """

    table: Shared
    start: int
    stop: int


def write_blocks(work: WorkFolder, table: BlockTable) -> list[BlockRange]:
    """Writes the table down.

    Returns:
        Ranges that hold all of its blocks, a range for each block where they are few.
    """
    shared = share(work.store, work.file("blocks"), table)
    count = min(len(table), MOST_RANGES)
    bounds = [len(table) * i // count for i in range(count + 1)]
    return [BlockRange(shared, *ends) for ends in pairwise(bounds)]


def fetch_blocks(work: WorkFolder, blocks: BlockRange) -> list[BlockRef]:
    """The blocks of a range.

    Raises:
        RunError: the table is not here.
    """
    return fetch(work.store, blocks.table, [BlockTable])[blocks.start : blocks.stop]


@dataclass
class Blocks(beam.PTransform):
    """A pipeline -> the ranges as a collection, spread over the workers."""

    ranges: Sequence[BlockRange]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        created = pipeline | beam.Create(self.ranges).with_output_types(BlockRange)
        return created | beam.Reshuffle()
