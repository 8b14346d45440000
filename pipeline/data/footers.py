"""Parquet files opened with the footers that this process has read before."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.store import FileVersion, Store

SMALL_FILE = 1 << 20  # read whole in one request, its footer with it
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


def read_footer(store: Store, file: FileVersion) -> pq.ParquetFile:
    """A file of which nothing but the footer will be read; it is closed.

    Raises:
        DataError: it changed or is gone.
    """
    with store.open(file) as source:
        return pq.ParquetFile(source, metadata=_footer(store, file, source), pre_buffer=False)


@contextlib.contextmanager
def open_parquet(
    store: Store, file: FileVersion, buffer_bytes: int = 0
) -> Iterator[pq.ParquetFile]:
    """A file whose pages are checked where they say a sum; a small one is in memory.

    Args:
        buffer_bytes: of a column, how much is read at a time; 0: of a row group all.

    Raises:
        DataError: it changed or is gone.
    """
    with store.open(file) as source:
        small = file.size <= SMALL_FILE
        yield pq.ParquetFile(
            pa.BufferReader(source.read_buffer()) if small else source,
            metadata=_footer(store, file, source),
            pre_buffer=False,
            buffer_size=buffer_bytes,
            page_checksum_verification=True,
        )


def _footer(store: Store, file: FileVersion, source: pa.NativeFile) -> pq.FileMetaData | None:
    if file.size <= SMALL_FILE:  # parsed again: a tenth of the read, and too many of these to keep
        return None
    return _FOOTERS.get((store, file), lambda: pq.read_metadata(source))
