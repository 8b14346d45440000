"""The one door to files: local paths, and whatever pyarrow reaches by URI (gs://, s3://, hdfs://).

A file appears under its name only when it is complete. Where there is a rename, it is written
under a temporary name unique to the attempt and renamed; where there is none (object stores), it
becomes visible when its upload is closed, and moving is a copy and a delete.
"""

import contextlib
import fnmatch
import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import DataError, UsageError

_WILDCARDS = set("*?[")
HIDDEN = ("_", ".")  # how names begin that readers of tables pass over


@dataclass(frozen=True)
class FileVersion:
    """A file as it was when the job first saw it.

    Attributes:
        path: what names it.
        size: in bytes.
        modified: nanoseconds since 1970, 0 where the store does not tell.
        below: its path below the folder or wildcard that found it; no part of its identity.
    """

    path: str
    size: int
    modified: int
    below: str = field(default="", compare=False)


class Store:
    """Stateless; every path is a local path or a URI."""

    def version(self, path: str) -> FileVersion | None:
        """The file at `path`; None if there is no file."""
        info = self._info(path)
        return _version(path, info) if info.type == fs.FileType.File else None

    def is_folder(self, path: str) -> bool:
        return self._info(path).type == fs.FileType.Directory

    def files(self, folder: str, recursive: bool = False) -> list[FileVersion]:
        """The files in a folder, sorted by name; none if there is no such folder."""
        system, base = locate(folder)
        selector = fs.FileSelector(base, allow_not_found=True, recursive=recursive)
        found = [i for i in system.get_file_info(selector) if i.type == fs.FileType.File]
        names = ((i.path[len(base) :].lstrip("/"), i) for i in found)
        files = (_version(posixpath.join(folder, name), i, name) for name, i in names)
        return sorted(files, key=lambda file: file.path)

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted."""
        system, base = locate(folder)
        found = system.get_file_info(fs.FileSelector(base, allow_not_found=True))
        return sorted(i.base_name for i in found if i.type == fs.FileType.Directory)

    def glob(self, pattern: str) -> list[FileVersion]:
        """The files that match: `*`, `?` and `[…]` within a name, `**` for any folders.

        A wildcard at the beginning of a name stands for no hidden one.
        """
        parts = pattern.split("/")
        fixed = next(i for i, part in enumerate(parts) if _WILDCARDS & set(part))
        folder = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
        deep = "**" in parts or len(parts) > fixed + 1
        start = 0 if folder == "." else len(folder.rstrip("/")) + 1
        found = [
            replace(file, below=file.path[start:].removeprefix("./"))
            for file in self.files(folder, recursive=deep)
        ]
        return [file for file in found if _matches(file.below.split("/"), parts[fixed:])]

    def open(self, file: FileVersion) -> pa.NativeFile:
        """Opens a file for reading, if it is still the one that the job first saw.

        Raises:
            DataError: it changed or is gone.
        """
        now = self.version(file.path)
        if now != file:
            what = "is gone" if now is None else "was rewritten"
            raise DataError(f"{file.path} {what} while the job ran: run the job again")
        system, path = locate(file.path)
        return system.open_input_file(path)

    def read(self, path: str) -> bytes:
        system, base = locate(path)
        with system.open_input_stream(base, compression=None) as stream:
            return stream.read()

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file; it appears complete or not at all."""
        with self.create(path) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[pa.NativeFile]:
        """A stream to a file that appears when the block ends without an error."""
        system, base = locate(path)
        folder, name = posixpath.split(base)
        system.create_dir(folder, recursive=True)
        temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}")
        try:
            with system.open_output_stream(temporary, compression=None) as stream:
                yield stream
            system.move(temporary, base)
        except BaseException:
            with contextlib.suppress(OSError):
                system.delete_file(temporary)
            raise

    def move(self, source: str, target: str) -> None:
        """Moves a file, over the target if there is one."""
        system, base = locate(source)
        target = locate(target)[1]
        system.create_dir(posixpath.dirname(target), recursive=True)
        system.move(base, target)

    def upload(self, folder: Path, target: str) -> None:
        """Copies a local folder's files below `target`."""
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = file.relative_to(folder).as_posix()
            self.write(posixpath.join(target, name), file.read_bytes())

    def download(self, folder: str, target: Path) -> None:
        """Copies a folder's files below the local `target`."""
        for file in self.files(folder, recursive=True):
            copy = target / file.path[len(folder) :].lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(self.read(file.path))

    def delete(self, path: str) -> None:
        """Deletes a file or a folder with all that is in it, if it is there."""
        system, base = locate(path)
        kind = self._info(path).type
        if kind == fs.FileType.Directory:
            system.delete_dir(base)
        elif kind == fs.FileType.File:
            system.delete_file(base)

    def delete_empty(self, folder: str) -> None:
        """Deletes a folder if nothing is in it."""
        if self.is_folder(folder) and not self.files(folder) and not self.folders(folder):
            self.delete(folder)

    def _info(self, path: str) -> fs.FileInfo:
        system, base = locate(path)
        return system.get_file_info(base)


def normal(path: str) -> str:
    """One spelling of a path: absolute, for workers are elsewhere; a URI stays a URI."""
    return path.rstrip("/") if "://" in path else posixpath.abspath(path)


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies somewhere below it."""
    place, base = locate(normal(path))[1], locate(normal(folder))[1]
    return place == base or place.startswith(base.rstrip("/") + "/")


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        UsageError: there is no such kind of store.
    """
    path = path.removeprefix("file://")
    if "://" not in path:
        return _local(), str(Path(path).absolute())
    scheme, _, rest = path.partition("://")
    bucket = rest.split("/", 1)[0]
    system, base = _remote(f"{scheme}://{bucket}")
    inside = rest[len(bucket) :].strip("/")
    return system, f"{base.rstrip('/')}/{inside}" if inside else base


@cache
def _local() -> fs.FileSystem:
    return fs.LocalFileSystem()


@cache
def _remote(root: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(root)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{root}: no such store: {str(error).splitlines()[0]}") from error


def _version(path: str, info: fs.FileInfo, below: str = "") -> FileVersion:
    return FileVersion(path, info.size, info.mtime_ns or 0, below)


def _matches(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[i:], patterns[1:]) for i in range(len(names) + 1))
    if not names or (names[0][0] in HIDDEN and patterns[0][0] not in HIDDEN):
        return False
    return fnmatch.fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])
