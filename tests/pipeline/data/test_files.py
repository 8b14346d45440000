"""Which files a name stands for, and what their footers are kept as."""

import os
import tracemalloc

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from pipeline.data.blocks import plan_blocks
from pipeline.data.files import Footer, Footers, find_files
from pipeline.data.partitions import partition_values
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


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_glob_may_name_folders(tree):
    assert names_of(find_files(Store(), f"{tree}/in/[xz]")) == [
        "x/c.parquet",
        "x/y/d.parquet",
        "z/e.parquet",
    ]
    assert names_of(find_files(Store(), f"{tree}/in/*")) == ALL
    touch(tree, "in/_x/f.parquet", "in/.x/f.parquet")
    assert names_of(find_files(Store(), f"{tree}/in/**")) == ALL
    assert names_of(find_files(Store(), f"{tree}/in/_*")) == ["_x/f.parquet"]


@pytest.mark.parametrize("pattern", ["**/*.parquet", "*/*.parquet", "*"])
def test_a_folder_with_a_value_is_never_hidden(tmp_path, pattern):
    touch(tmp_path, "in/_hour=7/a.parquet", "in/_tmp/b.parquet", "in/.hour=7/c.parquet")
    assert names_of(find_files(Store(), f"{tmp_path}/in/{pattern}")) == ["_hour=7/a.parquet"]
    assert names_of(find_files(Store(), f"{tmp_path}/in")) == ["_hour=7/a.parquet"]


@pytest.mark.parametrize(
    ("spec", "below"),
    [
        ("t", "day=3/hour=4/"),
        ("t/day=3", "day=3/hour=4/"),
        ("t/day=3/hour=4", "day=3/hour=4/"),
        ("t/day=3/hour=4/a.parquet", "day=3/hour=4/"),
        ("t/day=3/*/*.parquet", "day=3/hour=4/"),
        ("t/day=*", "day=3/hour=4/"),
        ("t/day=3/h*", "day=3/hour=4/"),
        ("*", "t/day=3/hour=4/"),
    ],
)
def test_a_part_of_a_table_knows_its_values(tmp_path, spec, below):
    root = tmp_path / "run=5"
    touch(root, "t/day=3/hour=4/a.parquet")
    (file,) = find_files(Store(), f"{root}/{spec}")
    assert file.below.removeprefix("run=5/") == below
    assert file.below.startswith("run=5/") == (spec == "*"), "only values right above count"


def test_what_is_left_out_is_said_in_one_line(tree):
    touch(
        tree, "in/old.csv", "in/x/B.parquet_", "in/x/c.parquet.gz", "in/z/000000_0", "in/_SUCCESS"
    )
    said = []
    assert names_of(find_files(Store(), f"{tree}/in", said.append)) == ALL
    what = "left out for not ending in .parquet, .parq or .pq"
    assert said == [f"--input {tree}/in: {what}: old.csv, x/B.parquet_, x/c.parquet.gz and 1 more"]
    said.clear()
    find_files(Store(), f"{tree}/in/[xz]", said.append)
    assert said == [f"--input {tree}/in/[xz]: {what}: x/B.parquet_, x/c.parquet.gz, z/000000_0"]
    touch(tree, "only/a.dat")
    with pytest.raises(
        DataError, match=r"only: no file ending in .parquet, .*; left out .*: a\.dat$"
    ):
        find_files(Store(), f"{tree}/only")
    assert len(find_files(Store(), f"{tree}/in/old.csv,{tree}/only/*.dat")) == 2, (
        "as they are named"
    )


def test_parquet_without_an_ending_is_told_how_to_be_named(tmp_path):
    names = ("t[1],/day=1/000000_0", "t[1],/day=2/000000_0")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"x": [1.0]}), path)
    with pytest.raises(
        DataError, match=r"left out .*: day=1/000000_0, .*; to read them"
    ) as refused:
        find_files(Store(), f"{tmp_path}/t[1]\\,")
    files = find_files(Store(), str(refused.value).rpartition(" name ")[2])
    assert [file.path for file in files] == [str(tmp_path / name) for name in names]
    assert [partition_values(file.below) for file in files] == [[("day", "1")], [("day", "2")]]


def test_what_is_neither_a_file_nor_a_folder(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: this is neither a file nor a folder"):
        find_files(Store(), str(tmp_path / "a.parquet"))
    told = "left out for being neither files nor folders: a.parquet"
    with pytest.raises(DataError, match=f"in or below this folder; {told}$"):
        find_files(Store(), str(tmp_path))
    touch(tmp_path, "b.parquet", "b.csv")
    for spec, what in (
        (tmp_path, "for not ending in .parquet, .parq or .pq: b.csv and "),
        (f"{tmp_path}/*t", ""),
    ):
        said = []
        assert len(find_files(Store(), str(spec), said.append)) == 1
        assert said == [f"--input {spec}: left out {what}{told.removeprefix('left out ')}"]


def test_parquet_is_known_by_several_endings(tmp_path):
    names = ["a.parq", "b.PARQUET", "c.pq", "d.Parquet", "e.parquet"]
    touch(tmp_path / "in", *names, "f.parquet.gz", "parq", "pq")
    said = []
    assert names_of(find_files(Store(), f"{tmp_path}/in", said.append)) == names
    assert said[0].endswith("f.parquet.gz, parq, pq")


@pytest.mark.parametrize("name", ["shard.parquet", "day=2", "self.parquet"])
@pytest.mark.parametrize("spec", ["in", "in/*", "in/{}", "."])
def test_a_link_to_nothing_is_named(tmp_path, monkeypatch, name, spec):
    touch(tmp_path, "in/a.parquet")
    target = name if name == "self.parquet" else f"/nowhere/{name}"
    (tmp_path / "in" / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"in/{name} is a link to {target}, which is not there"):
        find_files(Store(), spec.format(name))
    (tmp_path / "in" / name).rename(tmp_path / "in" / "_hidden")
    assert names_of(find_files(Store(), "in")) == ["a.parquet"]


def test_links_are_followed_and_each_real_file_is_read_once(tree):
    (tree / "in" / "x" / "up").symlink_to(tree / "in")
    (tree / "in" / "z" / "same.parquet").symlink_to(tree / "in" / "a.parquet")
    (tree / "in" / "z" / "here").symlink_to(".")
    touch(tree, "elsewhere/f.parquet")
    (tree / "in" / "far").symlink_to(tree / "elsewhere")
    (tree / "in" / "hard.parquet").hardlink_to(tree / "elsewhere" / "f.parquet")
    found = names_of(find_files(Store(), f"{tree}/in,{tree}/in/x/up/x,{tree}/elsewhere"))
    assert found == sorted([*ALL, "far/f.parquet", "hard.parquet"])


def test_names_that_are_no_text(tree):
    name = os.fsdecode(b"caf\xe9")
    touch(tree / "in", f"{name}.csv", f"{name}/notes.txt")
    said = []
    assert names_of(find_files(Store(), f"{tree}/in", said.append)) == ALL
    assert said[0].endswith(r"caf\xe9.csv, caf\xe9/notes.txt")
    touch(tree / "in", f"{name}/f.parquet")
    for spec in ("in", "in/*", "in/c*/*", f"in/{name}", f"in/{name}/*"):
        with pytest.raises(DataError, match=r"in/caf\\xe9.*: the name is not UTF-8: rename it"):
            find_files(Store(), f"{tree}/{spec}")


def test_a_folder_that_may_not_be_read_is_named(tree, monkeypatch):
    scandir = os.scandir

    def scandir_as_someone_else(path):
        if str(path).endswith("/x"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_as_someone_else)
    with pytest.raises(DataError, match=r"--input .*/in: .*Permission denied: '.*/in/x'"):
        find_files(Store(), f"{tree}/in")


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
