"""Which files a name stands for."""

import pytest

from pipeline.data.files import find_files
from pipeline.data.store import Store
from pipeline.errors import DataError, UsageError


def test_find_files_keeps_the_order_given_and_takes_each_once(tmp_path):
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        (tmp_path / name).touch()
    spec = f"{tmp_path}/c.parquet,{tmp_path}/*.parquet,{tmp_path}"
    paths = [file.path for file in find_files(Store(), spec)]
    assert paths == [f"{tmp_path}/{name}.parquet" for name in "cab"]


ALL = ["a.parquet", "b.parquet", "b2.parquet", "x/c.parquet", "x/y/d.parquet", "z/e.parquet"]


@pytest.fixture
def tree(tmp_path):
    """A folder `in` of files, two folders deep."""
    for name in ALL:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names_of(files):
    return [file.path.rpartition("in/")[2] for file in files]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("in", ALL),
        ("in/", ALL),
        ("in/x", ["x/c.parquet", "x/y/d.parquet"]),
        ("in/*.parquet", ["a.parquet", "b.parquet", "b2.parquet"]),
        ("in/b*", ["b.parquet", "b2.parquet"]),
        ("in/b?.parquet", ["b2.parquet"]),
        ("in/[ac].parquet", ["a.parquet"]),
        ("in/*/*.parquet", ["x/c.parquet", "z/e.parquet"]),
        ("in/**/*.parquet", ALL),
        ("in/x/**/*.parquet", ["x/c.parquet", "x/y/d.parquet"]),
        ("in/**/d.parquet", ["x/y/d.parquet"]),
        ("in/z/e.parquet,in/a.parquet", ["z/e.parquet", "a.parquet"]),
        ("in/z , in/b*", ["z/e.parquet", "b.parquet", "b2.parquet"]),
        ("in/a.parquet,in/*.parquet", ["a.parquet", "b.parquet", "b2.parquet"]),
    ],
)
def test_files_folders_and_globs(tree, monkeypatch, spec, expected):
    monkeypatch.chdir(tree)
    assert names_of(find_files(Store(), spec)) == expected


def test_a_folder_stands_for_no_hidden_names_and_no_other_files(tree):
    for name in ["_a.parquet", ".a.parquet", "_tmp/f.parquet", "x/.crc/f.parquet", "notes.txt"]:
        path = tree / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no Parquet")
    assert names_of(find_files(Store(), f"{tree}/in")) == ALL


def test_find_files_says_what_matches_nothing(tmp_path):
    with pytest.raises(DataError, match=r"\*\.csv: no file matches"):
        find_files(Store(), f"{tmp_path}/*.csv")
    with pytest.raises(UsageError, match="names no file"):
        find_files(Store(), ",")
