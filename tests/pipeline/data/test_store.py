"""The one door to files: complete files or none, and the files that a pattern matches."""

import dataclasses
import errno
import os
import pickle
import posixpath
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from pipeline.data.locks import HeldError
from pipeline.data.store import FileVersion, Store
from pipeline.errors import DataError, SetupError, UsageError

store = Store()
ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path):
    for name in ["a.txt", "b.txt", ".hidden", "x/c.txt", "x/y/d.txt", "[1].txt"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(files, folder):
    return [file.path.removeprefix(f"{folder}/") for file in files]


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with store.create(str(path)) as stream:
        stream.write(b"one ")
        assert not path.exists()
        stream.write(b"two")
    assert path.read_bytes() == b"one two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("before")

    def write():
        with store.create(str(path)) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "before"


def test_write_replaces_and_read_reads(tmp_path):
    path = str(tmp_path / "file.gz")  # not decompressed, whatever the name says
    for data in (b"one", b"", b"three"):
        store.write(path, data)
        assert store.read(path) == data


def test_version_exists_and_is_folder(tree):
    file = store.version(str(tree / "a.txt"))
    assert file == FileVersion(str(tree / "a.txt"), 5, (tree / "a.txt").stat().st_mtime_ns)
    assert store.version(str(tree / "x")) is None
    assert store.version(str(tree / "nothing")) is None
    assert store.is_folder(str(tree / "x"))
    assert not store.is_folder(str(tree / "a.txt"))


def test_files_and_folders_are_sorted(tree):
    assert names(store.files(str(tree)), tree) == [".hidden", "[1].txt", "a.txt", "b.txt"]
    assert names(store.files(f"{tree}/x/", recursive=True), tree) == ["x/c.txt", "x/y/d.txt"]
    assert store.folders(str(tree)) == ["x"]
    assert store.files(str(tree / "nothing")) == []
    assert store.folders(str(tree / "nothing")) == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["[1].txt", "a.txt", "b.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("*/*.txt", ["x/c.txt"]),
        ("**/*.txt", ["[1].txt", "a.txt", "b.txt", "x/c.txt", "x/y/d.txt"]),
        ("x/**", ["x/c.txt", "x/y/d.txt"]),
        ("**/y/*", ["x/y/d.txt"]),
        ("*.csv", []),
        ("no/such/*", []),
    ],
)
@pytest.mark.parametrize("place", ["absolute", "relative", "dotted"])
def test_glob(tree, monkeypatch, pattern, expected, place):
    monkeypatch.chdir(tree)
    before = {"absolute": f"{tree}/", "relative": "", "dotted": "./"}[place]
    files = store.match(before + pattern).found.files
    assert [file.path.removeprefix(before).removeprefix("./") for file in files] == expected


def test_open_refuses_a_file_that_changed_or_is_gone(tree):
    path = tree / "a.txt"
    file = store.version(str(path))
    with store.open(file) as stream:
        assert stream.read() == b"a.txt"
    path.write_text("b.txt")
    with pytest.raises(DataError, match=r"a\.txt was rewritten while the job ran"):
        store.open(file)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.txt is gone while the job ran"):
        store.open(file)


def test_move_goes_over_what_is_there_and_makes_folders(tree):
    store.move(str(tree / "a.txt"), str(tree / "b.txt"))
    store.move(str(tree / "x/c.txt"), str(tree / "new/folder/c.txt"))
    assert (tree / "b.txt").read_text() == "a.txt"
    assert (tree / "new/folder/c.txt").read_text() == "x/c.txt"
    assert not (tree / "a.txt").exists()


def test_upload_and_download_keep_the_tree(tree, tmp_path):
    store.upload(tree / "x", str(tree / "copy"))
    store.download(str(tree / "copy"), tree / "back")
    for name in ("c.txt", "y/d.txt"):
        assert (tree / "back" / name).read_text() == f"x/{name}"


def test_delete_takes_files_folders_and_nothing(tree):
    store.delete(str(tree / "x"))
    store.delete(str(tree / "a.txt"))
    store.delete(str(tree / "nothing"))
    assert not (tree / "x").exists()
    assert not (tree / "a.txt").exists()


def test_delete_empty_leaves_what_is_not(tree):
    (tree / "empty").mkdir()
    for name in ("empty", "x", "nothing"):
        store.delete_empty(str(tree / name))
    assert not (tree / "empty").exists()
    assert (tree / "x/c.txt").exists()


def test_a_uri_is_another_way_to_a_local_file(tree):
    assert store.read(f"file://{tree}/a.txt") == b"a.txt"
    files = store.files(f"file://{tree}/x", recursive=True)
    assert [file.path for file in files] == [f"file://{tree}/x/c.txt", f"file://{tree}/x/y/d.txt"]


# Spellings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("~", "{home}"),
        ("~/day 1/*.parquet", "{home}/day 1/*.parquet"),
        ("file:/a/b", "/a/b"),
        ("file:///a%20b/%C3%A9", "/a b/é"),
        ("FILE://localhost/a//b/", "/a/b"),
        ("file:///a/part-?.parquet", "/a/part-?.parquet"),
        ("s3a://b/in/", "s3://b/in"),
        ("s3n://b/in", "s3://b/in"),
        ("S3://B/In", "s3://B/In"),
        ("GS://b/x", "gs://b/x"),
        ("s3a://me:secret@b/in?region=x", "s3://b/in"),
        (
            "abfss://box@account.dfs.core.windows.net/in",
            "abfss://box@account.dfs.core.windows.net/in",
        ),
        ("abfs://account:secret@box.host/in", "abfs://box.host/in"),
        ("./~", "{home}/../~"),
        ("//a//b", "/a/b"),
        ("day:1/a", "{home}/../day:1/a"),
        ("/data/x://y", "/data/x:/y"),
    ],
)
def test_an_address_has_one_spelling(home, address, place):
    expected = place.format(home=home)
    plain = store.plain(address)
    assert plain == (posixpath.abspath(expected) if expected.startswith("/") else expected)
    assert store.plain(plain) == plain


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("~nobody-of-this-name/out", ["~nobody-of-this-name", "./~nobody"]),
        ("dbfs:/a/b", ["/dbfs/a/b"]),
        ("dbfs:///a", ["/dbfs/a"]),
        ("dbfs:a", ["/dbfs/a", "./dbfs:a"]),
        ("s3:bucket/a", ["s3://bucket/a", "./s3:bucket/a"]),
        ("S3A:b/a", ["s3://b/a", "./S3A:b/a"]),
        ("file:a", ["file:/a", "./file:a"]),
        ("file:", ["./file:"]),
        ("C:\\data\\a", ["./C:\\data\\a"]),
        ("s3://", ["no bucket", "s3://BUCKET/PATH"]),
        ("gs:///a", ["no bucket", "gs://BUCKET/PATH"]),
        ("s3://KEY:SECRET/a?region=eu", ["no bucket", "s3://BUCKET/PATH"]),
        ("hdfs:/a/b", ["hdfs://HOST:PORT/a/b"]),
        ("s3:/b/c", ["s3://b/c"]),
        ("D:/rows/a", ["no store is called D", "./D:/rows/a"]),
        ("file://elsewhere/a", ["file:///PATH"]),
    ],
)
def test_an_address_that_cannot_be_meant_is_told_how_to_spell(run, home, address, words):
    with pytest.raises(UsageError) as refused:
        store.plain(address)
    for word in words:
        assert word in str(refused.value)
    ran = run("fit", "--input=in", f"--output={address}", "--k=2")
    assert ran.code == 2
    assert not list(home.parent.iterdir())


def test_no_home_at_all(home, monkeypatch):
    monkeypatch.setenv("HOME", "")
    with pytest.raises(UsageError, match="no home folder ~: write the whole path"):
        store.plain("~/out")


@pytest.mark.parametrize(
    ("why", "advice"),
    [("Unknown error: no token", "check the address"), ("Unable to load libhdfs", "install Java")],
)
def test_a_store_that_arrow_cannot_reach_is_told_why(run, tmp_path, monkeypatch, why, advice):
    class Unreachable:
        def get_file_info(self, what):
            raise pa.ArrowException(f"{why}\nSee a log")

    monkeypatch.setattr("pipeline.data.store._remote", lambda uri, plain: (Unreachable(), "c"))
    ran = run("fit", "--input=abfss://c@account/in", f"--output={tmp_path / 'out'}", "--k=2")
    assert ran.code == 2
    assert f"abfss://c@account/in cannot be reached: {why}: {advice}" in ran.stderr


def test_a_folder_that_knows_no_locks_is_held_by_a_file_that_is_renewed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    path = str(tmp_path / "_work" / "held")
    with store.held(path, "the first") as is_held:
        with pytest.raises(HeldError, match=r"^the first; if it was killed"):
            store.held(path, "the second").__enter__()
        assert is_held()
        (mine,) = (tmp_path / "_work").iterdir()
        mine.unlink()
        assert not is_held()
    assert not [*(tmp_path / "_work").iterdir()]


class Silent:
    """A store's client that waits until it is let go."""

    def __init__(self):
        self.let_go, self.asked = threading.Event(), 0

    def get_file_info(self, what):
        self.asked += 1
        self.let_go.wait()
        return fs.FileInfo(what, fs.FileType.File, size=3)


def test_a_store_that_gives_no_answer_is_given_up(monkeypatch):
    client = Silent()
    monkeypatch.setattr("pipeline.data.store._remote", lambda uri, plain: (client, "b/x"))
    monkeypatch.setattr("pipeline.data.store._PATIENCE", 0.02)
    with pytest.raises(SetupError, match="gs://b/x cannot be reached: no answer in 0 s: check the"):
        store.version("gs://b/x")
    client.let_go.set()
    assert store.version("gs://b/x").size == 3
    client.let_go.clear()
    threading.Timer(0.2, client.let_go.set).start()
    assert store.version("gs://b/x").size == 3, "of one that has answered once patience has no end"
    assert client.asked == 3


def test_a_store_that_refuses_says_why(monkeypatch):
    class Refusing:
        def get_file_info(self, what):
            raise OSError("Access denied\nSee a log")

    uris = []
    monkeypatch.setattr(
        "pipeline.data.store._remote", lambda uri, plain: (Refusing(), "b/x", uris.append(uri))[:2]
    )
    for uri in ("gs://me@b/x?project_id=p", "gs://b/x", "gs://b/x?retry_limit_seconds=7"):
        with pytest.raises(SetupError, match="gs://b/x cannot be reached: Access denied: check"):
            Store.reaching([uri]).version("gs://b/x")
    asked = ["me@b?project_id=p&retry_limit_seconds=10", "b?retry_limit_seconds=10"]
    assert uris[1::2] == [f"gs://{uri}" for uri in (*asked, "b?retry_limit_seconds=7")]


class Flat:
    """A store's client that tells of files and no folders in its listings, as Google's does."""

    type_name = "gcs"

    def get_file_info(self, what):
        infos = fs.LocalFileSystem().get_file_info(what)
        if isinstance(what, fs.FileSelector):
            if not what.allow_not_found and not infos:
                raise OSError(f"No such file or directory '{what.base_dir}'")
            return [info for info in infos if info.type == fs.FileType.File]
        return infos

    def __getattr__(self, name):
        return getattr(fs.LocalFileSystem(), name)


def test_folders_that_a_store_does_not_tell_of_are_found_by_their_files(tree, monkeypatch):
    client = Flat()
    monkeypatch.setattr("pipeline.data.store._remote", lambda uri, plain: (client, str(tree)))
    assert store.version("gs://b/nothing") is None
    assert store.folders("gs://b") == ["x"]
    assert names(store.files("gs://b"), "gs://b") == [".hidden", "[1].txt", "a.txt", "b.txt"]
    assert names(store.files("gs://b/x", recursive=True), "gs://b") == ["x/c.txt", "x/y/d.txt"]
    assert store.match("gs://b/*/*").found.folders == ["x/y"]
    with pytest.raises(FileNotFoundError):
        store.listing("gs://b/nothing")
    (tree / "x/c.txt").unlink()
    store.delete_empty("gs://b/x")
    assert store.folders("gs://b/x") == ["y"], "of which something is left"


def test_a_process_ends_although_a_store_is_silent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        place = f"127.0.0.1:{server.getsockname()[1]}"
        uri = f"s3://me:secret@kept/in?region=x&scheme=http&endpoint_override={place}"
        code = f"""
from pipeline.data import store
from pipeline.__main__ import _leave, main

store._PATIENCE = 0.5
_leave(main(["fit", "--input={uri}", "--output={tmp_path / "out"}", "--k=2"]))
"""
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 5, done.stderr
    assert "s3://kept/in cannot be reached: no answer in 0 s" in done.stderr


# Paths compared


def test_links_are_followed_where_paths_are_compared(tree):
    (tree / "link").symlink_to(tree / "x")
    assert store.place(f"{tree}/link/c.txt") == store.place(f"{tree}/x/c.txt")
    assert store.place(f"{tree}/link") == store.place(f"file://{tree}/x/")
    assert store.inside(f"{tree}/link/y/new", f"{tree}/x")
    assert store.inside(f"{tree}/x/y", f"{tree}/link")
    assert not store.inside(f"{tree}/link", f"{tree}/link/y")


def test_a_folder_whose_name_begins_as_anothers_is_not_inside_it(tree):
    assert store.inside(f"{tree}/x", f"{tree}/x")
    assert not store.inside(f"{tree}/xy", f"{tree}/x")
    assert store.inside(str(tree), "/")


# Buckets


@pytest.fixture
def bucket():
    """A server that has every file of S3, each of 3 bytes: its address, and who asked for what."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:07 GMT")
            self.end_headers()

        def do_PUT(self):
            asked.append((self.path, self.headers["Authorization"]))
            while size := int(self.rfile.readline(), 16):  # of a chunk
                self.rfile.read(size + 2)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_what_a_uri_says_of_a_bucket_reaches_pyarrow_and_no_name_of_a_file(bucket):
    address, asked = bucket
    options = f"?region=eu-west-3&scheme=http&endpoint_override={address}"
    uri = f"s3://me:secret@kept/in/a.parquet{options}"
    known = Store.reaching([uri])
    path = known.plain(uri)
    assert path == "s3://kept/in/a.parquet"
    travelled = pickle.loads(pickle.dumps(known))
    file = travelled.version(path)
    assert (file.path, file.size) == (path, 3)
    assert travelled.place("s3://kept/in/b.parquet") == ("s3://kept", "kept/in/b.parquet")
    paths = {path for path, _ in asked}
    assert paths == {"/kept/in/a.parquet"}
    assert all("Credential=me/" in signed and "/eu-west-3/s3/" in signed for _, signed in asked)


def test_a_small_file_is_one_request(bucket):
    address, asked = bucket
    uri = f"s3://me:secret@kept/out/_work/x/workers/host-7?scheme=http&endpoint_override={address}"
    known = Store.reaching([uri])
    known.write(known.plain(uri), b"a heartbeat")
    assert [path.partition("?")[0] for path, _ in asked] == ["/kept/out/_work/x/workers/host-7"]
    assert known.version(known.plain(uri)).modified == 7 * 10**9


def test_two_paths_that_say_different_things_of_a_bucket():
    one, other = "s3://kept/a?region=eu-west-3", "s3://kept/b?region=eu-west-1"
    with pytest.raises(UsageError, match=r"^s3://kept: two paths give different users or options"):
        Store.reaching([one, other])
    both = Store.reaching([one, other.replace("west-1", "west-3"), "s3://other/c"])
    assert both == Store((("s3://kept", "s3://kept?region=eu-west-3"),))


def test_a_store_is_a_value():
    one, same = (Store.reaching(["s3://kept/a?region=eu-west-3"]) for _ in range(2))
    assert (one, hash(one)) == (same, hash(same))
    assert one != Store.reaching(["s3://kept/a?region=eu-west-1"])
    assert Store.reaching(["/a", "s3://kept/a", "file:///b"]) == Store()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.roots = ()
