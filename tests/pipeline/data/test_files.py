"""Which files a name stands for, and what their footers are kept as."""

import tracemalloc

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pipeline.data.blocks import plan_blocks
from pipeline.data.files import Footer, Footers, find_files
from pipeline.data.store import FileVersion, Store
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


def test_of_its_place_below_the_input_a_file_keeps_the_folders(tree):
    files = [*find_files(Store(), f"{tree}/in"), *find_files(Store(), f"{tree}/in/*/*.parquet")]
    assert [file.below for file in files] == ["", "", "", "x/", "x/y/", "z/", "x/", "z/"]


def test_a_folder_is_kept_once_for_all_its_files(tree):
    (tree / "in" / "x" / "f.parquet").touch()
    one, other = find_files(Store(), f"{tree}/in/*/*.parquet")[:2]
    assert one.below == "x/"
    assert one.below is other.below


def footer(i: int, rows: list[int], name: str = "x") -> Footer:
    schema = pa.schema({name: pa.float64()})
    return Footer(FileVersion(f"/in/part-{i:08d}.parquet", i, i), schema, tuple(rows))


@hypothesis.given(st.lists(st.lists(st.integers(0, 2**40), max_size=5), max_size=8))
def test_footers_are_a_list_of_them(groups):
    listed = [footer(i, rows, "xy"[i % 2]) for i, rows in enumerate(groups)]
    footers = Footers(iter(listed))
    assert list(footers) == listed
    assert footers[1:-1] == listed[1:-1]
    assert [footers[i - len(listed)] for i in range(len(listed))] == listed
    assert len(footers.schemas) == min(len(listed), 2)
    with pytest.raises(IndexError):
        footers[len(listed)]


@pytest.mark.parametrize(("files", "groups"), [(20, 1000), (20_000, 1)])
def test_a_row_group_takes_little_memory(files, groups):
    tracemalloc.start()
    footers = Footers(footer(i + 1000, [1000 + i] * groups) for i in range(files))
    kept = tracemalloc.get_traced_memory()[0]
    blocks = plan_blocks(footers, 1 << 16)
    planned = tracemalloc.get_traced_memory()[0] - kept
    tracemalloc.stop()
    assert len(blocks) > 1
    assert kept < 100 * files + 10 * files * groups
    assert planned < 40 * files * groups
