"""Footers read by the workers, where there are more files than one process should open.

What is wrong with a file is no failure of the worker that read it: the driver is to tell of the
first such file in the order of the input, as it would have had it read them all itself.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.data.file_table import FileTable
from pipeline.data.files import FILE_THREADS, Footer, Footers, read_footers
from pipeline.data.store import Store
from pipeline.data.streams import in_order
from pipeline.errors import DataError
from pipeline.passes.blocks import MOST_RANGES
from pipeline.passes.checkpoint import FooterColumns, WorkFolder, load_footers, save_footers
from pipeline.passes.heartbeat import Heartbeat
from pipeline.passes.shared import Shared, fetch, share

RANGE_FILES = 256  # of a range; more where there would be more than `MOST_RANGES`


@dataclass(frozen=True)
class FileRange:
    """Some files of a table, one after the other.

    Attributes:
        table: where the table lies.
        number: which range it is.
        start, stop: of the table's files.
    """

    table: Shared
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class SharedFiles:
    """Files whose footers are wanted, which were written down.

    Attributes:
        files: they.
        ranges: what a worker reads at a time.
    """

    files: FileTable
    ranges: Sequence[FileRange]

    @classmethod
    def write(cls, work: WorkFolder, files: FileTable) -> "SharedFiles":
        """Writes the files down."""
        shared = share(work.store, work.file("files"), files)
        count = min(-(-len(files) // RANGE_FILES), MOST_RANGES)
        bounds = pairwise(len(files) * i // count for i in range(count + 1))
        return cls(files, [FileRange(shared, n, *ends) for n, ends in enumerate(bounds)])

    def footers(self, work: WorkFolder) -> Footers:
        """What `ReadFooters` found.

        Raises:
            DataError: the first file that cannot be read.
            RunError: what the workers wrote is not here.
        """
        return Footers(self._each(work))

    def _each(self, work: WorkFolder) -> Iterator[Footer]:
        tasks = ((1, partial(load_footers, work, r.number)) for r in self.ranges)
        with ThreadPoolExecutor(FILE_THREADS) as pool:
            found = in_order(pool, tasks, 2 * FILE_THREADS)
            for files, columns in zip(self.ranges, found, strict=True):
                yield from _unpacked(self.files[files.start : files.stop], columns)


@dataclass
class ReadFooters(beam.PTransform):
    """A pipeline -> the footers of files, written down a range at a time.

    Attributes:
        shared: the files.
        work: where they and their footers are written down.
        store: where the files are.
    """

    shared: SharedFiles
    work: WorkFolder
    store: Store

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        create = beam.Create(self.shared.ranges, reshuffle=False).with_output_types(FileRange)
        read = partial(read_range, self.work, self.store)
        return pipeline | create | beam.Reshuffle() | beam.Map(read).with_output_types(type(None))


def read_range(work: WorkFolder, store: Store, files: FileRange) -> None:
    """Runs on a worker: reads the footers of some files, and writes them down."""
    heartbeat = Heartbeat("footers", work)
    table = fetch(work.store, files.table, [FileTable])
    heartbeat.began_files(table[files.start])
    save_footers(work, files.number, _packed(store, table[files.start : files.stop]))
    heartbeat.did_a_task()


def _packed(store: Store, files: Sequence) -> FooterColumns:
    try:
        footers = read_footers(store, files)
    except DataError as error:
        none = np.empty(0, np.int64)
        return FooterColumns((), none, none, none, str(error))
    schemas = tuple(np.frombuffer(s.serialize(), np.uint8) for s in footers.schemas)
    return FooterColumns(schemas, footers.schema, footers.row_groups, footers.ends)


def _unpacked(files: Sequence, columns: FooterColumns) -> Iterator[Footer]:
    if columns.problem:
        raise DataError(columns.problem)
    schemas = [pa.ipc.read_schema(pa.py_buffer(schema)) for schema in columns.schemas]
    bounds = pairwise([0, *columns.ends.tolist()])
    for file, schema, (start, stop) in zip(files, columns.schema, bounds, strict=True):
        yield Footer(file, schemas[schema], tuple(columns.row_groups[start:stop].tolist()))
