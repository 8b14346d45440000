"""Columns of any name, and what is said of names."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.console import say
from pipeline.data.names import figure_names, figures_among, instead_of, listed, meant
from pipeline.errors import DataError, one_line
from tests.pipeline.answer import Answer

FLIGHTS = {"distance": [1.0, 2, 50, 51], "label": [3.0, 4, 9, 8], "rows": [1, 1, 7, 7]}


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """A table with the names that the outputs use, one as a key."""
    path = tmp_path_factory.mktemp("flights") / "a.parquet"
    pq.write_table(pa.table({**FLIGHTS, "weight": ["a", "b", "c", "d"]}), path)
    return path


def test_features_may_have_the_outputs_names(fit, flights, tmp_path):
    answer = fit(flights, tmp_path / "out", "--k=2", "--keys=weight")
    table = pq.read_table(tmp_path / "out" / "prototypes.parquet")
    figures = ["cluster_label", "cluster_rows", "weight", "cost"]
    assert table.column_names == [*figures, "distance", "label", "rows"]
    assert sorted(table["label"].to_pylist()) == [3.5, 8.5]
    assert table["cluster_rows"].to_pylist() == [2, 2]
    assert answer.table.column_names == ["weight", "label", "distance"]
    assert answer.labels[0] == answer.labels[1] != answer.labels[2]
    again = fit(flights, tmp_path / "again", f"--init={tmp_path / 'out'}", "--keys=weight")
    assert again.labels.tolist() == answer.labels.tolist()


def test_a_key_of_the_outputs_names(fit, flights, tmp_path):
    options = ["--features=rows", "--label_column=cluster", "--distance_column=off"]
    answer = fit(flights, tmp_path / "out", *options, "--k=2", "--keys=label,distance")
    table = pq.read_table(tmp_path / "out" / "labels")
    assert table.column_names == ["label", "distance", "cluster", "off"]
    assert table["label"].to_pylist() == FLIGHTS["label"]
    assert table["off"].to_pylist() == [0.0] * 4
    assert answer.run.configuration["label_column"] == "cluster"


def test_names_with_blanks(fit, run, tmp_path):
    table = {" a": [1.0, 9.0, 1.5], "a": [5.0, 5.0, 5.0], "b ": [1.0, 2.0, 3.0]}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    for asked, taken in ((" a", [" a"]), ("a", ["a"]), ("b , a", ["b ", " a"]), ("  a", ["a"])):
        out = tmp_path / f"out {asked}"
        fit(tmp_path / "in.parquet", out, "--k=1", f"--features={asked}")
        assert Answer(out).run.schema.features == taken
    ran = run("fit", f"--input={tmp_path / 'in.parquet'}", f"--output={tmp_path / 'o'}", "--keys=b")
    assert ran.code == 3
    assert "no column 'b'; it has ' a', 'a', 'b '" in ran.stderr


def test_the_one_column_of_lists_is_taken(fit, tmp_path):
    table = {"id": ["a", "b", "c"], "v": [[1.0, 2.0], [1.5, 2.0], [9.0, 9.0]], "t": [["x"]] * 3}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    answer = fit(tmp_path / "in.parquet", tmp_path / "out", "--k=2", "--keys=id")
    assert answer.run.schema.features == ["v"]
    assert answer.labels[0] == answer.labels[1] != answer.labels[2]


def test_a_file_name_cannot_forge_a_line(run, tmp_path):
    name = "a\nkmeans-tf: done\x1b[2J\u2028.parquet"
    (tmp_path / name).write_bytes(b"no Parquet")
    ran = run("fit", f"--input={tmp_path}", f"--output={tmp_path.parent / 'o'}")
    assert ran.code == 3
    (line,) = ran.stderr.splitlines()
    assert "a\\nkmeans-tf: done\\x1b[2J\\u2028.parquet" in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain größe 日本", "plain größe 日本"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("bell\x07 \x9b \u202e", "bell\\x07 \\x9b \\u202e"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9" if os.fsdecode(b"\xe9") == "\udce9" else "café"),
    ],
)
def test_what_is_said_is_one_line(capsys, text, line):
    assert one_line(text) == one_line(line) == line
    assert str(DataError(text)) == line
    say(text)
    assert capsys.readouterr().err == line + "\n"


def test_names_are_taken_as_they_are_known():
    assert meant([" a", "b ", "c "], {" a", "b"}) == (" a", "b", "c")


def test_figures_stay_apart():
    names = figure_names(["rows", "cluster_rows", "x"])
    assert names == {
        "label": "label",
        "rows": "cluster_cluster_rows",
        "weight": "weight",
        "cost": "cost",
    }
    assert figures_among([*names.values(), "rows", "cluster_rows", "x"]) == {*names.values()}


def test_a_list_of_names_is_short():
    names = [f"n{i}" for i in range(3000)]
    assert listed(["a", " b"]) == "'a', ' b'"
    assert listed(names).endswith("'n7' and 2,992 more")
    assert "'n1234'" in instead_of("N1234 ", names)
    assert len(instead_of(np.str_("wholly different"), names)) < 200
