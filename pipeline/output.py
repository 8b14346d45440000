"""The output folder: claiming it, and publishing into it as one act.

Everything is written below `_work/<configuration>/`, which readers of Parquet folders skip. At
the end the files are moved to their names, and `_SUCCESS` is written last: a folder without it is
not an answer. The list of moves is written down first, so that a publishing that was killed is
finished by the next run and not begun again.
"""

import contextlib
import json
import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.checkpoint import WorkFolder
from pipeline.errors import RunError, UsageError
from pipeline.options import OutputOptions
from pipeline.store import Store

SUCCESS = "_SUCCESS"
_WORK = "_work"
_FOLDERS = ("labels", "model")


@dataclass(frozen=True)
class Output:
    """One output folder."""

    store: Store
    options: OutputOptions

    @property
    def path(self) -> str:
        return self.options.output

    def file(self, name: str) -> str:
        return posixpath.join(self.path, name)

    def check(self) -> None:
        """Raises a UsageError if nothing may be written here."""
        if self.store.version(self.path):
            raise UsageError(f"--output {self.path} is a file, expected a folder")
        if self.finished and not self.options.overwrite:
            raise UsageError(
                f"--output {self.path} holds a finished output: give --overwrite to replace it"
            )
        if not self.finished and not self._work_folders() and self._is_used():
            raise UsageError(
                f"--output {self.path} exists and is not an output of this job: "
                "name a new or an empty folder"
            )

    @property
    def finished(self) -> bool:
        return self.store.version(self.file(SUCCESS)) is not None

    def claim(self, configuration: dict, fingerprint: str) -> WorkFolder:
        """The work folder of this configuration, with what an earlier attempt left if wanted.

        Raises:
            UsageError: --resume require, and there is nothing of this configuration to resume;
                or the folder cannot be written.
        """
        work = WorkFolder(self.file(posixpath.join(_WORK, fingerprint)))
        left = self._work_folders()
        if self.options.resume == "require" and fingerprint not in left:
            raise UsageError(self._nothing_to_resume(configuration, left))
        if self.options.resume == "never":
            self.store.delete(work.path)
        try:
            text = json.dumps(configuration, indent=1)
            self.store.write(work.file("configuration"), text.encode())
        except OSError as error:
            raise UsageError(f"--output {self.path} cannot be written: {error}") from error
        return work

    @contextlib.contextmanager
    def scratch(self) -> Iterator[WorkFolder]:
        """A work folder of nobody's configuration, of which nothing is left."""
        work = WorkFolder(self.file(posixpath.join(_WORK, f"check-{uuid.uuid4().hex}")))
        try:
            yield work
        finally:
            self.abandon(work)

    def abandon(self, work: WorkFolder) -> None:
        """Leaves nothing of an attempt."""
        self.store.delete(work.path)
        self.store.delete_empty(self.file(_WORK))
        self.store.delete_empty(self.path)

    def publish(self, work: WorkFolder, files: dict[str, str]) -> None:
        """Makes `files`, paths by name, the finished output; `_SUCCESS` comes last."""
        self.store.write(work.file("publish"), json.dumps(files).encode())
        self.finish_publishing(work)

    def publishing(self, work: WorkFolder) -> bool:
        """Whether an attempt was killed while it published."""
        return self.store.version(work.file("publish")) is not None

    def finish_publishing(self, work: WorkFolder) -> None:
        """Does whatever of the moves is not done yet."""
        files = json.loads(self.store.read(work.file("publish")))
        self.store.delete(self.file(SUCCESS))
        for name, source in files.items():
            if self.store.version(source):
                self.store.move(source, self.file(name))
            elif not self.store.version(self.file(name)):
                raise RunError(f"{source} is gone: delete {self.path} and run the job again")
        for stale in self._published() - set(files):
            self.store.delete(self.file(stale))
        for folder in set(_FOLDERS) - {name.split("/")[0] for name in files}:
            self.store.delete(self.file(folder))
        self.store.write(self.file(SUCCESS), b"")
        self.store.delete(self.file(_WORK))

    def _published(self) -> set[str]:
        found = self.store.files(self.path)
        for folder in _FOLDERS:
            found += self.store.files(self.file(folder), recursive=True)
        return {file.path[len(self.path) :].lstrip("/") for file in found}

    def _work_folders(self) -> list[str]:
        return self.store.folders(self.file(_WORK))

    def _is_used(self) -> bool:
        return bool(self.store.files(self.path) or self.store.folders(self.path))

    def _nothing_to_resume(self, configuration: dict, left: list[str]) -> str:
        if not left:
            return f"--resume require: there is no checkpoint in {self.path}"
        path = posixpath.join(self.file(_WORK), left[0], "configuration")
        other = json.loads(self.store.read(path))
        differing = [
            f"{name} was {other.get(name)!r}, now {value!r}"
            for name, value in configuration.items()
            if json.loads(json.dumps(value)) != other.get(name)
        ]
        return (
            f"--resume require: the checkpoint in {self.path} is of another configuration: "
            + ", ".join(differing)
        )
