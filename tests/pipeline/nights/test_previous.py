"""What an earlier run or the user has left to start from: a model, prototypes, their labels."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from kmeans_tf import Model
from pipeline.data.columns import Columns
from pipeline.data.store import Store
from pipeline.driver.fit import label_numbers
from pipeline.errors import UsageError
from pipeline.nights.previous import InitialPrototypes, model_features, read_prototypes
from tests.pipeline.answer import Answer

TOP = 2**31 - 1


def prototypes_of(folder, columns, **table):
    path = folder / "start.parquet"
    pq.write_table(pa.table(table), path)
    return read_prototypes(Store.reaching([str(path)]), str(path), columns)


SCALARS = Columns(("a", "b", "c"), 3, is_list=False)
LIST = Columns(("v",), 3, is_list=True)


# The model's columns


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ((), ("a", "b", "c")),
        (("a", "b", "c"), ("a", "b", "c")),
        (("c", "a", "b"), ("a", "b", "c")),
        (("x", "y", "z"), ("x", "y", "z")),
        (("x",), ("x",)),
        (("c", "a", "b", "c"), ("c", "a", "b", "c")),
    ],
)
def test_a_models_columns_are_known_by_name(capsys, asked, taken):
    model = SimpleNamespace(features=("a", "b", "c"))
    assert model_features("m", model, asked) == taken
    named = ", ".join(map(repr, asked))
    said = f"--features: {named} taken for the model's 'a', 'b', 'c', in this order\n"
    assert capsys.readouterr().err == (said if "x" in asked else "")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ("a", "b", "d"),
            ["--features", "--model m takes 'a', 'b', 'c'", "'c' is missing", "'d' is none"],
        ),
        (("b", "a"), ["'c' is missing"]),
        (("a", "b", "c", "d"), ["'d' is none of them"]),
    ],
)
def test_columns_of_which_a_model_knows_some_are_refused(asked, words):
    model = SimpleNamespace(features=("a", "b", "c"))
    with pytest.raises(UsageError) as refused:
        model_features("m", model, asked)
    for word in words:
        assert word in str(refused.value)


def test_a_model_without_names_takes_what_is_asked_for():
    model = SimpleNamespace(features=())
    assert model_features("m", model, ()) == ()
    assert model_features("m", model, ("x", "y")) == ("x", "y")


@pytest.fixture(scope="module")
def trained(fit, tmp_path_factory):
    """A model of three columns that are far from one another, and its input."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(8)
    centres = np.array([[0.0, 500.0, -70.0], [30.0, 470.0, -100.0]]).repeat([90, 60], 0)
    rows = centres + random.normal(0, 1, centres.shape)
    table = pa.table({"id": np.arange(150)} | {n: rows[:, j] for j, n in enumerate("abc")})
    (folder / "in").mkdir()
    pq.write_table(table, folder / "in" / "a.parquet")
    options = ("--features=a,b,c", "--keys=id", "--k=2", "--max_iterations=3")
    return fit(folder / "in", folder / "model", *options), folder / "in", table


def test_the_order_of_features_is_the_models(fit, trained, tmp_path):
    model, folder, _ = trained
    args = (f"--model={model.folder}", "--keys=id", "--features=c,a,b")
    answer = fit(folder, tmp_path / "out", *args, command="label")
    assert answer.table.equals(model.table)
    assert answer.run.schema.features == ["a", "b", "c"]


def test_other_names_are_taken_in_the_place_of_the_models(run, trained, tmp_path):
    model, _, table = trained
    pq.write_table(table.rename_columns(["id", "u", "v", "w"]), tmp_path / "renamed.parquet")
    places = (f"--input={tmp_path / 'renamed.parquet'}", f"--output={tmp_path / 'out'}")
    args = (f"--model={model.folder}", "--keys=id", "--features=u,v,w")
    ran = run("label", *places, *args)
    assert ran.code == 0, ran.stderr
    assert (
        ran.stderr.count("'u', 'v', 'w' taken for the model's 'a', 'b', 'c', in this order\n") == 1
    )
    assert Answer(tmp_path / "out").table.equals(model.table)


# A model is data


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the model's output, and the command line that labels with it."""
    answer, folder, _ = trained
    copy = shutil.copytree(answer.folder, tmp_path / "copy")
    places = (f"--input={folder}", f"--output={tmp_path / 'out'}", "--keys=id")
    return copy / "model", ("label", *places, f"--model={copy}")


def test_a_graph_of_anybodys_is_not_run(run, trained, copied, tmp_path):
    """A SavedModel of the same variables, whose every function writes a file."""
    model, args = copied
    other = tf.saved_model.load(str(model))
    module = tf.Module()
    for name in ("prototypes", "offset", "scale", "label_numbers"):
        setattr(module, name, getattr(other, name))

    @tf.function(input_signature=[])
    def act():
        tf.io.write_file(str(tmp_path / "it ran"), "")
        return tf.constant("{}")

    module.describe = module.label = act
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=act)
    shutil.copy(tmp_path / "evil" / "saved_model.pb", model / "saved_model.pb")
    tf.saved_model.load(str(model)).describe()
    assert (tmp_path / "it ran").exists(), "the premise: whoever runs it is harmed"
    (tmp_path / "it ran").unlink()
    ran = run(*args)
    assert ran.code == 0, ran.stderr
    assert not (tmp_path / "it ran").exists()
    assert Answer(tmp_path / "out").table.equals(trained[0].table)


def test_code_that_a_model_names_runs_only_where_the_user_says_so(run, copied, tmp_path):
    model, args = copied
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\ncost = abs\n")
    settings = json.loads((model / "settings.json").read_text())
    settings["metric"] = f"{code}:cost"
    copy = Model.load(str(model))
    settings["digest"] = replace(copy, metric=settings["metric"]).digest
    (model / "settings.json").write_text(json.dumps(settings))
    ran = run(*args)
    assert ran.code == 2
    said = f"has a metric that is code: say --metric {code}:cost if that is to run\n"
    assert ran.stderr.endswith(said)
    for other in ("sqeuclidean", f"{tmp_path / 'other.py'}:cost", f"{code}:other"):
        ran = run(*args, f"--metric={other}")
        assert ran.code == 2
        assert f"--metric {other}: --model {model.parent} has {code}:cost" in ran.stderr
    assert not (tmp_path / "it ran").exists()
    assert run(*args, f"--metric={code}:cost").code == 2, "that is no metric"
    assert (tmp_path / "it ran").exists()


def test_a_metric_that_is_none_of_the_models_is_refused(run, copied):
    _, args = copied
    ran = run(*args, "--metric=cosine")
    assert ran.code == 2
    assert "--metric cosine: --model " in ran.stderr
    assert run(*args, "--metric=sqeuclidean", "--check").code == 0


def edited(change):
    def edit(model):
        path = model / "settings.json"
        settings = json.loads(path.read_text())
        change(settings)
        path.write_text(json.dumps(settings))

    return edit


def of_another_model(model):
    Model(
        "sqeuclidean", np.ones((2, 3)), np.arange(2, dtype=np.int32), np.zeros(3), np.ones(3)
    ).save(str(model.parent / "other"))
    shutil.copytree(model.parent / "other" / "variables", model / "variables", dirs_exist_ok=True)


def cut_variables(model):
    (data,) = (model / "variables").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:40])


def a_bit_wrong(model):
    (data,) = (model / "variables").glob("*.data-*")
    content = bytearray(data.read_bytes())
    content[8] ^= 16
    data.write_bytes(content)


INDEX = "variables/variables.index"
SPOILT = {
    "no settings": lambda model: (model / "settings.json").unlink(),
    "empty settings": lambda model: (model / "settings.json").write_text(""),
    "a list": lambda model: (model / "settings.json").write_text("[1]"),
    "no metric": edited(lambda settings: settings.pop("metric")),
    "a number": edited(lambda settings: settings.update(metric=3)),
    "a feature that is a number": edited(lambda settings: settings["features"].append(3)),
    "another policy": edited(lambda settings: settings.update(on_bad_row="ignore")),
    "another feature": edited(lambda settings: settings["features"].append("z")),
    "another metric": edited(lambda settings: settings.update(metric="cosine")),
    "no variables": lambda model: shutil.rmtree(model / "variables"),
    "no index": lambda model: (model / INDEX).unlink(),
    "a garbled index": lambda model: (model / INDEX).write_bytes(b"x" * 90),
    "an empty index": lambda model: (model / INDEX).write_bytes(b""),
    "cut variables": cut_variables,
    "a bit": a_bit_wrong,
    "another's variables": of_another_model,
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_model_that_is_damaged_is_named(run, copied, tmp_path, name):
    model, args = copied
    SPOILT[name](model)
    ran = run(*args)
    assert ran.code == 2, ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert f"kmeans-tf: error: --model {model} holds no model of this job: " in ran.stderr
    assert not (tmp_path / "out").exists()


# An output is what its files say


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("run.json", lambda path: path.write_text("{")),
        ("run.json", lambda path: path.write_text('{"run_id": 3}')),
        ("run.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("history.parquet", lambda path: path.write_bytes(b"PAR1")),
        ("prototypes.parquet", lambda path: path.write_bytes(path.read_bytes()[:-30])),
        ("prototypes.parquet", lambda path: pq.write_table(pa.table({"x": [1]}), path)),
    ],
)
def test_a_report_of_damaged_files_is_refused_by_name(run, trained, tmp_path, name, spoil):
    folder = shutil.copytree(trained[0].folder, tmp_path / "out")
    spoil(folder / name)
    ran = run("report", folder)
    assert ran.code == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"kmeans-tf: error: report {folder}: ")
    assert name in line


def test_names_of_which_some_are_the_models_end_the_job(run, trained, tmp_path):
    model, folder, _ = trained
    places = (f"--input={folder}", f"--output={tmp_path / 'out'}")
    ran = run("label", *places, f"--model={model.folder}", "--features=a,b,id")
    assert ran.code == 2
    assert "'c' is missing, 'id' is none of them" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_lists_have_the_length_of_the_models(fit, tmp_path):
    """Though most rows have another."""
    lists = [[1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]]
    pq.write_table(pa.table({"v": lists}), tmp_path / "good.parquet")
    pq.write_table(pa.table({"v": [*[[7.0]] * 5, *lists]}), tmp_path / "bad.parquet")
    options = ("--features=v", "--k=2", "--on_bad_row=null", "--max_iterations=2")
    model = fit(tmp_path / "good.parquet", tmp_path / "model", *options)
    args = (f"--model={model.folder}",)
    answer = fit(tmp_path / "bad.parquet", tmp_path / "out", *args, command="label")
    assert answer.labels.tolist() == [*[-1] * 5, *model.labels.tolist()]


# Columns of prototypes


def test_prototypes_are_taken_by_name(tmp_path, capsys):
    start = prototypes_of(
        tmp_path, SCALARS, c=[3, 30], cost=[0.0, 0.0], x=[9, 9], a=[1, 10], b=[2.5, 20.5]
    )
    assert start.rows.tolist() == [[1, 2.5, 3], [10, 20.5, 30]]
    assert start.labels.tolist() == [0, 1]
    assert capsys.readouterr().err == ""


def test_prototypes_of_other_names_are_taken_in_order_and_a_line_says_so(tmp_path, capsys):
    others = {"label": [4, 2], "rows": [7, 7], "name": ["r", "s"], "weight": [1.0, 1.0]}
    start = prototypes_of(tmp_path, SCALARS, **others, z=[1, 10], x=[2.5, 20.5], y=[3, 30])
    assert start.rows.tolist() == [[1, 2.5, 3], [10, 20.5, 30]]
    assert start.labels.tolist() == [4, 2]
    said = capsys.readouterr().err
    assert said.endswith("start.parquet: 'z', 'x', 'y' taken for 'a', 'b', 'c', in this order\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("columns", [SCALARS, LIST], ids=["scalars", "list"])
@pytest.mark.parametrize("name", ["v", "w"])
def test_prototypes_in_one_list_column(tmp_path, capsys, columns, name):
    start = prototypes_of(tmp_path, columns, **{name: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})
    assert start.rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    is_named = name in columns.features
    assert ("taken for" in capsys.readouterr().err) != is_named


def test_prototypes_in_columns_for_a_list(tmp_path):
    start = prototypes_of(tmp_path, LIST, p=[1.0], q=[2.0], r=[3.0])
    assert start.rows.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("columns", "table", "words"),
    [
        (SCALARS, {"a": [1], "b": [2], "x": [3]}, "no column 'c'; it has 'a', 'b', 'x'"),
        (SCALARS, {"x": [1], "y": [2]}, "no column 'a', 'b', 'c'; it has 'x', 'y'"),
        (SCALARS, {"x": [1], "y": [2], "z": [3], "t": [4]}, "no column 'a', 'b', 'c'"),
        (LIST, {"v": [[1.0, 2.0]]}, r"of shape \(1, 2\), expected \(k, 3\)"),
        (LIST, {"v": [[1.0, 2.0, 3.0], [1.0]]}, "not prototypes"),
        (SCALARS, {"a": [1], "b": ["two"], "c": [3]}, "not prototypes"),
    ],
)
def test_columns_that_are_not_the_features_are_refused(tmp_path, columns, table, words):
    with pytest.raises(UsageError, match=rf"--init .*start\.parquet: .*{words}"):
        prototypes_of(tmp_path, columns, **table)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["start.npy", "start.parquet"])
def test_a_file_of_something_else_is_no_start(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    path = str(tmp_path / name)
    with pytest.raises(UsageError, match=f"--init .*{name}: not prototypes"):
        read_prototypes(Store.reaching([path]), path, SCALARS)


def test_a_number_is_no_start(tmp_path):
    np.save(tmp_path / "start.npy", 3.0)
    path = str(tmp_path / "start.npy")
    with pytest.raises(UsageError, match=r"prototypes of shape \(\), expected \(k, 3\)"):
        read_prototypes(Store.reaching([path]), path, SCALARS)


# Labels of prototypes

ONE = Columns(("x",), 1, is_list=False)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([TOP, 0], pa.int64()),
        pa.array([3, 250], pa.uint8()),
        pa.array([12.0, 5.0]),
        pa.array([Decimal("8.00"), Decimal("6.00")]),
    ],
)
def test_labels_are_whole_numbers(tmp_path, labels):
    start = prototypes_of(tmp_path, ONE, label=labels, x=[1.0, 2.0])
    assert start.labels.dtype == np.int32
    assert start.labels.tolist() == [int(label) for label in labels.to_pylist()]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (2**31, pa.int64()),
        (2**64 - 1, pa.uint64()),
        (-7, pa.int16()),
        (0.25, pa.float32()),
        (float("nan"), pa.float64()),
        (float("inf"), pa.float64()),
        (1e300, pa.float64()),
        (None, pa.int32()),
        ("3", pa.string()),
        (True, pa.bool_()),
        (Decimal("2.50"), pa.decimal128(5, 2)),
    ],
    ids=str,
)
def test_a_label_that_is_none_is_named(tmp_path, label, kind):
    with pytest.raises(UsageError) as refused:
        prototypes_of(tmp_path, ONE, label=pa.array([label], kind), x=[1.0])
    assert str(refused.value) == (
        f"--init {tmp_path / 'start.parquet'}: column 'label' holds {label!r}, "
        f"expected whole numbers from 0 to {TOP}"
    )


@pytest.mark.parametrize(
    ("labels", "k", "new"),
    [
        ([6, 2], 4, [7, 8]),
        ([TOP - 2, 1], 4, [TOP - 1, TOP]),
        ([TOP - 1, 1], 4, [0, 2]),
        ([0, TOP, 2], 6, [1, 3, 4]),
        ([TOP], 1, []),
    ],
)
def test_new_prototypes_get_numbers_that_are_free(labels, k, new):
    rows = np.zeros((len(labels), 1))
    numbers = label_numbers(k, InitialPrototypes(rows, np.array(labels, np.int32)))
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [*labels, *new]


@pytest.fixture
def places(tmp_path):
    """Ten rows about three places."""
    rows = [0.0, 1.0, 2.0, 40.0, 41.0, 42.0, 43.0, 90.0, 91.0, 92.0]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"x": rows}), tmp_path / "in" / "a.parquet")
    return tmp_path


def test_labels_up_to_the_largest_reach_the_output(fit, places):
    pq.write_table(pa.table({"label": [TOP, 1], "x": [1.0, 41.0]}), places / "s.parquet")
    args = (f"--init={places / 's.parquet'}", "--k=3", "--max_iterations=2")
    answer = fit(places / "in", places / "out", *args)
    assert answer.prototypes["label"].to_pylist() == [TOP, 1, 0]
    assert answer.labels.tolist() == [TOP] * 3 + [1] * 4 + [0] * 3


def test_a_label_that_is_none_ends_the_job(run, places):
    pq.write_table(pa.table({"label": [3, None], "x": [1.0, 41.0]}), places / "s.parquet")
    args = (f"--input={places / 'in'}", f"--output={places / 'out'}")
    ran = run("fit", *args, f"--init={places / 's.parquet'}")
    assert ran.code == 2
    assert "s.parquet: column 'label' holds None, expected whole numbers" in ran.stderr
    assert not (places / "out").exists()


def test_more_prototypes_than_rows_may_label(fit, run, places):
    np.save(places / "s.npy", np.arange(0.0, 100.0, 5.0)[:, None])
    init = f"--init={places / 's.npy'}"
    answer = fit(places / "in", places / "out", init, "--max_iterations=0")
    assert answer.labels.tolist() == [0, 0, 0, 8, 8, 8, 9, 18, 18, 18]
    assert answer.run.result.k == 20
    args = (f"--input={places / 'in'}", f"--output={places / 'other'}", "--max_iterations=1")
    ran = run("fit", *args, init)
    assert ran.code == 3
    assert "--k 20: there are only 10 distinct good rows" in ran.stderr
