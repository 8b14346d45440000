"""Digests of rows: equal where the rows are, whatever their order, cut and layout."""

import random
from datetime import date
from decimal import Decimal

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pipeline.data.digests import digest_of, hash_values, joined, row_hashes

COLUMNS = {
    "int64": pa.array([3, None, -1, 0, 2**40, 3]),
    "uint8": pa.array([3, None, 255, 0, 4, 3], pa.uint8()),
    "double": pa.array([0.5, None, -0.0, 0.0, 1e300, 0.5]),
    "half": pa.array(np.array([0.5, 1, 2, 0, 4, 0.5], np.float16)),
    "bool": pa.array([True, None, False, True, False, True]),
    "date": pa.array([date(2024, 2, 29), None, date(1, 1, 1), date(1970, 1, 1), None, None]),
    "decimal": pa.array([Decimal("1.5"), None, Decimal("-2.25"), Decimal(0), None, Decimal("1.5")]),
    "text": pa.array(["ab", None, "", "abc", "\u65e5\u672c", "ab"]),
    "binary": pa.array([b"ab", None, b"", b"\0", b"\0\0", b"ab"]),
    "fixed": pa.array([b"abc", None, b"abd", b"\0\0\0", b"abe", b"abc"], pa.binary(3)),
    "list": pa.array([[1, 2], None, [], [1], [2, 1], [1, 2]]),
    "lists": pa.array([[[1], [2]], None, [], [[1, 2]], [[]], [[1], [2]]]),
    "struct": pa.array(
        [{"a": 1, "b": "x"}, None, {"a": None, "b": ""}, {"a": 2}, {}, {"a": 1, "b": "x"}]
    ),
    "map": pa.array(
        [[("a", 1)], None, [], [("b", 1)], [("a", 2)], [("a", 1)]], pa.map_("string", "int64")
    ),
    "null": pa.nulls(6),
    "long": pa.array(["x" * 100_000, None, "x" * 99_999 + "y", "y", "x" * 100_001, "x" * 100_000]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_equal_values_have_equal_hashes_and_others_others(name):
    column = COLUMNS[name]
    values = [repr(value) for value in column.to_pylist()]
    if name == "struct":
        values = [repr(v and (v.get("a"), v.get("b"))) for v in column.to_pylist()]
    hashes = hash_values(column).tolist()
    assert len({*zip(values, hashes, strict=True)}) == len({*values}) == len({*hashes})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_hash_is_of_the_value_alone(name):
    column = COLUMNS[name]
    hashes = hash_values(column)
    for start, stop in ((1, 6), (2, 3), (5, 6), (0, 0)):
        assert hash_values(column[start:stop]).tolist() == hashes[start:stop].tolist()
    chunks = pa.chunked_array([column[:2], column[2:2], column[2:]])
    assert hash_values(chunks).tolist() == hashes.tolist()
    if name != "null":
        holed = pa.concat_arrays([column, column])[3:9]
        assert hash_values(holed).tolist() == np.tile(hashes, 2)[3:9].tolist()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("text", [pa.large_string(), pa.string_view(), pa.large_binary()]),
        ("binary", [pa.large_binary(), pa.binary_view()]),
        ("list", [pa.large_list(pa.int64())]),
    ],
)
def test_layouts_do_not_show(name, others):
    hashes = hash_values(COLUMNS[name]).tolist()
    for other in others:
        assert hash_values(COLUMNS[name].cast(other)).tolist() == hashes
    if name == "text":
        assert hash_values(COLUMNS[name].dictionary_encode()).tolist() == hashes


rows = st.lists(st.tuples(st.text(max_size=3), st.integers(-2, 2)), max_size=12)


def digest(some) -> int:
    texts, numbers = (
        pa.array([t for t, _ in some], "string"),
        pa.array([n for _, n in some], "int32"),
    )
    return digest_of(row_hashes([hash_values(texts), hash_values(numbers)]))


@hypothesis.given(rows, rows, st.integers(0, 12), st.randoms(use_true_random=False))
def test_digests_are_equal_where_the_rows_are_in_any_order_and_cut(one, other, cut, rng):
    shuffled = random.Random(rng.random()).sample(one, len(one))
    assert digest(one) == joined(digest(shuffled[:cut]), digest(shuffled[cut:]))
    assert (digest(one) == digest(other)) == (sorted(one) == sorted(other))


def test_which_column_a_value_is_in_counts():
    a, b = hash_values(pa.array([1, 2])), hash_values(pa.array([2, 1]))
    assert digest_of(row_hashes([a, b])) == digest_of(row_hashes([b, a])), "the same two rows"
    assert digest_of(row_hashes([a[:1], b[:1]])) != digest_of(row_hashes([b[:1], a[:1]]))
