"""The one door to files: local paths, and whatever pyarrow reaches by URI (gs://, s3://, hdfs://).

A file appears under its name only when it is complete: it is written under a temporary name unique
to the attempt and renamed. Stores of objects have no rename: moving is a copy and a delete, and
what is written in one go has its name at once, for an upload shows when it is closed. They have no
folders either, and none are made in them.
"""

import atexit
import contextlib
import errno
import fnmatch
import os
import posixpath
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.data.addresses import OTHER_STORES, is_uri, masked, spelt
from pipeline.data.leases import leased
from pipeline.data.locks import NoLocksError, locked
from pipeline.data.walk import Entry, walk
from pipeline.errors import DataError, SetupError, UsageError

_WILDCARDS = set("*?[")
_SECOND = 10**9
_OPTIONS = re.compile(r"\?\w+=[^/?]*$")  # behind a URI; any other question mark is a wildcard
_AZURE = ("abfs", "abfss")
_OF_OBJECTS = ("s3", "gcs", "abfs")  # as Arrow calls these file systems
_ONE_REQUEST = "allow_delayed_open"  # for a small file
_PATIENCE = 30.0  # seconds for a store's first answer; the clients of some ask for a quarter hour
_SETTLED_AT_ONCE = 8
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of which Arrow does not say where
_UNSETTLED = (errno.EINVAL, errno.EOPNOTSUPP)  # by file systems that cannot tell of folders
_LIMIT = "retry_limit_seconds"
_ADVICE = "check the address, the network and the right to it"
_NO_CLIENT = "Unable to load lib"
_CLIENT_ADVICE = "install Java and Hadoop, and set JAVA_HOME and HADOOP_HOME"
_SILENT = ("no answer in", "NETWORK_CONNECTION", "UNAVAILABLE")  # and no refusal
_MISSING, _NO_BUCKET = "No such file or directory", "NOT_FOUND"  # in Google's words
_REASON = re.compile(
    r"(?:AWS Error |google::cloud::Status\()([^\n]*?)(?: error_info=.*|\)?(?: \(Request ID.*)?)$"
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file as it was when the job first saw it.

    Attributes:
        path: what names it.
        size: in bytes.
        modified: nanoseconds since 1970, 0 where the store does not tell; of another than this
            machine's in whole seconds, for some tell more in a listing than of a file.
        below: its path below the folder or wildcard that found it; no part of its identity.
    """

    path: str
    size: int
    modified: int
    below: str = field(default="", compare=False)


@dataclass(frozen=True)
class Listing:
    """What lies below a folder, sorted.

    Attributes:
        folder: its path.
        files: a link to nothing is an empty one; see `Store.lost`.
        folders: the paths below it of folders.
        others: those of what is neither, such as pipes.
    """

    folder: str
    files: Sequence[FileVersion] = ()
    folders: Sequence[str] = ()
    others: Sequence[str] = ()

    @property
    def below(self) -> Iterator[str]:
        """The paths of files and folders below it, those of folders with a slash behind them."""
        yield from (file.below for file in self.files)
        yield from (f"{folder}/" for folder in self.folders)


@dataclass(frozen=True)
class Matches:
    """What matches a pattern.

    Attributes:
        listed: all that was held against the pattern, below the folder in front of its first
            wildcard.
        found: what of this matches.
    """

    listed: Listing
    found: Listing


@dataclass(frozen=True)
class Store:
    """Local paths, and URIs as `plain` spells them. Small and picklable: it travels to workers.

    Attributes:
        roots: of buckets for which the user gave more than a name (a user, options for pyarrow):
            (scheme://bucket, scheme://user@bucket?options).
    """

    roots: tuple[tuple[str, str], ...] = ()

    @classmethod
    def reaching(cls, paths: Iterable[str]) -> "Store":
        """The store that knows what the user's paths say of their buckets.

        Raises:
            UsageError: two paths say different things of one bucket, or one is no address.
        """
        roots: dict[str, str] = {}
        for path in map(spelt, paths):
            plain, full = _roots(path)
            if roots.setdefault(plain, full) != full:
                raise UsageError(f"{plain}: two paths give different users or options for it")
        return cls(tuple((plain, full) for plain, full in roots.items() if plain != full))

    @staticmethod
    def plain(path: str) -> str:
        """One spelling of a path: absolute, for workers are elsewhere; of a URI, the bare one.

        Raises:
            UsageError: it is no address; see `spelt`.
        """
        path = spelt(path)
        if not is_uri(path):
            return re.sub("^//", "/", posixpath.abspath(path))  # two are one, but to POSIX
        scheme, _, rest = _OPTIONS.sub("", path).partition("://")
        bucket, slash, below = rest.partition("/")
        return f"{scheme}://{_without_user(scheme, bucket)}{slash}{below}".rstrip("/")

    def place(self, path: str) -> tuple[str, str]:
        """What tells a file from all others: its file system, and its path with links resolved."""
        base = self._locate(path)[1]
        if self.is_local(path):
            return "", os.path.realpath(base)
        return _roots(spelt(path))[0], base

    def is_local(self, path: str) -> bool:
        """Whether a path is one of this machine's own file system."""
        return isinstance(self._locate(path)[0], fs.LocalFileSystem)

    def inside(self, path: str, folder: str) -> bool:
        """Whether a path is a folder or lies somewhere below it."""
        system, base = self.place(path)
        folder_system, folder_base = self.place(folder)
        below = base == folder_base or base.startswith(folder_base.rstrip("/") + "/")
        return system == folder_system and below

    def version(self, path: str) -> FileVersion | None:
        """The file at `path`; None if there is no file."""
        info, system = self._info(path), self._locate(path)[0]
        is_file = info.type == fs.FileType.File
        return FileVersion(path, info.size, _modified(info, system)) if is_file else None

    def check_reached(self, path: str) -> None:
        """Asks the store of a path once, before anything is done.

        Raises:
            UsageError: it refuses.
            SetupError: it gives no answer.
        """
        path = self.plain(path)
        if self.is_local(path):
            return
        try:
            folder = _split_pattern(path)[0] if _WILDCARDS & set(path) else path
            self._first_info(folder, *self._locate(folder))
        except SetupError as error:
            if any(word in str(error) for word in _SILENT):
                raise
            raise UsageError(str(error)) from error

    def is_there(self, path: str) -> bool:
        """Whether there is anything at `path`: a pipe, say, is neither a file nor a folder."""
        return self._info(path).type != fs.FileType.NotFound

    def is_folder(self, path: str) -> bool:
        return self._info(path).type == fs.FileType.Directory

    def files(self, folder: str, recursive: bool = False) -> list[FileVersion]:
        """The files in a folder, sorted by name; none if there is no such folder."""
        return [*self._listing(folder, recursive).files]

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted."""
        return [*self._listing(folder).folders]

    def listing(self, folder: str, recursive: bool = False) -> Listing:
        """What is in a folder.

        Raises:
            FileNotFoundError, NotADirectoryError: there is no such folder.
        """
        return _listing(folder, [*self._entries(folder, recursive)])

    def match(self, pattern: str) -> Matches:
        """What matches: `*`, `?` and `[…]` within a name, `**` for any folders.

        A wildcard at the beginning of a name stands for no hidden one.
        """
        folder, patterns = _split_pattern(pattern)
        listed = self._listing(folder, "**" in patterns or len(patterns) > 1)

        def fits(below: str) -> bool:
            return _matches(below.split("/"), patterns)

        files = [file for file in listed.files if fits(file.below)]
        folders, others = ([*filter(fits, each)] for each in (listed.folders, listed.others))
        return Matches(listed, Listing(folder, files, folders, others))

    @staticmethod
    def lost(path: str) -> str | None:
        """Where a link leads, if there is nothing; its name may be no text."""
        link = Path(path.removeprefix("file://"))
        return str(link.readlink()) if link.is_symlink() and not link.exists() else None

    def stands_for(self, part: str, path: str) -> bool:
        """Whether a part of the input, a folder or a glob, stands for what lies below a path."""
        if self.is_folder(part):
            return self.inside(path, part)
        if not _WILDCARDS & set(part):
            return False
        folder, patterns = _split_pattern(part)
        system, base = self.place(folder)
        other, place = self.place(path)
        below = place.removeprefix(base.rstrip("/") + "/")
        if system != other or below == place:
            return False
        names = below.split("/")
        return any(_matches(names[:depth], patterns) for depth in range(1, len(names) + 1))

    def is_bucket(self, path: str) -> bool:
        """Whether a path is all of a store, in which no folder is made or deleted."""
        return is_uri(path) and _roots(path)[0] == path

    def is_link(self, path: str) -> bool:
        """Whether a path is a link of this machine's own file system."""
        return self.is_local(path) and Path(self.plain(path)).is_symlink()

    def _listing(self, folder: str, recursive: bool = False) -> Listing:
        """What is in a folder; nothing if there is no such folder."""
        try:
            return self.listing(folder, recursive)
        except (FileNotFoundError, NotADirectoryError):
            return Listing(folder)

    def _entries(self, folder: str, recursive: bool) -> Iterable[Entry]:
        system, base = self._locate(folder)
        if isinstance(system, fs.LocalFileSystem):
            return walk(base, recursive=recursive)
        knows = _knows_folders(system)
        selector = fs.FileSelector(
            base, allow_not_found=not knows, recursive=recursive or not knows
        )
        entries = [_entry(base, info, system) for info in _asked(system, folder, selector)]
        if knows:
            return entries
        if not (entries or self.is_bucket(folder)):
            raise FileNotFoundError(folder)
        return (e for e in _with_folders(entries) if recursive or "/" not in e.below)

    def open(self, file: FileVersion) -> pa.NativeFile:
        """Opens a file for reading, if it is still the one that the job first saw.

        Raises:
            DataError: it changed or is gone.
        """
        self.check(file)
        system, path = self._locate(file.path)
        return system.open_input_file(path)

    def head(self, file: FileVersion, size: int = 1 << 12) -> bytes:
        """The first bytes of a file; what it tells of compression in its name is not heeded."""
        system, path = self._locate(file.path)
        with system.open_input_stream(path, compression=None) as stream:
            return stream.read(size)

    def check(self, file: FileVersion) -> None:
        """Raises a DataError if a file is not any more the one that the job first saw."""
        now = self.version(file.path)
        if now != file:
            what = "is gone" if now is None else "was rewritten"
            raise DataError(f"{file.path} {what} while the job ran: run the job again")

    def read(self, path: str) -> bytes:
        system, base = self._locate(path)
        with system.open_input_stream(base, compression=None) as stream:
            return stream.read()

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file; it appears complete or not at all."""
        system, base = self._locate(path)
        opened: contextlib.AbstractContextManager[pa.NativeFile] = self.create(path)
        if _has_objects(system):  # nothing but the store itself can fail before it is closed
            opened = system.open_output_stream(base, compression=None)
        with opened as stream:
            stream.write(data)

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[pa.NativeFile]:
        """A stream to a file that appears when the block ends without an error."""
        system, base = self._locate(path)
        folder, name = posixpath.split(base)
        _make_folder(system, folder)
        temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}")
        try:
            with system.open_output_stream(temporary, compression=None) as stream:
                yield stream
            system.move(temporary, base)
        except BaseException as error:
            with contextlib.suppress(OSError):
                system.delete_file(temporary)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise OSError(error.errno, os.strerror(error.errno), path) from error
            raise

    @contextlib.contextmanager
    def held(self, path: str, holder: str) -> Iterator[Callable[[], bool]]:
        """Holds a file's name, which nobody else can hold meanwhile.

        Whoever dies lets it go: at once where there are locks, else after `leases.DEAD_SECONDS`.

        Args:
            holder: one line that tells others who holds it.

        Yields:
            Whether it is still held: somebody may have deleted it.

        Raises:
            HeldError: another has it.
            OSError: it cannot be written.
        """
        system, base = self._locate(path)
        with contextlib.ExitStack() as stack:
            is_held = None
            if self.is_local(path):
                with contextlib.suppress(NoLocksError):
                    is_held = stack.enter_context(locked(Path(base), holder))
            yield is_held or stack.enter_context(leased(system, base, holder))

    def move(self, source: str, target: str) -> None:
        """Moves a file, over the target if there is one."""
        system, base = self._locate(source)
        target = self._locate(target)[1]
        _make_folder(system, posixpath.dirname(target))
        system.move(base, target)

    def settle(self, paths: Iterable[str]) -> None:
        """Local files and folders, as they are now, outlive the sudden end of their machine.

        A store of objects sees to that itself, before it answers.
        """
        local = [self.plain(path) for path in paths if self.is_local(path)]
        with ThreadPoolExecutor(_SETTLED_AT_ONCE) as pool:
            for _ in pool.map(_settle, local):
                pass

    @contextlib.contextmanager
    def local_copy(self, folder: str) -> Iterator[str]:
        """A local folder with the files of one: itself, or a temporary copy."""
        if self.is_local(folder):
            yield self.plain(folder)
            return
        with tempfile.TemporaryDirectory() as copy:
            self.download(folder, Path(copy))
            yield copy

    @contextlib.contextmanager
    def local_folder(self, target: str) -> Iterator[str]:
        """A local folder whose files lie in `target` afterwards: itself, or a temporary one."""
        if self.is_local(target):
            yield self.plain(target)
            return
        with tempfile.TemporaryDirectory() as folder:
            yield folder
            self.upload(Path(folder), target)

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
        system, base = self._locate(path)
        kind = self._info(path).type
        if kind == fs.FileType.Directory:
            with contextlib.suppress(FileNotFoundError):  # a store may tell of what it is deleting
                system.delete_dir(base)
        elif kind == fs.FileType.File:
            system.delete_file(base)

    def delete_empty(self, folder: str) -> None:
        """Deletes a folder if nothing is in it."""
        if self.is_folder(folder) and not self.files(folder) and not self.folders(folder):
            self.delete(folder)

    def _info(self, path: str) -> fs.FileInfo:
        system, base = self._locate(path)
        if isinstance(system, fs.LocalFileSystem) or system in _REACHED:
            return _asked(system, path, base)
        return self._first_info(path, system, base)

    def _first_info(self, path: str, system: fs.FileSystem, base: str) -> fs.FileInfo:
        """What a store says of a path, as `_locate` has it, when it is asked first.

        Raises:
            SetupError: it says nothing, or refuses.
        """
        root = _roots(self.plain(path))[0]
        impatient, _ = _remote(_impatient(dict(self.roots).get(root, root)), root)
        info = _first_answer(path, lambda: _introduced(impatient, path, base))
        if system not in _REACHED:
            _REACHED.append(system)
        return info

    def _locate(self, path: str) -> tuple[fs.FileSystem, str]:
        """The file system of a path or URI, and the path in it.

        Raises:
            UsageError: there is no such kind of store.
            DataError: the path is no text.
        """
        path = self.plain(path)
        if not is_uri(path):
            _check_name(path)
            return _local(), path
        root = _roots(path)[0]
        system, base = _remote(dict(self.roots).get(root, root), root)
        below = path[len(root) :].strip("/")
        return system, f"{base.rstrip('/')}/{below}" if below else base


def _roots(path: str) -> tuple[str, str]:
    """A URI's scheme and bucket, without and with its user and options; both empty for a path."""
    if not is_uri(path):
        return "", ""
    options = _OPTIONS.search(path)
    parts = urlsplit(path)
    plain = f"{parts.scheme}://{_without_user(parts.scheme, parts.netloc)}"
    return plain, f"{parts.scheme}://{parts.netloc}{options[0] if options else ''}"


def _without_user(scheme: str, bucket: str) -> str:
    """A bucket without the user before it, which to Azure is the container."""
    user, _, host = bucket.rpartition("@")
    return bucket if scheme in _AZURE and ":" not in user else host


def _settle(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSETTLED:
            raise
    finally:
        os.close(descriptor)


@cache
def _local() -> fs.FileSystem:
    return fs.LocalFileSystem()


@cache
def _remote(uri: str, plain: str) -> tuple[fs.FileSystem, str]:
    try:
        return _first_answer(plain, lambda: fs.FileSystem.from_uri(_with_default(uri)))
    except SetupError as error:
        raise UsageError(str(error)) from error
    except (pa.ArrowInvalid, NotImplementedError, ImportError) as error:
        raise UsageError(f"{plain}: no such store: {reason(error)}: {OTHER_STORES}") from error


def _with_default(uri: str) -> str:
    """A URI with what is wanted of its kind of store, unless it says so itself."""
    if not uri.startswith("s3://") or _ONE_REQUEST in uri:
        return uri
    return _with_option(uri, f"{_ONE_REQUEST}=true")


def _with_option(uri: str, option: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{option}"


def _has_objects(system: fs.FileSystem) -> bool:
    """Whether a store has no folders and no rename."""
    return system.type_name in _OF_OBJECTS


def _knows_folders(system: fs.FileSystem) -> bool:
    """Whether a store tells of folders, and not only of the files below them."""
    return system.type_name != "gcs"


def _with_folders(entries: Iterable[Entry]) -> Iterator[Entry]:
    """All that is below a folder, by what is told of the files."""
    seen = set[str]()
    for entry in entries:
        is_folder = entry.kind == fs.FileType.Directory
        folder = entry.below.rstrip("/") if is_folder else posixpath.dirname(entry.below)
        while folder and folder not in seen:
            seen.add(folder)
            yield Entry(folder, fs.FileType.Directory)
            folder = posixpath.dirname(folder)
        if not is_folder:
            yield entry


def _make_folder(system: fs.FileSystem, folder: str) -> None:
    if not _has_objects(system):
        system.create_dir(folder, recursive=True)


def reason(error: Exception) -> str:
    """What a store says, in one line."""
    line = str(error).splitlines()[0]
    told = _REASON.search(line)
    return masked(told[1] if told else line).rstrip(".")


def _unreached(path: str, error: Exception) -> str:
    why = reason(error)
    advice = _CLIENT_ADVICE if why.startswith(_NO_CLIENT) else _ADVICE
    return f"{path} cannot be reached: {why}: {advice}"


def _asked(system: fs.FileSystem, path: str, what: Any) -> Any:
    """What a store says of a path or of what is below it."""
    try:
        return system.get_file_info(what)
    except pa.ArrowException as error:  # none of those that a disk or a network has
        raise UsageError(_unreached(path, error)) from error


_REACHED: list[fs.FileSystem] = []  # which has no hash


def _impatient(uri: str) -> str:
    """A URI by which a store's client gives its reason before our patience is at an end."""
    if not uri.startswith("gs://") or _LIMIT in uri:
        return uri
    return _with_option(uri, f"{_LIMIT}={_PATIENCE / 3:.0f}")


def _first_answer(path: str, ask: Callable[[], _T]) -> _T:
    """What a store says when this process first asks it; whoever waits in vain is left behind.

    Raises:
        SetupError: it says nothing for a while, or that it cannot be reached.
    """
    answer: Future[_T] = Future()

    def listen() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=listen, daemon=True).start()
    try:
        if not wait([answer], _PATIENCE).done:
            atexit.unregister(fs.ensure_s3_finalized)  # it would wait for the answer too
            raise OSError(f"no answer in {_PATIENCE:.0f} s")
        return answer.result()
    except OSError as error:
        raise SetupError(_unreached(path, error)) from error


def _introduced(system: fs.FileSystem, path: str, base: str) -> fs.FileInfo:
    """What a store says of a path, or why it refuses.

    Asked for a file alone it gives no reason, and takes one of a bucket that is not there for one
    that is not there.
    """
    try:
        info = _asked(system, path, base)
    except OSError as error:
        if "No response body" in str(error):
            _ask_below(system, path, base)
        raise
    if info.type == fs.FileType.NotFound:
        _ask_below(system, path, base)
    return info


def _ask_below(system: fs.FileSystem, path: str, base: str) -> None:
    """Raises what a store says against listing what is below a path."""
    nothing = fs.FileSelector(posixpath.join(base, uuid.uuid4().hex))
    try:
        _asked(system, path, nothing)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) or _MISSING in str(error)
        if not is_missing or _NO_BUCKET in str(error):
            raise


def _modified(info: fs.FileInfo, system: fs.FileSystem) -> int:
    """See `FileVersion`."""
    modified = info.mtime_ns or 0
    is_local = isinstance(system, fs.LocalFileSystem)
    return modified if is_local else modified // _SECOND * _SECOND


def _listing(folder: str, entries: Sequence[Entry]) -> Listing:
    files = (_file(folder, entry) for entry in entries if entry.kind == fs.FileType.File)

    def below(kind: fs.FileType) -> list[str]:
        return sorted(entry.below for entry in entries if entry.kind == kind)

    return Listing(
        folder,
        files=sorted(files, key=lambda file: file.path),
        folders=below(fs.FileType.Directory),
        others=below(fs.FileType.Unknown),
    )


def _file(folder: str, entry: Entry) -> FileVersion:
    path = posixpath.join(folder, entry.below).removeprefix("./")
    return FileVersion(path, entry.size, entry.modified, entry.below)


def _entry(folder: str, info: fs.FileInfo, system: fs.FileSystem) -> Entry:
    below = info.path[len(folder) :].lstrip("/")
    return Entry(below, info.type, info.size or 0, _modified(info, system))


def escaped(path: str) -> str:
    """A path that can be said: its bytes that are no text, escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _check_name(path: str) -> None:
    """Raises a DataError for a name that neither Arrow nor the labels can hold."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{escaped(path)}: the name is not UTF-8: rename it") from error


def is_hidden(name: str) -> bool:
    """Whether readers of tables pass over a file or folder; not over a partition `_a=1`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _split_pattern(pattern: str) -> tuple[str, list[str]]:
    """The folder in front of the first wildcard, and the names and wildcards behind it."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if _WILDCARDS & set(part))
    folder = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
    return folder, parts[fixed:]


def _matches(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        passed = len(list(takewhile(lambda name: not is_hidden(name), names)))
        return any(_matches(names[i:], patterns[1:]) for i in range(passed + 1))
    if not names or (is_hidden(names[0]) and patterns[0][0] not in "_."):
        return False
    return fnmatch.fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])
