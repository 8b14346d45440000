"""Rows with a null, NaN, infinite or wrong-length feature, under each policy."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.output.run_record import BadColumn, BadRows
from tests import reference
from tests.tables import blobs

pytestmark = pytest.mark.xdist_group("bad rows")  # for the fixtures of this module

NAN, INF = float("nan"), float("inf")


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """Three blobs in two files, a few of whose features are bad: points (n, d), NaN for null."""
    folder = tmp_path_factory.mktemp("spoiled")
    points, truth = blobs(300, 2, 3, seed=9)
    points = points.astype(np.float64)
    start = np.array([points[truth == label][100 - 1] for label in range(3)])
    points[3, 0], points[4, 0], points[5, 1], points[6, 1] = NAN, INF, -INF, NAN
    points[200] = NAN
    half = slice(0, 150), slice(150, 300)
    for i, rows in enumerate(half):
        x, y = points[rows].T
        is_null = (np.arange(150) == 6) & (i == 0)
        columns = {"x": pa.array(x), "y": pa.array(y, mask=is_null), "w": np.arange(150) + 1.0}
        write(folder / "in" / f"{i}.parquet", **columns)
    np.save(folder / "start.npy", start)
    return folder, points, start


@pytest.fixture(scope="module")
def imputed(fit, spoiled):
    """The answer with the means in the place of what is bad."""
    folder, _, _ = spoiled
    return fit(folder / "in", folder / "imputed", *args(folder, "impute"))


def args(folder, policy):
    features = ("--features=x,y", "--weight=w", f"--init={folder / 'start.npy'}")
    return (*features, f"--on_bad_row={policy}", "--max_iterations=2")


def counted(folder):
    first, second = (str(folder / "in" / f"{i}.parquet") for i in range(2))
    return [
        BadRows(first, "x", "NaN", 1),
        BadRows(first, "x", "infinite", 1),
        BadRows(first, "y", "infinite", 1),
        BadRows(first, "y", "null", 1),
        BadRows(second, "x", "NaN", 1),
        BadRows(second, "y", "NaN", 1),
    ]


def test_fail_names_files_columns_and_reasons(run, spoiled):
    folder, _, _ = spoiled
    ran = run(
        "fit", f"--input={folder / 'in'}", f"--output={folder / 'out'}", *args(folder, "fail")
    )
    assert ran.code == 3
    assert "5 of 300 rows are bad" in ran.stderr
    assert f"{folder / 'in' / '0.parquet'}: column 'x': 1 NaN" in ran.stderr
    assert "column 'y': 1 null" in ran.stderr
    assert "column 'y': 1 infinite" in ran.stderr
    assert "--on_bad_row null or impute" in ran.stderr
    assert not (folder / "out").exists()


def test_null_keeps_the_row_and_gives_it_no_label(fit, spoiled):
    folder, points, start = spoiled
    answer = fit(folder / "in", folder / "out", *args(folder, "null"))
    good = ~reference.bad_rows(points)
    weights = np.tile(np.arange(150) + 1.0, 2)
    expected = reference.fit(points[good], start, weights=weights[good], max_iterations=2)
    np.testing.assert_allclose(answer.centres, expected.prototypes, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(answer.costs, expected.history, rtol=1e-6)
    assert len(answer.table) == 300
    np.testing.assert_array_equal(answer.labels[good], expected.labels)
    for column in ("label", "distance"):
        nulls = answer.table[column].is_null().to_numpy()
        np.testing.assert_array_equal(nulls, ~good)
    counts = answer.run.counts
    assert (counts.rows, counts.bad_rows) == (300, 5)
    assert counts.bad == counted(folder)
    assert counts.weight == weights[good].sum()
    assert sum(answer.prototypes["rows"].to_pylist()) == 295


def test_impute_takes_the_weighted_mean_of_the_column(imputed, spoiled):
    folder, points, start = spoiled
    answer = imputed
    weights = np.tile(np.arange(150) + 1.0, 2)
    filled = reference.impute(points, weights)
    expected = reference.fit(filled, start, weights=weights, max_iterations=2)
    np.testing.assert_allclose(answer.centres, expected.prototypes, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(answer.costs, expected.history, rtol=1e-6)
    np.testing.assert_array_equal(answer.labels, expected.labels)
    counts = answer.run.counts
    assert (counts.bad_rows, counts.bad) == (5, counted(folder))
    assert counts.weight == weights.sum()
    model = tf.saved_model.load(str(answer.folder / "model"))
    np.testing.assert_array_equal(model.label(points)["label"], expected.labels)


def test_label_with_another_policy_than_it_was_trained_with(fit, run, spoiled, imputed):
    folder, points, _ = spoiled
    model = f"--model={imputed.folder}"
    same = fit(folder / "in", folder / "same", model, command="label")
    assert same.table.equals(imputed.table)
    null = fit(folder / "in", folder / "null", model, "--on_bad_row=null", command="label")
    good = ~reference.bad_rows(points)
    np.testing.assert_array_equal(null.labels, np.where(good, imputed.labels, -1))
    assert null.run.counts.bad == counted(folder)
    ran = run(
        *("label", f"--input={folder / 'in'}", f"--output={folder / 'fail'}", model),
        "--on_bad_row=fail",
    )
    assert ran.code == 3
    assert "5 of 300 rows are bad" in ran.stderr
    assert not (folder / "fail").exists()


def test_list_columns_tell_null_wrong_length_and_what_is_inside(fit, tmp_path):
    rows = [[0.0, 0.0], None, [1.0], [1.0, None], [NAN, 1.0], [1.0, INF], [], [5.0, 5.0]]
    write(tmp_path / "in" / "f.parquet", v=pa.array(rows, pa.list_(pa.float64())))
    options = ("--features=v", "--k=2", "--max_iterations=0")
    answer = fit(tmp_path / "in", tmp_path / "out", *options, "--on_bad_row=null")
    assert answer.table["label"].is_null().to_pylist() == [False, *[True] * 6, False]
    bad = {(b.column, b.reason): b.rows for b in answer.run.counts.bad}
    assert bad == {
        ("v", "null"): 2,
        ("v", "wrong length (0, not 2)"): 1,
        ("v", "wrong length (1, not 2)"): 1,
        ("v", "NaN"): 1,
        ("v", "infinite"): 1,
    }
    imputed = fit(tmp_path / "in", tmp_path / "imputed", *options, "--on_bad_row=impute")
    assert imputed.table["label"].null_count == 0


def test_a_row_of_zeros_is_bad_under_cosine_and_cannot_be_imputed(fit, run, tmp_path):
    points = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [3.0, 0.1]])
    write(tmp_path / "in" / "f.parquet", x=points[:, 0], y=points[:, 1])
    options = ("--metric=cosine", "--k=2", "--max_iterations=1")
    ran = run("fit", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", *options)
    assert ran.code == 3
    assert "column 'x, y': 1 zero row" in ran.stderr
    for policy in ("null", "impute"):
        answer = fit(tmp_path / "in", tmp_path / policy, *options, f"--on_bad_row={policy}")
        assert answer.table["label"].is_null().to_pylist() == [False, True, False, False]
        assert answer.labels[0] == answer.labels[3] != answer.labels[2]


def test_a_tiny_row_is_no_zero_row_under_cosine(fit, run, tmp_path):
    """Its squares vanish in float64, its direction does not."""
    points = np.array([[1.0, 0.0], [0.0, 1.0], [1e-170, 1e-168]])
    write(tmp_path / "in" / "f.parquet", x=points[:, 0], y=points[:, 1])
    options = ("--metric=cosine", "--k=2", "--max_iterations=1")
    answer = fit(tmp_path / "in", tmp_path / "out", *options)
    assert answer.labels[2] == answer.labels[1] != answer.labels[0]
    write(tmp_path / "in" / "f.parquet", x=points[:, 0], y=[0.0, 1.0, NAN])
    ran = run("fit", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'no'}", *options)
    assert ran.code == 3
    assert "1 of 3 rows are bad: " in ran.stderr and "column 'y': 1 NaN: fix them" in ran.stderr


def test_a_file_of_nothing_but_bad_rows_among_good_ones(fit, tmp_path, many_blocks):
    write(tmp_path / "in" / "a.parquet", x=np.arange(200.0))
    write(tmp_path / "in" / "b.parquet", x=np.full(200, NAN))
    write(tmp_path / "in" / "c.parquet", x=pa.nulls(200, pa.float64()))
    options = ("--k=2", "--max_iterations=1", "--on_bad_row=null")
    answer = fit(tmp_path / "in", tmp_path / "out", *options)
    assert answer.run.counts.blocks == 3
    assert answer.run.counts.bad_rows == 400
    assert answer.table["label"].null_count == 400
    assert sum(answer.prototypes["rows"].to_pylist()) == 200


def test_many_bad_places_are_told_by_column_and_all_of_them_in_a_file(fit, tmp_path):
    """Of each column one value more is bad from file to file, so that the last are the worst."""
    files, columns = 12, 10
    rng = np.random.default_rng(2)
    expected = {}
    for i in range(files):
        values = rng.normal(size=(60, columns))
        for j in range(columns):
            values[: i + 1, j] = NAN if j % 2 else INF
        write(
            tmp_path / "in" / f"{i:02d}.parquet", **{f"c{j}": values[:, j] for j in range(columns)}
        )
    answer = fit(
        tmp_path / "in", tmp_path / "out", "--k=2", "--on_bad_row=null", "--max_iterations=1"
    )
    paths = [str(tmp_path / "in" / f"{i:02d}.parquet") for i in range(files)]
    counts = answer.run.counts
    reasons = {f"c{j}": "NaN" if j % 2 else "infinite" for j in range(columns)}
    total = files * (files + 1) // 2
    assert counts.bad_columns == [BadColumn(c, reasons[c], total, files) for c in sorted(reasons)]
    assert counts.bad == [
        BadRows(paths[i], c, reasons[c], i + 1) for i in (9, 10, 11) for c in sorted(reasons)
    ]
    table = pq.read_table(answer.folder / "bad_rows.parquet")
    assert table.column_names == ["file", "column", "reason", "rows"]
    expected = {(paths[i], c, reasons[c]): i + 1 for i in range(files) for c in reasons}
    places = zip(*(table[name].to_pylist() for name in ("file", "column", "reason")), strict=True)
    assert dict(zip(places, table["rows"].to_pylist(), strict=True)) == expected
    told = json.loads((answer.folder / "run.json").read_text())["counts"]
    assert len(told["bad"]) + len(told["bad_columns"]) == 4 * columns < files * columns


def test_good_rows_leave_no_file_of_bad_ones(fit, run, spoiled, tmp_path):
    folder, _, _ = spoiled
    bad = fit(folder / "in", tmp_path / "out", *args(folder, "null"))
    assert (bad.folder / "bad_rows.parquet").exists()
    write(tmp_path / "good" / "a.parquet", x=[0.0, 1.0, 5.0], y=[0.0, 1.0, 5.0])
    good = fit(tmp_path / "good", tmp_path / "out", "--k=2", "--overwrite")
    assert not (good.folder / "bad_rows.parquet").exists()
