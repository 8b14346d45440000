"""The output folder: claiming it, and publishing into it as one act.

Everything is written below `_work/<configuration>/`, which readers of Parquet folders skip. At
the end the files are moved to their names, and `_SUCCESS` is written last: a folder without it is
not an answer. The list of moves is written down first, beside `_work`, and deleted when that is
gone too, so that a publishing that was killed is finished by the next run and not begun again. What
a gate refuses goes to `_rejected/` instead.

A job holds its folder from the start, by a file in `_work` of which the store says who has it.
"""

import contextlib
import hashlib
import json
import os
import posixpath
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.command_line.options import OutputOptions
from pipeline.console import say
from pipeline.data.locks import HeldError
from pipeline.data.store import FileVersion, Store, reason
from pipeline.errors import (
    DamagedError,
    FullDiskError,
    NoResumeError,
    UsageError,
    disk_failure,
)
from pipeline.output.run_record import RUN
from pipeline.output.tables import table_names
from pipeline.passes.archive import sealed, unsealed
from pipeline.passes.checkpoint import WorkFolder, forget_labels

SUCCESS = "_SUCCESS"
_WORK, _REJECTED, _RECORD = "_work", "_rejected", "_publishing"
_HELD, _CONFIGURATION = "held", "configuration"
_FILES = (*table_names(), RUN, "report.html")
_FOLDERS = ("labels", "model")
# What systems and tools put into a folder to keep it, or of themselves.
_OF_NOBODY = {"lost+found", ".gitkeep", ".keep", ".DS_Store", "Thumbs.db", "desktop.ini", _WORK}


def is_finished(store: Store, path: str) -> bool:
    """Whether a folder is a finished output of this job; other tools write `_SUCCESS` too."""
    return all(store.version(posixpath.join(path, name)) for name in (SUCCESS, RUN))


def is_half_published(store: Store, path: str) -> bool:
    """Whether a publishing into a folder was killed, and not finished since."""
    return bool(store.version(posixpath.join(path, _RECORD))) and not is_finished(store, path)


@dataclass
class Output:
    """One output folder, and which folders were made for it."""

    store: Store
    options: OutputOptions
    _created: list[str] = field(default_factory=list)
    _is_held: Callable[[], bool] = lambda: True

    @property
    def path(self) -> str:
        return self.store.plain(self.options.output)

    def file(self, name: str) -> str:
        return posixpath.join(self.path, name)

    def check(self) -> None:
        """Raises a UsageError if nothing may be written here."""
        if self.store.version(self.path):
            raise UsageError(f"--output {self.path} is a file, expected a folder")
        if not self._is_publishing:  # else `finish_pending` knows more
            self._check_not_finished()
        is_ours = self.finished or self._is_publishing or self._work_folders()
        others = [] if is_ours else self._others()
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
        linked = (folder for folder in self._linked(files) if self.store.inside(self.path, folder))
        around = [part for part in parts if self.store.stands_for(part, self.path)] or [*linked]
        if around:
            raise UsageError(
                f"--output {self.path} lies in --input {around[0]}: name another folder"
            )

    def _linked(self, files: Sequence[FileVersion]) -> Iterator[str]:
        """The links below the folders that were named, through which files were found."""
        seen = set[str]()
        for file in files:
            folder, depth = posixpath.dirname(file.path), len(file.below.split("/"))
            for _ in range(depth if file.below else 0):
                if folder in seen:
                    break
                seen.add(folder)
                if self.store.is_link(folder):
                    yield folder
                folder = posixpath.dirname(folder)

    @property
    def finished(self) -> bool:
        """Whether a finished output of this job is here."""
        return is_finished(self.store, self.path)

    def work_folder(self, name: str) -> WorkFolder:
        """Where a configuration's attempts work, by its fingerprint."""
        return WorkFolder(self.file(posixpath.join(_WORK, name)), self.store)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other jobs out of the folder. Folders that were made for it go, if they are empty.

        Raises:
            UsageError: another job is at work in it, or it cannot be written.
            NoResumeError: somebody removed it meanwhile.
        """
        self._remember_missing_folders()
        try:
            with self._holding() as self._is_held:
                try:
                    yield
                except Exception as error:
                    self._check_held(error)
                    raise
        finally:
            with contextlib.suppress(OSError):
                for folder in (self.file(_WORK), *self._created):
                    self.store.delete_empty(folder)

    @contextlib.contextmanager
    def _holding(self) -> Iterator[Callable[[], bool]]:
        now = datetime.now(UTC)
        me = f"{socket.gethostname()}, pid {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC"
        with contextlib.ExitStack() as stack:
            try:
                held = self.store.held(self.file(posixpath.join(_WORK, _HELD)), me)
                is_held = stack.enter_context(held)
            except HeldError as error:
                raise UsageError(
                    f"--output {self.path}: another job is at work there ({error}): wait for its "
                    "end, or name another folder"
                ) from error
            except OSError as error:
                raise self._unwritable(error) from error
            yield is_held

    def _check_held(self, cause: Exception | None = None) -> None:
        if not self._is_held():
            what = "removed" if self.store.is_local(self.path) else "removed, or another job's,"
            raise NoResumeError(
                f"{self.file(_WORK)} was {what} while the job ran: run the job again"
            ) from cause

    def _unwritable(self, error: OSError) -> FullDiskError | UsageError:
        failure = disk_failure(error)
        if isinstance(failure, FullDiskError):
            return failure
        return UsageError(f"--output {self.path} cannot be written: {reason(error)}")

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
        try:
            text = json.dumps(configuration, indent=1)
            self.store.write(work.file(_CONFIGURATION), text.encode())
        except OSError as error:
            raise self._unwritable(error) from error
        return work

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[WorkFolder]:
        """A work folder of nobody's configuration, of which nothing is left."""
        work = self.work_folder(name)
        try:
            yield work
        finally:
            self.abandon(work)

    def abandon(self, work: WorkFolder) -> None:
        """Leaves nothing of an attempt."""
        self.store.delete(work.path)

    def publish(self, work: WorkFolder, request: dict, files: dict[str, str]) -> None:
        """Makes `files`, paths by name, the finished output; `_SUCCESS` comes last.

        Args:
            request: what the user asked for, by which the next run knows an unfinished publishing.

        Raises:
            UsageError: another job has finished here meanwhile.
            NoResumeError: somebody removed the folder meanwhile.
        """
        self._check_held()
        if not self._is_publishing:
            self._check_not_finished()
        self.store.settle(files.values())  # whoever reads the record finds them whole
        below = {name: posixpath.relpath(path, self.path) for name, path in files.items()}
        run = self._digest(files[RUN])
        record = json.dumps({"request": request, "files": below, "run": run})
        self.store.write(self.file(_RECORD), sealed(record.encode(), _RECORD))
        self.store.settle([self.file(_RECORD), self.path])
        self._finish_publishing(below)

    def reject(self, work: WorkFolder, files: dict[str, str]) -> str:
        """Puts `files` where they can be looked at and are no answer, as the only ones there.

        What was trained stays: the same configuration resumes with the label pass.

        Returns:
            The folder.
        """
        folder = self.file(_REJECTED)
        forget_labels(work)
        self.store.delete(self.file(_RECORD))  # which may name what is moved here
        self.store.delete(folder)
        for name, source in files.items():
            self.store.move(source, posixpath.join(folder, name))
        return folder

    def finish_pending(self, request: dict) -> bool:
        """Finishes what a run of the same request was killed while publishing, if there is any.

        Raises:
            UsageError: another request's was finished, but for what it would have deleted.
        """
        if self._is_publishing and self.options.resume != "never":
            try:
                record = self._record()
                if record["request"] == json.loads(json.dumps(request)):
                    self._check_complete(record)
                    self._finish_publishing(record["files"])
                    return True
            except DamagedError as error:
                say(f"warning: {error}: what led to it is done again")
        self._check_not_finished()
        return False

    @property
    def _is_publishing(self) -> bool:
        """Whether a run was killed while it published."""
        return self.store.version(self.file(_RECORD)) is not None

    def _record(self) -> dict[str, Any]:
        path = self.file(_RECORD)
        try:
            return json.loads(bytes(unsealed(self.store.read(path), _RECORD)))
        except ValueError as error:
            raise DamagedError(f"{path} is damaged, or something else") from error

    def _check_not_finished(self) -> None:
        if self.finished and not self.options.overwrite:
            raise UsageError(
                f"--output {self.path} holds a finished output: give --overwrite to replace it"
            )

    def _check_complete(self, record: dict[str, Any]) -> None:
        """Raises a DamagedError if what was to be published cannot be finished any more."""
        files, left = record["files"], self._left(record["files"])
        for name, below in files.items():
            is_there = name in left or self.store.version(self.file(name))
            if (left or not self.finished) and not is_there:
                raise DamagedError(f"{self.file(below)} is gone")
        if RUN not in left and self._digest(self.file(RUN)) != record.get("run"):
            raise DamagedError(f"{self.file(RUN)} is another job's")

    def _digest(self, path: str) -> str:
        return hashlib.sha256(self.store.read(path)).hexdigest()

    def _left(self, files: dict[str, str]) -> set[str]:
        """The names of the files that are still to be moved."""
        return {name for name, below in files.items() if self.store.version(self.file(below))}

    def _finish_publishing(self, files: dict[str, str]) -> None:
        """Does whatever is not done yet; an answer that is finished stays so meanwhile."""
        self._check_held()
        left = self._left(files)
        if left or not self.finished:
            self._move(files, left)
        self._is_held = lambda: True  # from here on nothing is lost
        for file in self.store.files(self.path):  # half-written by what was killed
            if file.below.startswith((f".{SUCCESS}.", f".{_RECORD}.")):
                self.store.delete(file.path)
        self.store.delete(self.file(_WORK))
        self.store.delete(self.file(_RECORD))

    def _move(self, files: dict[str, str], left: set[str]) -> None:
        """Makes `files` all that there is, of which some are left to be moved.

        Before each change it looks whether the folder is still this job's: where an object stands
        for a lock, one that stood still meanwhile was taken for dead, and would mix two answers.
        """
        self._check_held()
        self.store.delete(self.file(SUCCESS))
        self.store.settle([self.path])
        for name in filter(left.__contains__, files):
            self._check_held()
            self.store.move(self.file(files[name]), self.file(name))
        for stale in self._published() - set(files):
            self._check_held()
            self.store.delete(self.file(stale))
        for folder in set(_FOLDERS) - {name.split("/")[0] for name in files}:
            self.store.delete(self.file(folder))
        self.store.delete(self.file(_REJECTED))
        self.store.settle({posixpath.dirname(self.file(name)) for name in files})
        self._check_held()
        self.store.write(self.file(SUCCESS), b"")
        self.store.settle([self.path])

    def _published(self) -> set[str]:
        """The names that this job gives and that are here; a stranger's file is none of them."""
        names = {name for name in _FILES if self.store.version(self.file(name))}
        for folder in _FOLDERS:
            files = self.store.files(self.file(folder), recursive=True)
            names |= {posixpath.join(folder, file.below) for file in files}
        return names

    def _remember_missing_folders(self) -> None:
        folder = self.path
        while not (folder == "" or self.store.is_bucket(folder) or self.store.is_folder(folder)):
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
        known = {*_OF_NOBODY, _REJECTED}
        return [n for n in (*files, *self.store.folders(self.path)) if n not in known]

    def _nothing_to_resume(self, configuration: dict, left: list[str]) -> str:
        if not left:
            return f"--resume require: there is no checkpoint in {self.path}"
        path = self.work_folder(left[0]).file(_CONFIGURATION)
        try:
            other = dict(json.loads(self.store.read(path)))
        except (ValueError, TypeError):
            return f"--resume require: {path} cannot be read: start again with --resume never"
        differing = [
            f"{name} was {other.get(name)!r}, now {value!r}"
            for name, value in configuration.items()
            if json.loads(json.dumps(value)) != other.get(name)
        ]
        return (
            f"--resume require: the checkpoint in {self.path} is of another configuration: "
            + ", ".join(differing)
        )
