"""Checksums of Parquet's pages: written, and held against what is read where they are there."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
READING: dict[str, Any] = {"page_checksum_verification": True}


def whole_table(data: bytes) -> pa.Table:
    """The table in a file's bytes.

    Raises:
        pa.ArrowException, OSError, ValueError: they are damaged, or no Parquet.
    """
    return pq.read_table(pa.BufferReader(data), **READING)
