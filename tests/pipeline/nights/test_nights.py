"""Labels that stay from night to night, and what is told of what changed."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.store import Store
from pipeline.nights.night import Night
from pipeline.output.run_record import Drift
from tests.pipeline.answer import Answer
from tests.tables import write_shards

pytestmark = pytest.mark.xdist_group("nights")  # for the fixtures of this module

PLACES = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0], [30.0, 30.0]])
ARGS = ("--features=f0,f1", "--keys=id")


def rows_at(places, sizes, seed=0):
    """Rows (n, 2) about places, in random order, and the place of each (n,)."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(len(places)), sizes))
    return places[truth] + random.normal(0, 1, (len(truth), 2)), truth


def label_of(answer, truth):
    """The label of each place: all rows of one have the same, and no other's have it."""
    found = {}
    for place in np.unique(truth):
        (found[int(place)],) = set(answer.labels[truth == place].tolist())
    assert len(set(found.values())) == len(found)
    return found


@pytest.fixture(scope="module")
def first(fit, tmp_path_factory):
    """Four places, of which the labels were given by hand; with what was read."""
    folder = tmp_path_factory.mktemp("first")
    rows, truth = rows_at(PLACES, [40, 60, 80, 100])
    write_shards(folder / "in", rows, keys={"id": np.arange(len(rows))})
    start = {"label": [7, 3, 11, 5], "f0": PLACES[:, 0], "f1": PLACES[:, 1]}
    pq.write_table(pa.table(start), folder / "start.parquet")
    answer = fit(folder / "in", folder / "out", *ARGS, f"--init={folder / 'start.parquet'}")
    assert label_of(answer, truth) == {0: 7, 1: 3, 2: 11, 3: 5}
    assert (answer.run.highest_label, answer.run.match) == (11, None)
    return answer, rows, truth


def test_labels_stay_whatever_the_start(fit, first, tmp_path):
    """Rows in another order, clusters that drift, and a start that knows nothing of them."""
    before, rows, truth = first
    order = np.random.default_rng(5).permutation(len(rows))
    drifted = rows[order] + PLACES[truth[order]] * 0.1
    ids = order + 100  # the first hundred are gone, as many are new
    write_shards(tmp_path / "in", drifted, shards=2, keys={"id": ids})
    args = (*ARGS, "--k=4", "--seed=3", f"--match={before.folder}")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert label_of(answer, truth[order]) == {0: 7, 1: 3, 2: 11, 3: 5}
    match = answer.run.match
    assert match.previous == str(before.folder)
    assert (match.new, match.gone) == ([], [])
    assert match.previous_cost_per_weight == before.run.result.cost / len(rows)
    assert answer.run.previous_seconds == before.run.seconds["total"] > 0
    for entry, place in zip(match.labels, [1, 3, 0, 2], strict=True):
        members = rows[truth == place]
        spread = ((members - members.mean(0)) ** 2).sum(1).mean() ** 0.5
        assert entry.previous_rows == entry.rows == len(members)
        moved = np.linalg.norm(PLACES[place] * 0.1)
        assert entry.move == pytest.approx(moved / spread, rel=1e-3, abs=1e-5)
    assert [entry.label for entry in match.labels] == [3, 5, 7, 11]
    label_before = dict(enumerate(before.labels.tolist()))
    label_now = dict(zip(ids.tolist(), answer.labels.tolist(), strict=True))
    both = label_before.keys() & label_now.keys()
    assert len(both) == len(rows) - 100
    changed = sum(label_before[key] != label_now[key] for key in both) / len(both)
    assert 0 < changed < 1
    assert match.moved_share == changed


def test_numbers_of_clusters_that_are_gone_are_never_given_again(fit, first, tmp_path):
    before, rows, truth = first
    kept = truth != 2  # label 11, the highest
    write_shards(tmp_path / "2", rows[kept], keys={"id": np.flatnonzero(kept)})
    args = (*ARGS, "--k=3", f"--match={before.folder}")
    second = fit(tmp_path / "2", tmp_path / "out2", *args)
    assert label_of(second, truth[kept]) == {0: 7, 1: 3, 3: 5}
    assert (second.run.match.new, second.run.match.gone) == ([], [11])
    assert second.run.highest_label == 11
    third = fit(tmp_path / "2", tmp_path / "out3", *ARGS, f"--init={second.folder}")
    assert third.run.match.gone == []
    write_shards(tmp_path / "4", rows, keys={"id": np.arange(len(rows))})
    fourth = fit(tmp_path / "4", tmp_path / "out4", *ARGS, f"--init={third.folder}", "--k=4")
    assert label_of(fourth, truth) == {0: 7, 1: 3, 2: 12, 3: 5}
    assert (fourth.run.match.new, fourth.run.match.gone) == ([12], [])
    assert fourth.run.highest_label == 12
    served = fit(
        tmp_path / "4", tmp_path / "x", "--keys=id", f"--model={fourth.folder}", command="label"
    )
    assert label_of(served, truth) == {0: 7, 1: 3, 2: 12, 3: 5}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--features=f0,f1",), "without --keys"),
        (("--features=f0,f1", "--keys=place"), "key 'place' is not in the labels of"),
    ],
)
def test_without_the_keys_how_many_moved_is_not_known_and_said(run, first, tmp_path, args, why):
    before, rows, truth = first
    write_shards(tmp_path / "in", rows, keys={"place": truth})
    places = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *args, f"--init={before.folder}")
    assert ran.code == 0, ran.stderr
    warning = f"how many rows changed their label is not known: {why}"
    assert f"warning: {warning}" in ran.stderr
    answer = Answer(tmp_path / "out")
    assert answer.run.match.moved_share is None
    assert answer.run.warnings[0].startswith(warning)
    assert [entry.move for entry in answer.run.match.labels] == pytest.approx([0.0] * 4, abs=1e-6)


def test_labels_of_which_a_part_is_gone_are_joined_with_nothing(first, tmp_path):
    """A share of the others would pass for that of all."""
    before, _, _ = first
    folder = shutil.copytree(before.folder, tmp_path / "out")
    night, keys = Night.read(Store(), str(folder)), {"id": "int64"}
    assert night.cannot_join(keys) is None
    (part,) = (folder / "labels").iterdir()
    part.rename(part.with_name("part-00000-of-00002.parquet"))
    assert night.cannot_join(keys) == f"the labels of {folder} are not all there"
    shutil.rmtree(folder / "labels")
    assert night.cannot_join(keys) == f"the labels of {folder} are not all there"


def test_a_start_whose_model_is_damaged_does_not_pass_for_one_without(run, first, tmp_path):
    """Its labels would begin anew, and nothing would say so."""
    before, _, _ = first
    folder = shutil.copytree(before.folder, tmp_path / "before")
    (folder / "model" / "saved_model.pb").unlink()
    places = (f"--input={before.folder.parent / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, f"--init={folder}")
    assert ran.code == 2
    assert f"--match {folder}: no saved_model.pb" in ran.stderr


def test_features_are_matched_by_name(fit, first, tmp_path):
    before, rows, truth = first
    write_shards(tmp_path / "in", rows * [1.0, 2.0], keys={"id": np.arange(len(rows))})
    args = ("--features=f1,f0", "--keys=id", f"--init={before.folder}")
    answer = fit(tmp_path / "in", tmp_path / "out", *args)
    assert label_of(answer, truth) == {0: 7, 1: 3, 2: 11, 3: 5}


def test_a_start_that_is_a_file_matches_nothing(fit, first, tmp_path):
    before, _, _ = first
    args = (*ARGS, f"--init={before.folder / 'prototypes.parquet'}")
    answer = fit(before.folder.parent / "in", tmp_path / "out", *args)
    assert answer.run.match is None
    assert answer.labels.tolist() == before.labels.tolist()


@pytest.mark.parametrize(
    ("option", "told"), [("init", "a cold start"), ("match", "labels begin anew")]
)
def test_what_is_not_there_is_said(run, first, tmp_path, option, told):
    before, _, _ = first
    places = (f"--input={before.folder.parent / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, "--k=4", f"--{option}={tmp_path / 'none'}")
    assert ran.code == 0, ran.stderr
    warning = f"--{option} {tmp_path / 'none'}: no finished output there: {told}"
    assert f"warning: {warning}\n" in ran.stderr
    answer = Answer(tmp_path / "out")
    assert (answer.run.warnings, answer.run.match) == ([warning], None)
    assert sorted(set(answer.labels.tolist())) == [0, 1, 2, 3]


@pytest.mark.parametrize("init", ["kmeans++", "autoo", "start.parquet", "{date}.npy"])
def test_a_start_that_is_misspelt_is_no_cold_start(run, first, tmp_path, init):
    before, _, _ = first
    places = (f"--input={before.folder.parent / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, f"--init={init}")
    assert ran.code == 2
    assert f"--init {init}: no such file, nor k-means++ or random" in ran.stderr


def test_an_output_of_label_is_nothing_to_match(run, fit, first, tmp_path):
    before, _, _ = first
    source = before.folder.parent / "in"
    labelled = fit(source, tmp_path / "labelled", f"--model={before.folder}", command="label")
    places = (f"--input={source}", f"--output={tmp_path / 'out'}", *ARGS, "--k=4")
    ran = run("fit", *places, f"--match={labelled.folder}")
    assert ran.code == 2
    assert f"--match {labelled.folder}: no saved_model.pb" in ran.stderr


def test_an_output_may_be_its_own_previous_one(fit, first, tmp_path):
    _, rows, truth = first
    args = (*ARGS, "--k=4", f"--init={tmp_path / 'out'}", "--overwrite")
    write_shards(tmp_path / "1", rows, keys={"id": np.arange(len(rows))})
    one = label_of(fit(tmp_path / "1", tmp_path / "out", *args), truth)
    write_shards(tmp_path / "2", rows[::-1] + 1, keys={"id": np.arange(len(rows))[::-1]})
    answer = fit(tmp_path / "2", tmp_path / "out", *args)
    assert label_of(answer, truth[::-1]) == one
    assert answer.run.match.moved_share == 0.0


def test_a_publishing_over_its_own_previous_output_is_finished(run, first, tmp_path, monkeypatch):
    """Though the output that it went on from is half gone."""
    _, rows, truth = first
    write_shards(tmp_path / "in", rows, keys={"id": np.arange(len(rows))})
    output = tmp_path / "out"
    args = (f"--input={tmp_path / 'in'}", f"--output={output}", *ARGS, "--k=4", "--overwrite")
    args = (*args, f"--init={output}")
    assert run("fit", *args).code == 0
    labels, moved = label_of(Answer(output), truth), []
    with monkeypatch.context() as patch:
        move = Store.move

        def move_some(*places):
            moved.append(places)
            if len(moved) > 2:
                raise OSError(5, "Input/output error")
            move(*places)

        patch.setattr(Store, "move", move_some)
        assert run("fit", *args).code == 5
    assert not (output / "_SUCCESS").exists()
    ran = run("fit", *args)
    assert ran.code == 0, ran.stderr
    assert "scan" not in ran.stderr
    answer = Answer(output)
    assert answer.run.match.previous == str(output)
    assert label_of(answer, truth) == labels


def test_a_move_without_a_spread_is_not_known(fit, tmp_path):
    write_shards(tmp_path / "in", [[0.0], [0.0], [9.0]], keys={"id": [1, 2, 3]})
    start = fit(tmp_path / "in", tmp_path / "1", "--features=f0", "--keys=id", "--k=2")
    args = ("--features=f0", "--keys=id", f"--init={start.folder}")
    answer = fit(tmp_path / "in", tmp_path / "2", *args)
    by_rows = sorted(answer.run.match.labels, key=lambda entry: entry.rows)
    labels = [entry.label for entry in by_rows]
    assert by_rows == [Drift(labels[0], 1, 1, None), Drift(labels[1], 2, 2, None)]


# A week


class Week:
    """Nights of one unchanging command."""

    def __init__(self, run, folder: Path):
        self.run, self.folder = run, folder

    def night(self, number: int, *args: str):
        places = [f"--{name}={self.folder}/{name}/{{date}}" for name in ("input", "output")]
        before = f"--init={self.folder}/output/{{yesterday}}"
        gates = ("--gate=bad_rows<=0.01", "--gate=cost_increase<=0.5", "--gate=moved_share<=0.1")
        day = f"--date=2026-07-{number:02d}"
        return self.run("fit", *places, before, day, *ARGS, "--on_bad_row=null", *gates, *args)

    def rows_come(self, number: int, places: np.ndarray, broken: bool = False) -> np.ndarray:
        """A night's table, which drifts and is in an order of its own; the place of each row."""
        sizes = [60, 80, 100, 120, 90][: len(places)]
        rows, truth = rows_at(places + 0.6 * number, sizes, seed=number)
        ids = np.empty(len(rows), np.int64)
        ids[np.argsort(truth, kind="stable")] = np.arange(len(rows))
        if broken:
            rows[: len(rows) // 3] = np.nan
        folder = self.folder / "input" / f"2026-07-{number:02d}"
        write_shards(folder, rows, shards=3, keys={"id": ids})
        return truth

    def answer(self, number: int) -> Answer:
        return Answer(self.folder / "output" / f"2026-07-{number:02d}")


def test_a_week(run, tmp_path, monkeypatch):
    """On the third night a shard is broken, the fourth is killed, the fifth missed; k grows."""
    week = Week(run, tmp_path)

    truth = week.rows_come(1, PLACES)
    ran = week.night(1, "--k=4")
    assert ran.code == 0, ran.stderr
    assert "2026-06-30: no finished output there: a cold start" in ran.stderr
    labels = label_of(week.answer(1), truth)

    truth = week.rows_come(2, PLACES)
    assert week.night(2, "--k=4").code == 0
    assert label_of(week.answer(2), truth) == labels
    assert week.answer(2).run.match.moved_share == 0.0

    week.rows_come(3, PLACES, broken=True)
    ran = week.night(3, "--k=4")
    assert ran.code == 4
    assert "--gate bad_rows<=0.01 (it is 0.3333): not published" in ran.stderr
    assert not (week.answer(3).folder / "_SUCCESS").exists()

    truth = week.rows_come(4, PLACES)
    with monkeypatch.context() as patch:

        def interrupt(*args):
            raise KeyboardInterrupt

        patch.setattr("pipeline.driver.jobs.Attempt.label", interrupt)
        assert week.night(4, "--k=4").code == 130
    ran = week.night(4, "--k=4")
    assert ran.code == 0, ran.stderr
    assert "resuming after iteration" in ran.stderr
    taken = f"{week.answer(2).folder} is taken instead"
    assert f"2026-07-03: no finished output there: {taken}" in ran.stderr
    assert label_of(week.answer(4), truth) == labels

    truth = week.rows_come(6, np.append(PLACES, [[60.0, 15.0]], 0))
    ran = week.night(6, "--k=5")
    assert ran.code == 0, ran.stderr
    assert f"{week.answer(4).folder} is taken instead" in ran.stderr
    match = week.answer(6).run.match
    assert (match.new, match.gone, match.moved_share) == ([4], [], 0.0)
    assert label_of(week.answer(6), truth) == labels | {4: 4}

    truth = week.rows_come(7, np.append(PLACES, [[60.0, 15.0]], 0))
    assert week.night(7, "--k=5").code == 0
    assert label_of(week.answer(7), truth) == labels | {4: 4}
    assert [entry.label for entry in week.answer(7).run.match.labels] == [0, 1, 2, 3, 4]
    assert len(list((tmp_path / "output").glob("*/_SUCCESS"))) == 5
