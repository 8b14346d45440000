"""The one door to files: complete files or none, and the files that a pattern matches."""

import pytest

from pipeline.data.store import FileVersion, Store
from pipeline.errors import DataError

store = Store()


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
    files = store.glob(before + pattern)
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
