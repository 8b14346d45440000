"""Parquet files opened with the footers that this process has read before."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.kinds import has_other_lists
from pipeline.data.page_sums import READING
from pipeline.data.store import FileVersion, Store

SMALL_FILE = 1 << 20  # read whole in one request, its footer with it
_NOTE = b"ARROW:schema"  # Arrow's own, of the types that a file was written from
_MAGIC = b"PAR1"
_INT96_UNIT = "us"  # that of Spark and Impala, and of nanoseconds 64 bits hold but 584 years
_KEPT_BYTES = 8 << 20  # as they lie in the files; in memory it is about ten times as much


class FooterMemo:
    """Footers by file. Safe to use from several threads: each is read by one while others wait.

    The least recently used are forgotten where all together are larger than `limit`; the newest
    stays whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._footers: dict[Hashable, Future[pq.FileMetaData]] = {}
        self._sizes: OrderedDict[Hashable, int] = OrderedDict()  # of those that are read
        self._total = 0

    def get(self, key: Hashable, read: Callable[[], pq.FileMetaData]) -> pq.FileMetaData:
        """The footer kept under `key`, else what `read` returns, which is kept."""
        with self._lock:
            known = self._footers.get(key)
            future = self._footers[key] = known or Future()
            if key in self._sizes:
                self._sizes.move_to_end(key)
        if known is None:
            self._fill(key, future, read)
        return future.result()

    def _fill(self, key: Hashable, future: Future, read: Callable[[], pq.FileMetaData]) -> None:
        try:
            footer = read()
        except BaseException as error:
            with self._lock:
                del self._footers[key]
            future.set_exception(error)
            return
        future.set_result(footer)
        self._admit(key, footer.serialized_size)

    def _admit(self, key: Hashable, size: int) -> None:
        with self._lock:
            self._sizes[key] = size
            self._total += size
            while self._total > self._limit and len(self._sizes) > 1:
                old, freed = self._sizes.popitem(last=False)
                self._total -= freed
                del self._footers[old]


_FOOTERS = FooterMemo(_KEPT_BYTES)


def is_parquet(head: bytes) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    return head.startswith(_MAGIC)


def read_footer(store: Store, file: FileVersion) -> pq.ParquetFile:
    """A file of which nothing but the footer will be read; it is closed.

    Raises:
        DataError: it changed or is gone.
    """
    with store.open(file) as source:
        return _opened(store, file, source)


@contextlib.contextmanager
def open_parquet(
    store: Store, file: FileVersion, buffer_bytes: int = 0
) -> Iterator[pq.ParquetFile]:
    """A file whose pages are checked where they say a sum; a small one is in memory.

    Lists of a fixed size and views of lists are read as lists; see `has_other_lists`.

    Args:
        buffer_bytes: of a column, how much is read at a time; 0: of a row group all.

    Raises:
        DataError: it changed or is gone.
    """
    with store.open(file) as stored:
        small = file.size <= SMALL_FILE
        source = pa.BufferReader(stored.read_buffer()) if small else stored
        parquet = _opened(store, file, source, buffer_bytes)
        if any(map(has_other_lists, parquet.schema_arrow.types)):
            footer = _footer(store, file, source, without_note=True)
            parquet = _parquet(source, footer, buffer_bytes)
        yield parquet


def _opened(
    store: Store, file: FileVersion, source: pa.NativeFile, buffer_bytes: int = 0
) -> pq.ParquetFile:
    try:
        return _parquet(source, _footer(store, file, source), buffer_bytes)
    except pa.ArrowNotImplementedError:  # the note has types of which this Arrow knows nothing
        footer = _footer(store, file, source, without_note=True)
        return _parquet(source, footer, buffer_bytes)


def _parquet(
    source: pa.NativeFile, footer: pq.FileMetaData | None, buffer_bytes: int = 0
) -> pq.ParquetFile:
    return pq.ParquetFile(
        source,
        metadata=footer,
        pre_buffer=False,
        buffer_size=buffer_bytes,
        coerce_int96_timestamp_unit=_INT96_UNIT,
        **READING,
    )


def _footer(
    store: Store, file: FileVersion, source: pa.NativeFile, *, without_note: bool = False
) -> pq.FileMetaData | None:
    """The footer of a file; None where it is as well read with the file."""
    read = _read_without_note if without_note else pq.read_metadata
    if file.size <= SMALL_FILE:  # parsed again: a tenth of the read, and too many of these to keep
        return read(source) if without_note else None
    return _FOOTERS.get((store, file, without_note), lambda: read(source))


def _read_without_note(source: pa.NativeFile) -> pq.FileMetaData:
    """A footer by which columns have the types that Parquet says."""
    source.seek(source.size() - 8)
    end = source.read(8)
    length = int.from_bytes(end[:4], "little")
    source.seek(source.size() - 8 - length)
    before, _, behind = source.read(length).rpartition(_NOTE)
    note = _NOTE.lower() if before else b""
    return pq.read_metadata(pa.BufferReader(_MAGIC + before + note + behind + end))
