"""Gates: what they bound, what becomes of an answer that they refuse."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.command_line.gates import FIGURES, Bound
from pipeline.command_line.parse import parse
from pipeline.driver.fit import increase, judged
from pipeline.errors import UsageError
from pipeline.output.run_record import Gate
from pipeline.output.tables import table_names
from tests.pipeline.answer import Answer, assert_same_answer, contents
from tests.tables import blobs, write_shards

pytestmark = pytest.mark.xdist_group("gates")  # for the fixtures of this module

FIT = ["fit", "--input=in", "--output=out"]
ARGS = ("--features=f0,f1", "--keys=id", "--k=3", "--max_iterations=3")


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("cost_increase<=0.10", 0.1, True),
        ("cost_increase<=0.10", 0.1001, False),
        ("smallest_cluster>=100", 100, True),
        ("smallest_cluster >= 1e2", 99, False),
        ("bad_rows<0.5", 0.5, False),
        ("silhouette>-1", -0.5, True),
        ("moved_share<=0.2", float("inf"), False),
    ],
)
def test_a_bound(text, value, holds):
    bound = Bound.parse(text)
    assert bound.holds(value) is holds
    assert judged([bound], {bound.figure: value}) == [Gate(text, value, holds)]


def test_a_figure_that_is_not_known_passes():
    assert judged([Bound.parse("silhouette>=0.2")], {}) == [Gate("silhouette>=0.2", None, True)]


@pytest.mark.parametrize(
    ("before", "now", "by"), [(2.0, 3.0, 0.5), (2.0, 1.0, -0.5), (0.0, 0.0, 0)]
)
def test_an_increase(before, now, by):
    assert increase(before, now) == by
    assert increase(0.0, 1.0) == np.inf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("moved_shar<=0.2", ["no figure 'moved_shar'", "did you mean moved_share?"]),
        ("xyzzy>=1", ["no figure 'xyzzy'", *FIGURES]),
        ("bad_rows=0.1", ["'bad_rows=0.1'", "expected a bound such as cost_increase<=0.10"]),
        ("bad_rows<=few", ["'few' is no number"]),
        ("bad_rows<=nan", ["'nan' is no number"]),
    ],
)
def test_what_is_no_gate(run, text, words):
    ran = run(*FIT, f"--gate={text}")
    assert ran.code == 2
    assert "--gate" in ran.stderr
    for word in words:
        assert word in ran.stderr


def test_gates_are_any_number_and_no_part_of_the_configuration():
    options = parse([*FIT, "--gate=bad_rows<=0.1", "--gate", "silhouette>=0"])
    assert [gate.figure for gate in options.gates] == ["bad_rows", "silhouette"]
    assert options.configuration() == parse(FIT).configuration()
    with pytest.raises(UsageError):
        parse(["label", "--input=in", "--output=out", "--model=m", "--gate=bad_rows<=0.1"])


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Two nights of three blobs; on the second one row in twenty is bad, others lie further out."""
    folder = tmp_path_factory.mktemp("gates")
    points, _ = blobs(600, 2, 3, seed=1)
    write_shards(folder / "first", points, keys={"id": np.arange(600)})
    centred = points - points.mean(0)
    later = np.where(np.arange(600)[:, None] % 20 == 7, np.nan, centred * 1.3 + points.mean(0))
    write_shards(folder / "second", later, keys={"id": np.arange(600)})
    return folder


@pytest.fixture(scope="module")
def first(run, nights):
    """The first night's answer: what can't be told of it passes."""
    gates = ("--gate=cost_increase<=0.1", "--gate=moved_share<=0.2", "--gate=smallest_cluster>=150")
    ran = run("fit", f"--input={nights}/first", f"--output={nights}/out/1", *ARGS, *gates)
    assert ran.code == 0, ran.stderr
    for figure in ("cost_increase<=0.1", "moved_share<=0.2"):
        assert f"gate {figure}: cannot be told of this run, and passes\n" in ran.stderr
    answer = Answer(nights / "out" / "1")
    smallest = float(np.bincount(answer.labels).min())
    assert answer.run.gates == [
        Gate("cost_increase<=0.1", None, True),
        Gate("moved_share<=0.2", None, True),
        Gate("smallest_cluster>=150", smallest, True),
    ]
    return answer


def test_a_failed_gate_leaves_the_answer_to_be_looked_at(run, nights, first, tmp_path):
    output = tmp_path / "out"
    args = (f"--input={nights}/second", f"--output={output}", f"--init={first.folder}", *ARGS)
    args = (*args, "--on_bad_row=null")
    gates = ("--gate=bad_rows<=0.01", "--gate=cost_increase<=0.1", "--gate=moved_share<=0.9")
    ran = run("fit", *args, *gates)
    assert ran.code == 4
    told = ran.stderr.splitlines()[-1]
    assert told.startswith("kmeans-tf: error: --gate bad_rows<=0.01 (it is 0.05), cost_increase<=0")
    assert told.endswith(f"not published; the answer and its report lie in {output}/_rejected")
    assert not (output / "_SUCCESS").exists()
    assert not (output / "run.json").exists()
    rejected = Answer(output / "_rejected")
    names = {name.split("/")[0] for name in contents(rejected.folder)}
    expected = {"labels", "model", *table_names()}
    assert names == expected | {"run.json", "report.html"}
    per_row = [answer.run.result.cost / answer.run.counts.weight for answer in (first, rejected)]
    failed, increased, moved = rejected.run.gates
    assert failed == Gate("bad_rows<=0.01", 30 / 600, False)
    assert increased.value == pytest.approx(per_row[1] / per_row[0] - 1)
    assert (increased.passed, moved.passed) == (False, True)
    assert rejected.run.match.previous_cost_per_weight == pytest.approx(per_row[0])

    again = run("fit", *args, "--gate=bad_rows<=0.01", "--resume=require")
    assert again.code == 4
    published = run("fit", *args, "--gate=bad_rows<=0.1", "--resume=require")
    assert published.code == 0, published.stderr
    assert "resuming after iteration" in published.stderr
    assert "scan" not in published.stderr, "only the labels are made again"
    assert not (output / "_rejected").exists()
    assert not (output / "_work").exists()
    whole = tmp_path / "whole"
    args = (f"--input={nights}/second", f"--output={whole}", f"--init={first.folder}", *ARGS)
    assert run("fit", *args, "--on_bad_row=null").code == 0
    assert_same_answer(Answer(output), Answer(whole))


def test_another_night_begins_where_one_was_refused(run, nights, tmp_path):
    output = tmp_path / "out"
    args = (f"--output={output}", *ARGS)
    ran = run("fit", f"--input={nights}/first", *args, "--gate=smallest_cluster>=300")
    assert ran.code == 4
    assert run("report", output / "_rejected").code == 0
    ran = run("fit", f"--input={nights}/second", *args, "--on_bad_row=null")
    assert ran.code == 0, ran.stderr
    assert not (output / "_rejected").exists()


def test_a_refused_answer_does_not_touch_the_one_that_is_there(run, nights, first):
    before = contents(first.folder)
    args = (f"--input={nights}/second", f"--output={first.folder}", f"--init={first.folder}")
    args = (*args, *ARGS, "--on_bad_row=null", "--overwrite")
    assert run("fit", *args, "--gate=bad_rows<=0.01").code == 4
    after = contents(first.folder)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"_rejected", "_work"}


def test_the_silhouette_is_found_for_its_gate(run, nights, tmp_path):
    places = (f"--input={nights}/first", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, "--gate=silhouette>=0.99")
    assert ran.code == 4
    rejected = Answer(tmp_path / "out" / "_rejected")
    (gate,) = rejected.run.gates
    rows = np.stack([pq.read_table(nights / "first")[name] for name in ("f0", "f1")], 1)
    nearest = np.sort(np.linalg.norm(rows[:, None] - rejected.centres, axis=2), 1)
    expected = np.mean((nearest[:, 1] - nearest[:, 0]) / nearest[:, 1])
    assert gate.value == pytest.approx(expected, rel=1e-6)


def test_costs_of_another_scaling_are_not_compared(run, nights, first, tmp_path):
    args = (f"--input={nights}/first", f"--output={tmp_path / 'out'}", f"--match={first.folder}")
    ran = run("fit", *args, *ARGS, "--scale=standard", "--gate=cost_increase<=-1")
    assert ran.code == 0, ran.stderr
    assert Answer(tmp_path / "out").run.gates == [Gate("cost_increase<=-1", None, True)]
