"""Points that memory does not hold, in files that are mapped into it.

They lie in the work folder, where that is on a disk of this machine: reading them is then little
more than a look at the system's own cache of files, while decoding and encoding the rows again
costs several times an iteration.
"""

import math
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmeans_tf.points import Points
from kmeans_tf.runtime import resident

_LEFT_FREE = 0.1  # of a disk
_KINDS = (np.float32, np.float32, np.float64, np.float64)


@dataclass(frozen=True)
class Stage:
    """Where points are staged.

    Attributes:
        folder: a local one; None: nowhere.
        always: whether also what memory would hold is staged, however full the disk is.
    """

    folder: Path | None = None
    always: bool = False

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be staged."""
        if self.folder is None or self.always:
            return self.folder is not None
        self.folder.mkdir(exist_ok=True)
        disk = os.statvfs(self.folder)
        free = disk.f_bavail - size / disk.f_frsize
        return free > _LEFT_FREE * disk.f_blocks

    def keep(self, name: str, points: Points) -> "Staged":
        """Writes points down, over what another process or attempt has written of them.

        Args:
            name: which no other points of the job have.

        Raises:
            OSError: the disk is full.
        """
        assert self.folder
        self.folder.mkdir(exist_ok=True)
        path, unfinished = self.folder / name, self.folder / uuid.uuid4().hex
        parts = (np.asarray(points.values), np.asarray(points.norms), points.fine, points.weights)
        try:
            with unfinished.open("wb") as file:
                for part in parts:
                    if part is not None:
                        file.write(np.ascontiguousarray(part).data)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)  # a disk that is full has need of the room
            raise
        return Staged(path, points.rows, [None if part is None else part.shape for part in parts])


@dataclass(frozen=True)
class Staged:
    """Points that were written down.

    Attributes:
        path: of their file.
        rows: n.
        shapes: of their values, norms, fine parts and weights, which follow one another in it.
    """

    path: Path
    rows: int
    shapes: list[tuple[int, ...] | None]

    @property
    def is_lost(self) -> bool:
        """Whether the file is gone, as it is after the training."""
        return not self.path.exists()

    def load(self) -> Points:
        """The points, in memory that is the file; a page of it is read when it is looked at."""
        memory: np.ndarray = np.memmap(self.path, np.uint8, "c")
        parts: list[np.ndarray | None] = []
        for shape, kind in zip(self.shapes, _KINDS, strict=True):
            size = 0 if shape is None else math.prod(shape) * np.dtype(kind).itemsize
            part, memory = memory[:size], memory[size:]
            parts.append(None if shape is None else part.view(kind).reshape(shape))
        values, norms, fine, weights = parts
        assert values is not None and norms is not None
        return Points(resident(values), resident(norms), weights, self.rows, fine)
