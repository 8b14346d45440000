"""Names and folders, taken apart without a file."""

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.data.names import split_list
from pipeline.data.partitions import partition_values


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a b , c ", ["a b", "c"]),
        ("a\\,b,c", ["a,b", "c"]),
        ("größe,日本", ["größe", "日本"]),
        ("\\,", [","]),
    ],
)
def test_split_list(spec, expected):
    assert split_list(spec) == expected


@hypothesis.given(st.lists(st.text(st.characters(exclude_characters="\\"), min_size=1)))
def test_split_list_undoes_escaping(names):
    hypothesis.assume(all(name == name.strip() for name in names))
    assert split_list(",".join(name.replace(",", "\\,") for name in names)) == names


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f.parquet", []),
        ("day=1/f.parquet", [("day", "1")]),
        ("/a/b=c/d=e=f/f=1.parquet", [("b", "c"), ("d", "e=f")]),
        ("p=New%20York%2FUS/f.parquet", [("p", "New York/US")]),
        ("p=__HIVE_DEFAULT_PARTITION__/f.parquet", [("p", None)]),
        ("p=/f.parquet", [("p", "")]),
        ("=p/f.parquet", []),
        ("a%2Fb%20c=1/f.parquet", [("a/b c", "1")]),
    ],
)
def test_partition_values(path, expected):
    assert partition_values(path) == expected
