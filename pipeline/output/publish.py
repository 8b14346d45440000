"""The output folder: claiming it, and publishing into it as one act.

Everything is written below `_work/<configuration>/`, which readers of Parquet folders skip. At
the end the files are moved to their names, and `_SUCCESS` is written last: a folder without it is
not an answer. The list of moves is written down first, so that a publishing that was killed is
finished by the next run and not begun again.
"""

import contextlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.data.store import FileVersion, Store
from pipeline.errors import NoResumeError, UsageError
from pipeline.options import OutputOptions
from pipeline.output.run_record import RUN
from pipeline.output.tables import table_names
from pipeline.passes.checkpoint import WorkFolder

SUCCESS = "_SUCCESS"
_WORK = "_work"
_RECORD, _CONFIGURATION = "publish", "configuration"
_FILES = (*table_names(), RUN, "report.html")
_FOLDERS = ("labels", "model")
# What systems and tools put into a folder to keep it, or of themselves.
_OF_NOBODY = {"lost+found", ".gitkeep", ".keep", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass
class Output:
    """One output folder, and which folders were made for it."""

    store: Store
    options: OutputOptions
    _created: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.store.plain(self.options.output)

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
        others = [] if self.finished or self._work_folders() else self._others()
        if others:
            raise UsageError(
                f"--output {self.path} exists and is not an output of this job, for {others[0]!r} "
                "is in it: name a new or an empty folder"
            )

    def check_input(self, parts: Sequence[str], files: Sequence[FileVersion]) -> None:
        """Raises a UsageError if the job would read what it writes, or write over what it reads."""
        for file in files:
            if self.store.inside(file.path, self.path):
                raise UsageError(
                    f"--input {file.path} lies in --output {self.path}: name another folder"
                )
        for part in parts:
            if self.store.is_folder(part) and self.store.inside(self.path, part):
                raise UsageError(
                    f"--output {self.path} lies in --input {part}: name another folder"
                )

    @property
    def finished(self) -> bool:
        """Whether a finished output of this job is here; other tools write `_SUCCESS` too."""
        return all(self.store.version(self.file(name)) for name in (SUCCESS, RUN))

    def work_folder(self, name: str) -> WorkFolder:
        """Where a configuration's attempts work, by its fingerprint."""
        return WorkFolder(self.file(posixpath.join(_WORK, name)), self.store)

    def claim(self, configuration: dict, fingerprint: str) -> WorkFolder:
        """The work folder of this configuration, with what an earlier attempt left if wanted.

        Raises:
            UsageError: --resume require, and there is nothing of this configuration to resume;
                or the folder cannot be written.
        """
        work = self.work_folder(fingerprint)
        left = [name for name in self._work_folders() if self._is_claimed(name)]
        if self.options.resume == "require" and fingerprint not in left:
            raise UsageError(self._nothing_to_resume(configuration, left))
        if self.options.resume == "never":
            self.store.delete(work.path)
        self._remember_missing_folders()
        try:
            text = json.dumps(configuration, indent=1)
            self.store.write(work.file(_CONFIGURATION), text.encode())
        except OSError as error:
            raise UsageError(f"--output {self.path} cannot be written: {error}") from error
        return work

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[WorkFolder]:
        """A work folder of nobody's configuration, of which nothing is left."""
        work = self.work_folder(name)
        self._remember_missing_folders()
        try:
            yield work
        finally:
            self.abandon(work)

    def abandon(self, work: WorkFolder) -> None:
        """Leaves nothing of an attempt, and of the folders those that were there before it."""
        self.store.delete(work.path)
        self.store.delete_empty(self.file(_WORK))
        for folder in self._created:
            self.store.delete_empty(folder)

    def publish(self, work: WorkFolder, request: dict, files: dict[str, str]) -> None:
        """Makes `files`, paths by name, the finished output; `_SUCCESS` comes last.

        Args:
            request: what the user asked for, by which the next run knows an unfinished publishing.

        Raises:
            UsageError: another job has finished here meanwhile.
        """
        self.check()
        record = {"request": request, "files": files}
        self.store.write(work.file(_RECORD), json.dumps(record).encode())
        self._finish_publishing(files)

    def finish_pending(self, request: dict) -> bool:
        """Finishes what a run of the same request was killed while publishing, if there is any."""
        if self.options.resume == "never":
            return False
        for name in self._work_folders():
            work = self.work_folder(name)
            if self.store.version(work.file(_RECORD)):
                record = json.loads(self.store.read(work.file(_RECORD)))
                if record["request"] == json.loads(json.dumps(request)):
                    self._finish_publishing(record["files"])
                    return True
        return False

    def _finish_publishing(self, files: dict[str, str]) -> None:
        """Does whatever of the moves is not done yet."""
        self.store.delete(self.file(SUCCESS))
        for name, source in files.items():
            if self.store.version(source):
                self.store.move(source, self.file(name))
            elif not self.store.version(self.file(name)):
                raise NoResumeError(f"{source} is gone: delete {self.path} and run the job again")
        for stale in self._published() - set(files):
            self.store.delete(self.file(stale))
        for folder in set(_FOLDERS) - {name.split("/")[0] for name in files}:
            self.store.delete(self.file(folder))
        self.store.write(self.file(SUCCESS), b"")
        self.store.delete(self.file(_WORK))

    def _published(self) -> set[str]:
        """The names that this job gives and that are here; a stranger's file is none of them."""
        names = {name for name in _FILES if self.store.version(self.file(name))}
        for folder in _FOLDERS:
            files = self.store.files(self.file(folder), recursive=True)
            names |= {posixpath.join(folder, file.below) for file in files}
        return names

    def _remember_missing_folders(self) -> None:
        folder = self.path
        while folder and not self.store.is_folder(folder):
            self._created.append(folder)
            folder = posixpath.dirname(folder)

    def _work_folders(self) -> list[str]:
        return self.store.folders(self.file(_WORK))

    def _is_claimed(self, name: str) -> bool:
        """Whether a work folder is a configuration's, and not one that a killed driver left."""
        return self.store.version(self.work_folder(name).file(_CONFIGURATION)) is not None

    def _others(self) -> list[str]:
        """What is in the folder and was not there when somebody made it for this job."""
        files = (file.below for file in self.store.files(self.path))
        return [n for n in (*files, *self.store.folders(self.path)) if n not in _OF_NOBODY]

    def _nothing_to_resume(self, configuration: dict, left: list[str]) -> str:
        if not left:
            return f"--resume require: there is no checkpoint in {self.path}"
        other = json.loads(self.store.read(self.work_folder(left[0]).file(_CONFIGURATION)))
        differing = [
            f"{name} was {other.get(name)!r}, now {value!r}"
            for name, value in configuration.items()
            if json.loads(json.dumps(value)) != other.get(name)
        ]
        return (
            f"--resume require: the checkpoint in {self.path} is of another configuration: "
            + ", ".join(differing)
        )
