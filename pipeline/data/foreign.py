"""Files that are no Parquet, known by how they begin, and how to make Parquet of them."""

import json
import posixpath

_WRITE = "pyarrow.parquet.write_table"
# What a file begins with, what it then is, and what reads it.
_MAGIC = (
    (b"PARE", "an encrypted Parquet file", None),
    (b"ORC", "an ORC file", "pyarrow.orc.read_table"),
    (b"ARROW1", "an Arrow (Feather) file", "pyarrow.feather.read_table"),
    (b"FEA1", "a Feather file", "pyarrow.feather.read_table"),
    (b"Obj\x01", "an Avro file", "fastavro.reader"),
    (b"SQLite format 3\0", "an SQLite database", "pandas.read_sql_table"),
    (b"\x89HDF\r\n", "an HDF5 file", "pandas.read_hdf"),
    (b"PK\x03\x04", "a zip archive (an .xlsx or .npz is one)", "pandas.read_excel"),
    (b"\x1f\x8b", "a gzip file", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unzstd"),
    (b"BZh", "a bzip2 file", "bunzip2"),
    (b"\x93NUMPY", "a NumPy file", "numpy.load"),
    (b"version https://git-lfs", "a Git LFS pointer", "git lfs pull"),
)
_COMMANDS = {"gunzip", "unzstd", "bunzip2", "git lfs pull"}
_TEXTS = {
    "csv": ("a CSV file", "pyarrow.csv.read_csv"),
    "json": ("a JSON file", "pandas.read_json"),
    "json lines": ("a JSON file", "pyarrow.json.read_json"),
}
_TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
_ENDINGS = (*_TEXT_ENDINGS, ".orc", ".avro", ".feather", ".arrow", ".xlsx", ".h5")


def recognised(head: bytes) -> str | None:
    """What a file is and what to do, by its first bytes; None if it is nothing that is known."""
    for magic, kind, reader in _MAGIC:
        if head.startswith(magic):
            return _advice(kind, reader)
    text = _kind_of_text(head)
    return _advice(*_TEXTS[text]) if text else None


def is_foreign(name: str) -> bool:
    """Whether a file's name says that it is a table of another format."""
    return posixpath.basename(name).lower().removesuffix(".gz").endswith(_ENDINGS)


def _advice(kind: str, reader: str | None) -> str:
    if reader is None:
        return f"{kind}, for which there is no key: decrypt it first"
    if reader in _COMMANDS:
        return f"{kind}: {reader} it first"
    return f"{kind}: convert it to Parquet, in Python with {reader} and {_WRITE}"


def _kind_of_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not just cut within a character
            return None
        text = head[: error.start].decode("utf-8-sig", "ignore")
    if not text.strip() or not all(c.isprintable() or c in "\r\n\t" for c in text):
        return None
    lines = text.strip().splitlines()
    if lines[0][0] in "{[":
        return "json lines" if _is_json(lines[0]) and lines[0][0] == "{" else "json"
    return "csv" if any(mark in lines[0] for mark in ",;\t|") or len(lines) > 1 else None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
