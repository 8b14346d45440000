"""Many files in little memory."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.data.lazy import LazySequence
from pipeline.data.store import FileVersion


@dataclass(frozen=True, eq=False)
class FileTable(LazySequence[FileVersion]):
    """Files as columns, of each the bytes of its path and thirty more.

    Attributes:
        paths: (bytes,) uint8, the paths one after the other, as UTF-8.
        ends: (f,) int64, the place behind each path's last byte.
        sizes, modified: (f,) int64, see `FileVersion`.
        folders: what they have as `below`, each once.
        folder: (f,) int32, which of these each has.
    """

    paths: np.ndarray
    ends: np.ndarray
    sizes: np.ndarray
    modified: np.ndarray
    folders: tuple[str, ...]
    folder: np.ndarray

    @classmethod
    def of(cls, files: Iterable[FileVersion]) -> "FileTable":
        """A table of some files, which are taken one at a time."""
        paths, ends = bytearray(), array("q")
        sizes, modified, folder = array("q"), array("q"), array("i")
        folders: dict[str, int] = {}
        for file in files:
            paths += file.path.encode()
            ends.append(len(paths))
            sizes.append(file.size)
            modified.append(file.modified)
            folder.append(folders.setdefault(file.below, len(folders)))
        return cls(
            paths=np.frombuffer(paths, np.uint8),
            ends=np.array(ends),
            sizes=np.array(sizes),
            modified=np.array(modified),
            folders=tuple(folders),
            folder=np.array(folder),
        )

    def __len__(self) -> int:
        return len(self.ends)

    def item(self, place: int) -> FileVersion:
        start = self.ends[place - 1] if place else 0
        path = self.paths[start : self.ends[place]].tobytes().decode()
        size, modified = int(self.sizes[place]), int(self.modified[place])
        return FileVersion(path, size, modified, self.folders[self.folder[place]])

    def fingerprint(self) -> str:
        """Changes when a file is added, removed or rewritten."""
        digest = hashlib.sha256()
        for file in self:
            digest.update(f"{file.path}\0{file.size}\0{file.modified}\n".encode())
        return digest.hexdigest()
