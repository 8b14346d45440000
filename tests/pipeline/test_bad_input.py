"""What bad input gets: a line that names it, the documented exit code, and nothing left behind."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.store import Store
from pipeline.errors import DataError, UsageError
from tests.pipeline.answer import contents

NAN, INF = float("nan"), float("inf")
USAGE, DATA = 2, 3


def write(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def good(folder: Path, n: int = 20) -> Path:
    return write(folder / "in" / "a.parquet", x=np.arange(n, dtype=float), y=np.arange(n) % 3)


# Each function writes an input below a folder and returns the options that go with it.


def no_such_file(folder):
    return [f"--input={folder / 'nowhere.parquet'}"]


def no_such_glob(folder):
    good(folder)
    return [f"--input={folder / 'in' / '*.csv'}"]


def one_of_several_is_not_there(folder):
    return [f"--input={good(folder)},{folder / 'nowhere'}"]


def nothing_named(folder):
    return ["--input= , "]


def no_such_store(folder):
    return ["--input=floppy://a/b.parquet"]


def empty_folder(folder):
    (folder / "in").mkdir()


def folder_of_hidden_names(folder):
    good(folder).rename(folder / "in" / "_a.parquet")


def not_parquet(folder):
    good(folder)
    (folder / "in" / "b.parquet").write_text("x,y\n1,2\n" * 100)


def empty_file(folder):
    good(folder)
    (folder / "in" / "b.parquet").touch()


def truncated(folder):
    path = good(folder)
    path.write_bytes(path.read_bytes()[:-30])


def garbled_footer(folder):
    path = good(folder)
    data = bytearray(path.read_bytes())
    for i in range(20, 80):
        data[-i] ^= 0xFF
    path.write_bytes(data)


def garbled_page(folder):
    table = pa.table({"x": np.random.default_rng(0).standard_normal(500)})
    path = folder / "in" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:1000] = b"\0" * 996
    path.write_bytes(data)


def no_rows(folder):
    write(folder / "in" / "a.parquet", x=pa.array([], pa.float64()))
    write(folder / "in" / "b.parquet", x=pa.array([], pa.float64()))


def type_differs(folder):
    good(folder)
    write(folder / "in" / "b.parquet", x=["1", "2"], y=[1, 2])
    return ["--features=x,y"]


def key_type_differs(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], id=["a", "b"])
    write(folder / "in" / "b.parquet", x=[1.0, 2.0], id=[1, 2])
    return ["--keys=id"]


def column_missing_in_one(folder):
    good(folder)
    write(folder / "in" / "b.parquet", x=[1.0])


def keys_that_no_type_holds(folder):
    write(folder / "in" / "a.parquet", x=[1.0], id=[1])
    write(folder / "in" / "b.parquet", x=[1.0], id=[1.5])
    return ["--keys=id", "--features=x"]


def link_to_nothing(folder):
    good(folder)
    (folder / "in" / "b.parquet").symlink_to("/not/mounted/b.parquet")


def name_that_is_no_text(folder):
    path = good(folder)
    path.rename(path.with_name(os.fsdecode(b"gr\xf6\xdfe.parquet")))


def partition_of_another_type(folder):
    write(folder / "in" / "hour=x" / "a.parquet", x=[1.0])
    return ["--partition_types=hour:int64"]


def no_such_partition(folder):
    good(folder)
    return ["--partition_types=hour:int64"]


def column_more_in_one(folder):
    good(folder)
    write(folder / "in" / "b.parquet", x=[1.0], y=[1], z=[2.0])


def no_such_feature(folder):
    good(folder)
    return ["--features=x,height"]


def feature_named_twice(folder):
    good(folder)
    return ["--features=x,y,x"]


def feature_twice_in_the_file(folder):
    table = pa.table([[1.0, 2.0], [3.0, 4.0]], names=["x", "x"])
    (folder / "in").mkdir()
    pq.write_table(table, folder / "in" / "a.parquet")


def feature_is_text(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], name=["a", "b"])
    return ["--features=x,name"]


def list_beside_scalars(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], v=[[1.0], [2.0]])
    return ["--features=x,v"]


def list_of_text(folder):
    write(folder / "in" / "a.parquet", v=[["a"], ["b"]])
    return ["--features=v"]


def nothing_numeric(folder):
    write(folder / "in" / "a.parquet", name=["a", "b"])


def no_such_key(folder):
    good(folder)
    return ["--keys=id"]


def key_named_twice(folder):
    good(folder)
    return ["--features=x", "--keys=y,y"]


def key_that_the_labels_use(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], label=["a", "b"])
    return ["--keys=label"]


def key_that_names_the_distance(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], miles=["a", "b"])
    return ["--keys=miles", "--distance_column=miles"]


def label_that_names_the_place(folder):
    good(folder)
    return ["--label_column=row"]


def label_and_distance_of_one_name(folder):
    good(folder)
    return ["--label_column=l", "--distance_column=l"]


def two_columns_of_lists(folder):
    write(folder / "in" / "a.parquet", v=[[1.0], [2.0]], w=[[1.0], [2.0]])


def misspelt_among_many(folder):
    write(folder / "in" / "a.parquet", **{f"column_{i:04d}": [1.0, 2.0] for i in range(3000)})
    return ["--features=Column1234"]


def lists_of_different_length(folder):
    write(folder / "in" / "a.parquet", v=[[1.0, 2.0], [3.0], [4.0, 5.0]])
    return ["--features=v"]


def lists_all_empty(folder):
    write(folder / "in" / "a.parquet", v=pa.array([None, []], pa.list_(pa.float64())))
    return ["--features=v"]


def has_a_null(folder):
    write(folder / "in" / "a.parquet", x=[1.0, None])


def has_a_nan(folder):
    write(folder / "in" / "a.parquet", x=pa.array([1.0, NAN], from_pandas=False))


def has_an_infinity(folder):
    write(folder / "in" / "a.parquet", x=[1.0, -INF])


def all_bad_under_null(folder):
    write(folder / "in" / "a.parquet", x=pa.array([NAN, None, INF], from_pandas=False))
    return ["--on_bad_row=null"]


def gaps_that_impute_to_one_row(folder):
    write(folder / "in" / "a.parquet", x=[None, 1.0], y=[1.0, None])
    return ["--on_bad_row=impute"]


def too_few_distinct_rows(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0, 2.0, -0.0, 0.0] * 10)
    return ["--k=4"]


def weight_is_negative(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0, 3.0], w=[1.0, 0.0, -2.5])
    return ["--weight=w"]


def weight_is_nan(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], w=pa.array([1.0, NAN], from_pandas=False))
    return ["--weight=w"]


def weight_is_null(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], w=[None, 1])
    return ["--weight=w"]


def weight_is_infinite(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], w=[1.0, INF])
    return ["--weight=w"]


def weights_are_all_zero(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], w=[0, 0])
    return ["--weight=w"]


def weight_is_text(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], w=["a", "b"])
    return ["--weight=w"]


def no_such_weight(folder):
    good(folder)
    return ["--weight=w"]


def weight_among_features(folder):
    good(folder)
    return ["--features=x,y", "--weight=y"]


def start(folder, name, rows, *options):
    good(folder)
    np.save(folder / name, rows)
    return [f"--init={folder / name}", *options]


def start_of_another_width(folder):
    return start(folder, "s.npy", np.zeros((2, 3)))


def start_in_one_dimension(folder):
    return start(folder, "s.npy", np.zeros(3))


def start_of_a_larger_k(folder):
    return start(folder, "s.npy", np.arange(6.0).reshape(3, 2), "--k=2")


def start_that_is_not_finite(folder):
    return start(folder, "s.npy", np.array([[1.0, NAN]]))


def start_of_no_rows(folder):
    return start(folder, "s.npy", np.zeros((0, 2)))


def start_that_is_not_there(folder):
    good(folder)
    return ["--init=kmeans++"]


def start_that_is_something_else(folder):
    good(folder)
    (folder / "s.parquet").write_text("no Parquet")
    return [f"--init={folder / 's.parquet'}"]


def start_without_a_feature(folder):
    good(folder)
    write(folder / "s.parquet", x=[1.0, 2.0])
    return [f"--init={folder / 's.parquet'}"]


def start_with_a_label_twice(folder):
    good(folder)
    write(folder / "s.parquet", label=[1, 1], x=[1.0, 2.0], y=[1.0, 2.0])
    return [f"--init={folder / 's.parquet'}"]


def unknown_metric(folder):
    good(folder)
    return ["--metric=euclid", "--optimizer=adam", "--learning_rate=1"]


def metric_without_a_module(folder):
    good(folder)
    return ["--metric=no.such:thing", "--optimizer=adam", "--learning_rate=1"]


def metric_that_is_no_function(folder):
    good(folder)
    options = ["--optimizer=adam", "--learning_rate=1"]
    return ["--metric=tests.user_metrics:not_a_function", *options]


def metric_that_is_not_finite(folder):
    good(folder)
    options = ["--k=2", "--optimizer=adam", "--learning_rate=1", "--max_iterations=3"]
    return ["--metric=tests.user_metrics:undefined", *options]


def rate_too_large(folder):
    good(folder)
    options = ["--tolerance=0", "--max_iterations=5"]
    return ["--k=2", "--optimizer=sgd", "--learning_rate=1e200", *options]


def unknown_runner(folder):
    good(folder)
    return ["--runner=NoSuchRunner"]


def nothing_to_resume(folder):
    good(folder)
    return ["--resume=require"]


CASES = [
    (no_such_file, DATA, ["--input", "nowhere.parquet", "no file matches"]),
    (no_such_glob, DATA, ["--input", "*.csv", "no file matches"]),
    (one_of_several_is_not_there, DATA, ["nowhere", "no file matches"]),
    (nothing_named, USAGE, ["--input"]),
    (no_such_store, USAGE, ["floppy://a", "no such store", "copy it to s3://"]),
    (empty_folder, DATA, ["--input", "/in", "no file ending in .parquet"]),
    (folder_of_hidden_names, DATA, ["/in", "no file ending in .parquet"]),
    (not_parquet, DATA, ["b.parquet is a CSV file", "convert it to Parquet"]),
    (empty_file, DATA, ["b.parquet", "not a complete Parquet file", "write it again"]),
    (truncated, DATA, ["a.parquet", "not a complete Parquet file"]),
    (garbled_footer, DATA, ["a.parquet", "not a complete Parquet file"]),
    (garbled_page, DATA, ["a.parquet", "row group 0 cannot be read"]),
    (no_rows, DATA, ["/in", "no row in 2 file(s)"]),
    (type_differs, DATA, ["b.parquet", "'x' is string", "double in", "a.parquet"]),
    (key_type_differs, DATA, ["b.parquet", "'id' is int64", "string in", "a.parquet"]),
    (column_missing_in_one, DATA, ["a.parquet", "'y' is not in", "b.parquet", "--features"]),
    (keys_that_no_type_holds, DATA, ["b.parquet", "'id' is double", "int64 in", "--keys"]),
    (link_to_nothing, DATA, ["in/b.parquet", "/not/mounted/b.parquet", "not there"]),
    (name_that_is_no_text, DATA, ["in/gr\\xf6\\xdfe.parquet", "not UTF-8"]),
    (partition_of_another_type, DATA, ["hour=x", "'x'", "no int64", "--partition_types"]),
    (no_such_partition, USAGE, ["--partition_types hour:int64", "'hour'"]),
    (column_more_in_one, DATA, ["b.parquet", "'z'", "a.parquet", "--features"]),
    (no_such_feature, DATA, ["a.parquet", "no column 'height'", "it has 'x', 'y'"]),
    (feature_named_twice, USAGE, ["--features", "'x'", "more than once"]),
    (feature_twice_in_the_file, DATA, ["a.parquet", "'x'", "2 times"]),
    (feature_is_text, DATA, ["a.parquet", "'name' is string", "numeric"]),
    (list_beside_scalars, DATA, ["a.parquet", "'v' is list", "one list column"]),
    (list_of_text, DATA, ["a.parquet", "'v' is list", "string"]),
    (nothing_numeric, DATA, ["a.parquet", "no numeric column", "--features"]),
    (no_such_key, DATA, ["a.parquet", "no column 'id'"]),
    (key_named_twice, USAGE, ["--keys", "'y'", "more than once"]),
    (key_that_the_labels_use, USAGE, ["--keys label", "--label_column another"]),
    (key_that_names_the_distance, USAGE, ["--keys miles", "--distance_column another"]),
    (label_that_names_the_place, USAGE, ["--label_column row", "'file', 'row'"]),
    (label_and_distance_of_one_name, USAGE, ["--label_column", "--distance_column", "'l'"]),
    (two_columns_of_lists, DATA, ["a.parquet", "'v', 'w'", "--features"]),
    (misspelt_among_many, DATA, ["'Column1234'", "3,000 columns", "'column_1234'"]),
    (
        lists_of_different_length,
        DATA,
        ["1 of 3 rows", "a.parquet", "'v': 1 wrong length (1, not 2)"],
    ),
    (lists_all_empty, DATA, ["'v'", "null or empty"]),
    (has_a_null, DATA, ["1 of 2 rows", "a.parquet", "'x': 1 null", "--on_bad_row"]),
    (has_a_nan, DATA, ["1 of 2 rows", "a.parquet", "'x': 1 NaN", "--on_bad_row"]),
    (has_an_infinity, DATA, ["1 of 2 rows", "a.parquet", "'x': 1 infinite", "--on_bad_row"]),
    (all_bad_under_null, DATA, ["all 3 rows are bad", "'x': 1 null", "1 NaN", "1 infinite"]),
    (gaps_that_impute_to_one_row, DATA, ["--k 8", "only 1 distinct"]),
    (too_few_distinct_rows, DATA, ["--k 4", "only 3 distinct"]),
    (weight_is_negative, DATA, ["a.parquet", "row 2", "'w' holds -2.5"]),
    (weight_is_nan, DATA, ["a.parquet", "row 1", "'w' holds nan"]),
    (weight_is_null, DATA, ["a.parquet", "row 0", "'w' holds None"]),
    (weight_is_infinite, DATA, ["a.parquet", "row 1", "'w' holds inf"]),
    (weights_are_all_zero, DATA, ["'w'", "0 in every good row"]),
    (weight_is_text, DATA, ["a.parquet", "'w' is string", "weights"]),
    (no_such_weight, DATA, ["a.parquet", "no column 'w'"]),
    (weight_among_features, USAGE, ["--weight y", "--features"]),
    (start_of_another_width, USAGE, ["--init", "s.npy", "(2, 3)", "(k, 2)"]),
    (start_in_one_dimension, USAGE, ["--init", "s.npy", "(3,)", "(k, 2)"]),
    (start_of_a_larger_k, USAGE, ["--init", "3 prototypes", "--k 2"]),
    (start_that_is_not_finite, USAGE, ["--init", "s.npy", "finite"]),
    (start_of_no_rows, USAGE, ["--init", "s.npy", "at least one"]),
    (start_that_is_not_there, USAGE, ["--init kmeans++", "k-means++", "random"]),
    (start_that_is_something_else, USAGE, ["--init", "s.parquet", "not prototypes"]),
    (start_without_a_feature, USAGE, ["--init", "s.parquet", "y"]),
    (start_with_a_label_twice, USAGE, ["--init", "s.parquet", "same label"]),
    (unknown_metric, USAGE, ["--metric", "'euclid'", "sqeuclidean", "module:function"]),
    (metric_without_a_module, USAGE, ["--metric", "no.such:thing", "cannot be imported"]),
    (metric_that_is_no_function, USAGE, ["--metric", "not_a_function", "not a function"]),
    (metric_that_is_not_finite, USAGE, ["--metric", "tests.user_metrics:undefined", "not finite"]),
    (rate_too_large, USAGE, ["--learning_rate 1e+200", "smaller"]),
    (unknown_runner, USAGE, ["--runner NoSuchRunner", "FlinkRunner"]),
    (nothing_to_resume, USAGE, ["--resume require", "no checkpoint"]),
]


def name(value) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize(("make", "code", "words"), CASES, ids=name)
def test_bad_input_is_named_and_leaves_nothing(run, tmp_path, make, code, words):
    options = make(tmp_path) or []
    if not any(option.startswith("--input=") for option in options):
        options = [f"--input={tmp_path / 'in'}", *options]
    ran = run("fit", f"--output={tmp_path / 'out'}", *options)
    assert ran.code == code, ran.stderr
    message = ran.stderr.splitlines()[-1]
    assert message.startswith("kmeans-tf: error: ")
    assert len(message) < 1000
    assert "Traceback" not in ran.stderr
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


# Places to write to


@pytest.fixture(scope="module")
def model(fit, tmp_path_factory):
    """A finished output, and so a model."""
    folder = tmp_path_factory.mktemp("model")
    return fit(good(folder), folder / "out", "--k=2", "--max_iterations=0").folder


def fit_to(run, folder, output, *options):
    good(folder)
    return run("fit", f"--input={folder / 'in'}", f"--output={output}", "--k=2", *options)


def test_an_output_that_is_a_file(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    ran = fit_to(run, tmp_path, tmp_path / "out")
    assert ran.code == USAGE
    assert f"--output {tmp_path / 'out'} is a file" in ran.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_output_that_was_there_stays(run, tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "in" / "a.parquet", x=[1.0, NAN])
    ran = run("fit", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--k=1")
    assert ran.code == DATA, ran.stderr
    assert not list((tmp_path / "out").iterdir())


def test_an_output_that_holds_something_else(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for options in ((), ("--overwrite",)):
        ran = fit_to(run, tmp_path, tmp_path / "out", *options)
        assert ran.code == USAGE
        assert f"--output {tmp_path / 'out'} exists and is not an output" in ran.stderr
        assert "'notes.txt' is in it" in ran.stderr
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}


@pytest.mark.parametrize("place", ["/proc/kmeans", "below a file"])
def test_an_output_that_cannot_be_written(run, tmp_path, place):
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "out" if place == "below a file" else place
    ran = fit_to(run, tmp_path, output)
    assert ran.code == USAGE
    assert f"--output {output} cannot be written" in ran.stderr


def test_an_empty_folder_is_a_place_to_write_to(run, tmp_path):
    (tmp_path / "out" / "lost+found").mkdir(parents=True)
    (tmp_path / "out" / ".gitkeep").touch()
    assert fit_to(run, tmp_path, tmp_path / "out", "--max_iterations=0").code == 0


def test_a_finished_output_is_not_replaced_unless_asked(run, model, tmp_path):
    shutil.copytree(model, tmp_path / "out")
    before = contents(tmp_path / "out")
    ran = fit_to(run, tmp_path, tmp_path / "out", "--seed=7")
    assert ran.code == USAGE
    assert "holds a finished output: give --overwrite" in ran.stderr
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("fault", ["in the scan", "in the labels", "in the training"])
def test_a_failed_overwrite_leaves_the_finished_output_as_it_was(
    run, model, tmp_path, monkeypatch, fault
):
    path = good(tmp_path)
    shutil.copytree(model, tmp_path / "out")
    before = contents(tmp_path / "out")
    options = ["--max_iterations=3"]
    if fault == "in the scan":
        write(path, x=[1.0, NAN], y=[1, 2])
    elif fault == "in the training":
        options += ["--optimizer=sgd", "--learning_rate=1e200", "--tolerance=0"]
    else:

        def fail(*args):
            raise DataError("found too late")

        monkeypatch.setattr("pipeline.passes.label.count_bad", fail)
    ran = run("fit", f"--input={path}", f"--output={tmp_path / 'out'}", "--overwrite", *options)
    assert ran.code in (USAGE, DATA)
    assert contents(tmp_path / "out") == before


def test_more_prototypes_than_memory_holds_are_refused_before_anything_is_read(
    run, tmp_path, monkeypatch
):
    """8 copies of k x d numbers and 2 for each thread, of 2 GB."""
    monkeypatch.setattr("pipeline.driver.checks.memory_limit", lambda: 2 << 30)
    write(tmp_path / "in" / "a.parquet", v=[[0.0] * 1000, [1.0] * 1000])
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--threads=4")
    ran = run("fit", *places, "--k=20000")
    assert ran == (
        USAGE,
        "kmeans-tf: error: --k: 20,000 prototypes of 1,000 features, with their sums by 4 "
        "threads, take about 2.4 GB in the driver and in each worker process, and there are 2.0 "
        "GB: lower --k or --threads, or name fewer --features\n",
    )
    assert not (tmp_path / "out").exists()
    assert run("fit", *places, "--k=16000").code == DATA, "fewer rows than that"


def test_more_features_than_memory_holds_are_refused_before_anything_is_read(
    run, tmp_path, monkeypatch
):
    """6 copies of 1,024 rows of d numbers and 4 for each thread, but for 16 MB of each, of 1 GB."""
    monkeypatch.setattr("pipeline.driver.checks.memory_limit", lambda: 1 << 30)
    rows = pa.array(np.arange(1500 * 8000, dtype=np.int8))
    (tmp_path / "in").mkdir()
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(rows, 8000)})
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--k=2")
    assert run("fit", *places, "--threads=5") == (
        USAGE,
        "kmeans-tf: error: --features: pieces of 1,024 rows of 8,000 features, a few of them for "
        "each of 5 threads, take about 1.2 GB in the driver and in each worker process, and there "
        "are 1.0 GB: lower --threads, or name fewer --features\n",
    )
    assert not (tmp_path / "out").exists()
    assert run("fit", *places, "--threads=1", "--check").code == 0


# The other commands


def test_label_with_no_model(run, tmp_path):
    good(tmp_path)
    args = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", f"--model={tmp_path}"]
    ran = run("label", *args)
    assert ran.code == USAGE
    assert f"--model {tmp_path}: no saved_model.pb" in ran.stderr
    assert not (tmp_path / "out").exists()


def lacks_a_feature(folder):
    write(folder / "in" / "a.parquet", x=[1.0, 2.0], z=[1, 2])
    return [], DATA, "no column 'y'"


def has_another_width(folder):
    write(folder / "in" / "a.parquet", x=[1.0], y=[2.0], z=[3.0])
    return ["--features=x,y,z"], USAGE, "takes 'x', 'y': 'z' is none of them"


def cannot_impute(folder):
    good(folder)
    return ["--on_bad_row=impute"], USAGE, "trained without it"


@pytest.mark.parametrize("make", [lacks_a_feature, has_another_width, cannot_impute], ids=name)
def test_label_what_does_not_fit_the_model(run, model, tmp_path, make):
    options, code, message = make(tmp_path)
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("label", *places, f"--model={model}", *options)
    assert ran.code == code
    assert message in ran.stderr
    assert not (tmp_path / "out").exists()


def test_label_with_a_garbled_model(run, model, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"no model")
    places = (f"--input={model.parent / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("label", *places, f"--model={tmp_path}")
    assert ran.code == USAGE
    assert "--model" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_report_of_what_is_no_output(run, tmp_path):
    ran = run("report", tmp_path)
    assert ran.code == USAGE
    assert f"report {tmp_path}: not an output of this job: {tmp_path / 'run.json'}" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_what_a_stores_client_writes_is_not_said(run, monkeypatch, capfd):
    def refuse(self, path):
        os.system("echo az: not found >&2")
        raise UsageError(f"{path} cannot be reached: no right to it")

    monkeypatch.setattr(Store, "check_reached", refuse)
    ran = run("report", "abfss://container@account.host/out")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "no right to it" in ran.stderr
    assert capfd.readouterr() == ("", "")
